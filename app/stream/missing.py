"""How a read says what it could not get."""

from app.errors import LabError


class ReadTimeout(LabError):
    """The range was not read to its end before the deadline."""


class OffsetsGone(LabError):
    """Wanted records are not in the log any more: deleted, truncated, or the topic was made anew."""
