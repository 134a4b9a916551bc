"""The errors of everything that asks Kafka for something: who or what was not there, and who was not let in."""

from streaming_lab.errors import LabError


class BrokerUnavailable(LabError):
    """No broker answered in time."""


class AccessDenied(LabError):
    """A broker is there and refuses this connection: another user, certificate, file or protocol is wanted."""


class UnknownTopic(LabError):
    """The broker answers, and has no such topic."""


class ReadTimeout(LabError):
    """The range was not read to its end before the deadline."""


class OffsetOutOfRange(LabError):
    """Wanted records are not in the log any more: deleted, truncated, or the topic was made anew."""
