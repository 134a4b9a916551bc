"""One read: its request, the offsets that the request means now, and the source of its records."""

import logging
import time
import uuid
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from streaming_lab.client.broker_connection import Unsupported
from streaming_lab.client.connection import Connection, security_protocol_of
from streaming_lab.client.errors import BrokerUnavailable
from streaming_lab.client.metadata import EARLIEST, LATEST, Ranges
from streaming_lab.errors import LabError
from streaming_lab.reader.decode.batches import OldFormat
from streaming_lab.reader.decode.codecs import INFLATED_LIMIT, Bounds
from streaming_lab.reader.fetch.fetcher import FetchedChunks, Fetcher

if TYPE_CHECKING:
    from streaming_lab.reader.fetch.consumer import ConsumerSource, PolledBatch

logger = logging.getLogger(__name__)

OffsetSpec: TypeAlias = int | Mapping[int, int] | datetime | None  # an offset, one per partition, or a moment
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISOLATION = ("read_uncommitted", "read_committed")
_OVERSIZED = ("error", "reject")


class OffsetLookup(Protocol):
    """Looks up each partition's offset at EARLIEST, LATEST or a time in ms UTC (-1: no record is that late)."""

    def partitions(self) -> list[int]: ...

    def offsets(self, when: int) -> dict[int, int]: ...


@dataclass(frozen=True)
class ReadRequest:
    """The arguments of one read; `ranges` wins over `start` and `end`. `timeout` is in seconds for the whole read."""

    connection: Connection = field(repr=False)  # may hold a password
    topic: str
    ranges: Ranges | None = None
    start: OffsetSpec = None
    end: OffsetSpec = None
    isolation: str = "read_uncommitted"
    timeout: float = 60.0
    batch_limit: int = INFLATED_LIMIT  # bytes that a record batch may inflate to
    oversized: str = "error"  # what a batch beyond that is: an error or a reject

    def __post_init__(self) -> None:
        if self.isolation not in _ISOLATION:
            raise LabError(f"isolation {self.isolation!r} is unknown", f"Use one of: {', '.join(_ISOLATION)}.")
        if self.oversized not in _OVERSIZED:
            raise LabError(f"oversized {self.oversized!r} is unknown", f"Use one of: {', '.join(_OVERSIZED)}.")
        if self.batch_limit < 1:
            raise LabError(f"batch_limit {self.batch_limit} is no number of bytes", "Use 1 or more.")

    def resolve_offsets(self, source: OffsetLookup) -> Ranges:
        """The offsets of this request now, none of them outside the log unless `ranges` names them.

        Raises a `LabError` for a partition that the topic does not have.
        """
        if self.ranges is not None:
            _check(self.ranges, source.partitions())
            return {partition: (start, end) for partition, (start, end) in sorted(self.ranges.items())}
        begin, end = source.offsets(EARLIEST), source.offsets(LATEST)
        start = _resolve(source, self.start, begin, end)
        if begin.keys() != end.keys():
            raise BrokerUnavailable(
                f"the brokers name partitions {sorted(begin)}, and then {sorted(end)}",
                "Read again; look at the brokers.",
            )
        stop = {p: max(min(at, end[p]), begin[p]) for p, at in _resolve(source, self.end, end, end).items()}
        return {p: (min(max(start[p], begin[p]), stop[p]), stop[p]) for p in sorted(begin)}

    def notes_on(self, ranges: Ranges) -> tuple[str, ...]:
        """Sentences about partitions that begin above offset 0, which nobody asked for by `start` or `ranges`."""
        if self.ranges is not None or self.start is not None:
            return ()
        notes = tuple(
            f"partition {partition} begins at offset {start}: the records before it are gone (retention, or deleted)"
            for partition, (start, _) in ranges.items()
            if start > 0
        )
        for note in notes:
            logger.warning("topic %s, %s", self.topic, note)
        return notes


def _resolve(
    source: OffsetLookup, place: OffsetSpec, default: Mapping[int, int], end: Mapping[int, int]
) -> Mapping[int, int]:
    if place is None:
        return default
    if isinstance(place, int):
        return dict.fromkeys(default, place)
    if isinstance(place, datetime):
        found = source.offsets(_milliseconds(place))
        return {partition: end[partition] if at < 0 else at for partition, at in found.items() if partition in end}
    _check(place, default)
    return {**default, **place}


def _check(named: Iterable[int], partitions: Iterable[int]) -> None:
    if unknown := set(named) - set(partitions):
        raise LabError(f"there is no partition {sorted(unknown)}", f"The partitions are {sorted(partitions)}.")


def _milliseconds(moment: datetime) -> int:
    """The first millisecond UTC that is not before the moment; 0 for any moment before 1970, as Kafka's times begin."""
    if moment.tzinfo is None:
        raise LabError(f"{moment} has no time zone", "Pass datetime(..., tzinfo=UTC).")
    return max(0, -((_EPOCH - moment) // timedelta(milliseconds=1)))


AnySource: TypeAlias = "Fetcher | ConsumerSource"
Response: TypeAlias = "FetchedChunks | PolledBatch"
Source = TypeVar("Source", Fetcher, "ConsumerSource")


class RecordSource:
    """An open read: its `ranges` are fixed; `decoder` is empty, or names the consumer and the reason for it.

    `notes` name the partitions whose first records are gone, when the read begins at the beginning.
    """

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self._deadline = time.monotonic() + request.timeout
        self._stack = ExitStack()
        self.decoder = ""
        try:
            self._source, self.ranges = self._begin()
            self.notes = request.notes_on(self.ranges)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> "RecordSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def responses(self, ranges: Ranges, piece: int | None = None, **settings: Any) -> Generator[Response, None, None]:
        """The responses for these ranges; where plain fetching cannot go on, the consumer takes over.

        `piece` is about how many decompressed bytes are decoded at a time (None: a whole answer).
        """
        settings["bounds"] = Bounds(self._request.batch_limit, self._request.oversized == "reject", piece)
        try:
            yield from self._source.read(ranges, **settings)
        except (Unsupported, OldFormat) as reason:
            reached = dict(self._source.positions)
            self._source = self._open_consumer(str(reason))
            yield from self._source.read({p: (at, ranges[p][1]) for p, at in reached.items()}, **settings)

    def topic_id(self) -> uuid.UUID | None:
        """The topic's id; None where the brokers (before Kafka 2.8) or the consumer do not tell it."""
        return self._source.topic_id() if isinstance(self._source, Fetcher) else None

    def all_partitions(self) -> list[int]:
        """The topic's partitions, whether this read covers them or not."""
        return self._source.partitions()

    def _begin(self) -> tuple[AnySource, Ranges]:
        protocol = security_protocol_of(self._request.connection)
        if protocol != "PLAINTEXT":
            source: AnySource = self._open_consumer(f"the connection is {protocol}")
            return source, self._request.resolve_offsets(source)
        try:
            source = self._open_source(Fetcher)
            return source, self._request.resolve_offsets(source)
        except Unsupported as reason:
            source = self._open_consumer(str(reason))
            return source, self._request.resolve_offsets(source)
        except BrokerUnavailable:
            from streaming_lab.client import preflight

            preflight.raise_if_refused(self._request.connection)  # the port may want TLS or SASL, or lead elsewhere
            raise

    def _open_consumer(self, reason: str) -> "ConsumerSource":
        from streaming_lab.reader.fetch.consumer import ConsumerSource

        logger.info("topic %s: read through KafkaConsumer: %s", self._request.topic, reason)
        self.decoder = f"consumer: {reason}"
        return self._open_source(ConsumerSource)

    def _open_source(self, kind: type[Source]) -> Source:
        committed = self._request.isolation == "read_committed"
        connection, topic = self._request.connection, self._request.topic
        return self._stack.enter_context(kind(connection, topic, committed=committed, deadline=self._deadline))
