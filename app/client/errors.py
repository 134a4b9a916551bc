"""Errors of Kafka's clients: no broker, no access, no such topic, no more time, offsets that are gone."""

from streaming_lab.errors import LabError


class BrokerUnavailable(LabError):
    """No broker answered in time."""

    at_start = True  # the doctor looks at ports, addresses and what a broker advertises


class AccessDenied(LabError):
    """A broker answers and refuses this connection: it wants another user, certificate, file or protocol."""


class UnknownTopic(LabError):
    """A broker answers and has no such topic."""


class ReadTimeout(LabError):
    """The range was not read to its end before the deadline."""


class OffsetOutOfRange(LabError):
    """Wanted records are no longer in the log: deleted, truncated, or the topic was made again."""
