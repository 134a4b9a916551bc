"""From ranges to decoded chunks in order: fetched here, decoded in threads, or read the way round if need be."""

import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from app.errors import LabError
from app.stream import decode, door, infer, topics
from app.stream.batches import OldFormat
from app.stream.chunk import Decode, Decoded
from app.stream.connection import Connection, security
from app.stream.consumed import Consumed, Consuming
from app.stream.fetch import Fetched, Fetcher
from app.stream.layout import EARLIEST, LATEST
from app.stream.records import from_values
from app.stream.schema import META, Plan, Schema, compile_plan
from app.stream.topics import Ranges
from app.stream.wire import Unsupported

logger = logging.getLogger(__name__)

Place: TypeAlias = int | Mapping[int, int] | datetime | None  # an offset, one per partition, or a moment
Source: TypeAlias = Fetcher | Consuming
Work: TypeAlias = Fetched | Consumed
Opened = TypeVar("Opened", Fetcher, Consuming)

SAMPLE = 200  # values of each chunk of the first answer from which a schema is inferred; later news widens it
_THREADS = min(2, os.cpu_count() or 1)  # pyarrow and the C core work without Python's lock
_AHEAD = _THREADS + 1  # answers that wait for a decoder
_ISOLATION = ("read_uncommitted", "read_committed")


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


class Reading:
    """An open read: its `ranges` are fixed; `decoder` says which way the bytes came, and why."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._deadline = time.monotonic() + request.timeout
        self._open = ExitStack()
        self.decoder = ""
        try:
            self._source, self.ranges = self._begin()
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def works(self, ranges: Ranges, **settings: Any) -> Iterator[Work]:
        """What the ranges hold, as the source brings it; another source takes over where the first one cannot."""
        try:
            yield from self._source.read(ranges, **settings)
        except (Unsupported, OldFormat) as reason:
            reached = dict(self._source.positions)
            self._source = self._consuming(str(reason))
            yield from self._source.read({p: (at, ranges[p][1]) for p, at in reached.items()}, **settings)

    def _begin(self) -> tuple[Source, Ranges]:
        if security(self._request.connection) != "PLAINTEXT":
            source: Source = self._consuming(f"the connection is {security(self._request.connection)}")
            return source, _ranges(self._request, source)
        try:
            source = self._opened(Fetcher)
            return source, _ranges(self._request, source)
        except Unsupported as reason:
            source = self._consuming(str(reason))
            return source, _ranges(self._request, source)
        except topics.BrokerGone:
            door.explain(self._request.connection)  # does the port want TLS or SASL?
            raise

    def _consuming(self, reason: str) -> Consuming:
        logger.info("topic %s: read through KafkaConsumer: %s", self._request.topic, reason)
        self.decoder = f"consumer: {reason}"
        return self._opened(Consuming)

    def _opened(self, kind: type[Opened]) -> Opened:
        committed = self._request.isolation == "read_committed"
        connection, topic = self._request.connection, self._request.topic
        return self._open.enter_context(kind(connection, topic, committed=committed, deadline=self._deadline))


@dataclass
class Planner:
    """The plan in use: fixed for a declared schema, learned from the first chunks and from strays without one."""

    plan: Plan
    sampled: bool = True

    @classmethod
    def of(cls, schema: Schema | None, columns: list[str] | None) -> "Planner":
        if schema is not None:
            return cls(compile_plan(schema, columns))
        keys = None if columns is None else [name for name in columns if name not in META]
        return cls(infer.start(keys), sampled=False)

    def sample(self, work: Work) -> None:
        """Look at the first values, once."""
        if not self.sampled:
            self.sampled = True
            self.learn(work.sample(SAMPLE))

    def learn(self, values: Iterable[bytes]) -> None:
        """Make room for these values."""
        self.plan = infer.widened(self.plan, values)


@dataclass(frozen=True)
class Part:
    """Decoded rows of one partition, and the plan that they follow."""

    partition: int
    plan: Plan
    decoded: Decoded


@dataclass
class Pipeline:
    """Decodes works in threads, at most a few ahead, and hands out their parts in the order of the works."""

    planner: Planner
    decode: Decode = decode.decode_chunk
    _running: deque[tuple[Plan, Future[list[tuple[int, Decoded]]]]] = field(default_factory=deque)

    def parts(self, works: Iterator[Work]) -> Iterator[Part]:
        """One part per chunk, and one more for the strays of a chunk."""
        with ThreadPoolExecutor(_THREADS, "decode") as pool:
            try:
                for work in works:
                    self.planner.sample(work)
                    plan = self.planner.plan
                    self._running.append((plan, pool.submit(_decoded, work, plan, self.decode)))
                    if len(self._running) > _AHEAD:
                        yield from self._next()
                while self._running:
                    yield from self._next()
            finally:
                self._running.clear()

    def _next(self) -> Iterator[Part]:
        plan, future = self._running.popleft()
        for partition, decoded in future.result():
            yield Part(partition, plan, decoded)
            yield from self._strays(partition, decoded)

    def _strays(self, partition: int, decoded: Decoded) -> Iterator[Part]:
        if decoded.strays:
            self.planner.learn(stray.value for stray in decoded.strays)
            fields = ("offset", "timestamp", "key", "value")
            columns = [[getattr(stray, name) for stray in decoded.strays] for name in fields]
            found = decode.decode_records(self.planner.plan, partition, from_values(*columns), decoded.next_offset)
            yield Part(partition, self.planner.plan, found)


def _decoded(work: Work, plan: Plan, decoder: Decode) -> list[tuple[int, Decoded]]:
    try:
        return work.decoded(plan, decoder)
    finally:
        work.done()


def _ranges(request: Request, source: Source) -> Ranges:
    """The offsets that a request means, now."""
    if request.ranges is not None:
        return {partition: (start, end) for partition, (start, end) in sorted(request.ranges.items())}
    begin, end = source.offsets(EARLIEST), source.offsets(LATEST)
    start = _placed(source, request.start, begin, end)
    stop = _placed(source, request.end, end, end)
    return {p: (max(start[p], begin[p]), max(min(stop[p], end[p]), begin[p])) for p in sorted(begin)}


def _placed(source: Source, place: Place, default: Mapping[int, int], end: Mapping[int, int]) -> Mapping[int, int]:
    if place is None:
        return default
    if isinstance(place, int):
        return dict.fromkeys(default, place)
    if isinstance(place, datetime):
        if place.tzinfo is None:
            raise LabError(f"{place} has no time zone", "Say datetime(..., tzinfo=UTC).")
        found = source.offsets(int(place.astimezone(UTC).timestamp() * 1000))
        return {partition: end[partition] if at < 0 else at for partition, at in found.items()}
    if unknown := set(place) - set(default):
        raise LabError(f"there is no partition {sorted(unknown)}", f"The partitions are {sorted(default)}.")
    return {**default, **place}
