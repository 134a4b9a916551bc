"""What one call of the reader wants, and the offsets that this means now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from streaming_lab.client.connection import Connection
from streaming_lab.client.metadata import EARLIEST, LATEST
from streaming_lab.client.topics import Ranges
from streaming_lab.errors import LabError

Place: TypeAlias = int | Mapping[int, int] | datetime | None  # an offset, one per partition, or a moment
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISOLATION = ("read_uncommitted", "read_committed")


class Offsets(Protocol):
    """Whoever knows each partition's offset at EARLIEST, LATEST or a time in ms UTC (-1: no record is that late)."""

    def partitions(self) -> list[int]: ...

    def offsets(self, when: int) -> dict[int, int]: ...


@dataclass(frozen=True)
class Request:
    """What one call of the reader wants; `ranges` wins over `start` and `end`. `timeout` in seconds for all of it."""

    connection: Connection = field(repr=False)  # may hold a password
    topic: str
    ranges: Ranges | None = None
    start: Place = None
    end: Place = None
    isolation: str = "read_uncommitted"
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.isolation not in _ISOLATION:
            raise LabError(f"isolation {self.isolation!r} is unknown", f"Use one of: {', '.join(_ISOLATION)}.")

    def resolved(self, source: Offsets) -> Ranges:
        """The offsets that this means now, none of them outside the log unless `ranges` says so.

        Raises a `LabError` for a partition that the topic has not.
        """
        if self.ranges is not None:
            _check(self.ranges, source.partitions())
            return {partition: (start, end) for partition, (start, end) in sorted(self.ranges.items())}
        begin, end = source.offsets(EARLIEST), source.offsets(LATEST)
        start = _placed(source, self.start, begin, end)
        stop = {p: max(min(at, end[p]), begin[p]) for p, at in _placed(source, self.end, end, end).items()}
        return {p: (min(max(start[p], begin[p]), stop[p]), stop[p]) for p in sorted(begin)}


def _placed(source: Offsets, place: Place, default: Mapping[int, int], end: Mapping[int, int]) -> Mapping[int, int]:
    if place is None:
        return default
    if isinstance(place, int):
        return dict.fromkeys(default, place)
    if isinstance(place, datetime):
        found = source.offsets(_milliseconds(place))
        return {partition: end[partition] if at < 0 else at for partition, at in found.items()}
    _check(place, default)
    return {**default, **place}


def _check(named: Iterable[int], partitions: Iterable[int]) -> None:
    if unknown := set(named) - set(partitions):
        raise LabError(f"there is no partition {sorted(unknown)}", f"The partitions are {sorted(partitions)}.")


def _milliseconds(moment: datetime) -> int:
    """The first millisecond UTC that is not before the moment; 0 for any moment before 1970, as Kafka's times begin."""
    if moment.tzinfo is None:
        raise LabError(f"{moment} has no time zone", "Say datetime(..., tzinfo=UTC).")
    return max(0, -((_EPOCH - moment) // timedelta(milliseconds=1)))
