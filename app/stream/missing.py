"""What is not there: the errors of everybody who asks Kafka for something."""

from app.errors import LabError


class BrokerGone(LabError):
    """No broker answered in time."""


class TopicMissing(LabError):
    """The broker answers, and has no such topic."""


class ReadTimeout(LabError):
    """The range was not read to its end before the deadline."""


class OffsetsGone(LabError):
    """Wanted records are not in the log any more: deleted, truncated, or the topic was made anew."""
