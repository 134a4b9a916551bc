"""Fetches ranges of a topic as bytes, from every leader at once, through changes of leaders.

One request is always under way at each leader while the caller decodes the last answer. When a leader is gone or
replaced, the fetch goes on at the new leader from the reached offset, until the deadline.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse

from streaming_lab.client.broker_connection import BrokerConnection, ConnectionBroken
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import OffsetOutOfRange
from streaming_lab.client.metadata import (
    EARLIEST,
    LATEST,
    OUT_OF_RANGE,
    Ranges,
    StaleMetadata,
    TopicMetadata,
    by_leader,
    error_of,
)
from streaming_lab.reader.decode.batches import (
    Chunk,
    CorruptBatch,
    Decode,
    Decoded,
    complete_prefix,
    compression_ratio,
    first_batches,
)
from streaming_lab.reader.decode.codecs import NO_PIECES, Bounds
from streaming_lab.reader.decode.headers import Headers, read_headers
from streaming_lab.reader.decode.records import IndexedRecords, index_pieces, index_records
from streaming_lab.reader.decode.schema import Plan
from streaming_lab.reader.fetch.leaders import LeaderConnections

_STALL = 5.0  # seconds that a log may end before the range does, as it may after a change of leaders


class LogEnd:
    """Judges answers without records of a partition: lag, an open transaction, or records that are gone.

    `part` is the partition's part of a FetchResponse.
    """

    def __init__(self, topic: str, committed: bool) -> None:
        self._topic, self._committed = topic, committed
        self._since: dict[int, float] = {}  # partition -> when its log was first found too short, monotonic seconds

    def found_records(self, partition: int) -> None:
        """Note that the partition's log is long enough again."""
        self._since.pop(partition, None)

    def missing(self, part: Any, at: int, end: int) -> str:
        """Why an answer has nothing of [at, end), "" if unknown. Raises `OffsetOutOfRange` when nothing will come."""
        self._check_history(part, at)
        partition = part.partition_index
        if part.high_watermark >= end:
            if self._committed and part.last_stable_offset <= at:
                return f"partition {partition}: a transaction is open at offset {part.last_stable_offset}"
            return ""
        now, found = time.monotonic(), f"partition {partition}: the log ends at offset {part.high_watermark}"
        if now - self._since.setdefault(partition, now) > _STALL:
            raise OffsetOutOfRange(
                f"topic {self._topic!r}, {found}, not {end}",
                "The log was truncated, or the range ends beyond it: capture the offsets anew.",
            )
        return found

    def _check_history(self, part: Any, at: int) -> None:
        """Raise if the log was cut below `at`: after an unclean election other records have those offsets (KIP-595)."""
        cut = part.diverging_epoch
        if cut is not None and cut.end_offset >= 0:
            raise OffsetOutOfRange(
                f"topic {self._topic!r}, partition {part.partition_index}: the log was cut at offset {cut.end_offset}, "
                f"below offset {at} that had been reached",
                "A leader that lacked records was elected (unclean.leader.election.enable): read the topic anew.",
            )


def out_of_range(topic: str, partition: int, wanted: tuple[int, int], there: tuple[int, int]) -> OffsetOutOfRange:
    """The error for a range [at, end) whose first offset is outside the log's own range `there`."""
    (at, end), (begin, last) = wanted, there
    gone = f"offsets {at} to {min(begin, end)} were deleted" if at < begin else f"offset {at} was truncated"
    return OffsetOutOfRange(
        f"topic {topic!r}, partition {partition}: {gone}; the log holds [{begin}, {last})",
        "Read from the first offset that is still there, or keep the log longer (retention.ms, retention.bytes).",
    )


@dataclass(frozen=True)
class FetchedChunks:
    """The chunks of one fetch answer, still in the connection's buffer; `done` gives the buffer back."""

    chunks: list[Chunk]
    connection: BrokerConnection
    buffer: bytearray

    def indexed(self) -> list[tuple[int, IndexedRecords]]:
        """(partition, its records) for each chunk, not decoded."""
        return [(chunk.partition, index_records(chunk)) for chunk in self.chunks]

    def headers(self) -> Iterator[tuple[int, int, Headers]]:
        """Partition, offset and headers of each record that has some."""
        for partition, indexed in self.indexed():
            yield from ((partition, *found) for found in read_headers(partition, indexed.records))

    def sample(self, most: int) -> list[bytes]:
        """The first values of each chunk; no more batches are read than necessary."""
        return [value for chunk in self.chunks for value in _first_values(chunk, most)]

    def decoded(self, plan: Plan, decode: Decode) -> Iterator[tuple[int, Decoded]]:
        """(partition, its rows) for each piece of each chunk."""
        for chunk in self.chunks:
            for decoded in decode(plan, chunk):
                yield chunk.partition, decoded

    def done(self) -> None:
        """Give the answer's buffer back."""
        self.connection.give_back(self.buffer)


def _first_values(chunk: Chunk, most: int) -> list[bytes]:
    """The values among the first `most` records, or among more if those are all tombstones, aborted or markers."""
    records = most
    while True:
        part = first_batches(chunk, records)
        values = _values(part, most)
        if values or part is chunk:
            return values
        records *= 4


def _values(chunk: Chunk, most: int) -> list[bytes]:
    """The first values, one batch after another, until there are `most` of them or they have `_SAMPLED` bytes."""
    values: list[bytes] = []
    size = 0
    for indexed in index_pieces(replace(chunk, bounds=replace(chunk.bounds, piece=1))):
        records = indexed.records
        for row in np.flatnonzero(records.lengths >= 0).tolist():
            if len(values) == most or size >= _SAMPLED:
                return values
            values.append(records.value(row))
            size += len(values[-1])
    return values


ANSWER_BYTES = 8 << 20  # bytes asked for at once, over all partitions of a leader
_RATIO = 50.0  # assumed codec ratio before the first batch: lines of JSON shrink to a 5th or a 20th
_BATCH = 512 << 20  # bytes: a batch comes whole, however small the request; a larger one is taken for noise
_SAMPLED = 1 << 20  # bytes of values that are enough to infer a schema from
_WAIT_MS = 500  # how long a broker holds a request that it has no data for


class Fetcher(LeaderConnections):
    """Reads ranges of one topic; `positions` is the next offset of each partition of the ranges."""

    def __init__(self, connection: Connection, topic: str, *, committed: bool, deadline: float) -> None:
        super().__init__(connection, topic, committed=committed, deadline=deadline)
        self._requests = 0
        self._answer, self._inflated, self._ratio = ANSWER_BYTES, False, 1.0
        self._bounds = NO_PIECES
        self._epochs: dict[int, int] = {}  # partition -> leader epoch of the last batch
        self._log_end = LogEnd(topic, committed)

    def read(
        self, ranges: Ranges, answer: int = ANSWER_BYTES, inflated: bool = False, bounds: Bounds = NO_PIECES
    ) -> Iterator[FetchedChunks]:
        """Every chunk of the ranges, each partition's in order. `answer` is about how many bytes an answer has: as they
        are stored, or `inflated`, by the ratio of the answers before. Chunks carry `bounds` to their decoder.

        Raises `ReadTimeout`, `OffsetOutOfRange`, `UnknownTopic` or `BrokerUnavailable` naming what is missing;
        `Unsupported` and `OldFormat` when the consumer has to take over at `positions`.
        """
        self.positions = {partition: start for partition, (start, end) in ranges.items() if start < end}
        self._ends = {partition: end for partition, (_, end) in ranges.items()}
        self._answer, self._inflated, self._ratio = answer, inflated, _RATIO if inflated else 1.0
        self._bounds = bounds
        try:
            yield from self._rounds()
        finally:  # a caller that stops early leaves answers under way
            for connection in [connection for connection in self._connections.values() if connection.busy]:
                self._drop(connection)

    def _rounds(self) -> Iterator[FetchedChunks]:
        tries = 0
        while self._pending():
            before = dict(self.positions)
            try:
                self._ask_idle_leaders()
                for connection in self._answering():
                    yield from self._receive(connection)
            except (ConnectionBroken, StaleMetadata) as error:
                tries = self._recover(error, 0 if before != self.positions else tries)

    def _ask_idle_leaders(self) -> None:
        metadata = self._find_leaders()
        for leader, partitions in by_leader(metadata, self._pending()).items():
            connection = self._connect(leader)
            if not connection.busy:
                self._ask(connection, metadata, partitions)

    def _ask(self, connection: BrokerConnection, metadata: TopicMetadata, partitions: list[int]) -> None:
        """Ask for the next bytes of these partitions, beginning with another partition each time, so that none starves.

        The first partition may fill the answer: few long chunks cost less than many short ones.
        """
        self._requests += 1
        first, answer = self._requests % len(partitions), max(1, int(self._answer / self._ratio))
        version = connection.version(FetchRequest, 4)
        topic, place = FetchRequest.FetchTopic, FetchRequest.FetchTopic.FetchPartition
        places = [
            place(
                version=version,
                partition=partition,
                fetch_offset=self.positions[partition],
                partition_max_bytes=answer,
                **({"last_fetched_epoch": self._epochs.get(partition, -1)} if version >= 12 else {}),
            )
            for partition in partitions[first:] + partitions[:first]
        ]
        name = {"topic_id": metadata.topic_id} if version >= 13 else {"topic": self.topic}
        connection.send(
            FetchRequest(
                version=version,
                max_wait_ms=_WAIT_MS,
                min_bytes=1,
                max_bytes=answer,
                isolation_level=int(self._committed),
                topics=[topic(version=version, partitions=places, **name)],
            ),
            FetchResponse,
            most=answer + _BATCH,
        )

    def _answering(self) -> list[BrokerConnection]:
        """The connections with an answer; waits for the first, and raises `ConnectionBroken` when all are silent."""
        connections = list(self._connections.values())
        busy = [connection for connection in connections if connection.busy]
        if len(busy) == 1:
            return busy  # `receive` waits by itself
        ready = [key.fileobj for key, _ in self._selector.select(max(0.0, min(4.0, self._left())))]
        closed = [connection for connection in connections if connection in ready and not connection.busy]
        for connection in closed if ready else busy:
            self._drop(connection)  # silent, or closed by its broker while nothing was asked
        if not ready and busy:
            raise ConnectionBroken(f"{', '.join(map(str, busy))}: no answer")
        return [connection for connection in busy if connection in ready]

    def _receive(self, connection: BrokerConnection) -> Iterator[FetchedChunks]:
        """Take one answer, send the next request, hand out the chunks; only then raise the answer's first error."""
        fetched, trouble = self._take(connection)
        if trouble is None and self._left() > 0:
            try:
                self._ask_idle_leaders()
            except (ConnectionBroken, StaleMetadata) as error:
                trouble = error
        yield fetched
        if trouble is not None:
            raise trouble

    def _take(self, connection: BrokerConnection) -> tuple[FetchedChunks, Exception | None]:
        """The chunks of this connection's answer, positions moved behind them, and the answer's first error."""
        found, buffer = connection.receive()
        fetched = FetchedChunks([], connection, buffer)
        if found.error_code:
            return fetched, error_of(found.error_code, str(connection))
        trouble: Exception | None = None
        parts = [part for topic in found.responses or () for part in topic.partitions or ()]
        for part in parts:
            try:
                chunk = self._chunk(part)
                if chunk is not None:
                    fetched.chunks.append(chunk)
            except (LookupError, TypeError, ValueError) as error:  # a partition that nobody asked for, and the like
                trouble = trouble or ConnectionBroken(f"{connection}: an answer that makes no sense ({error!r})")
            except Exception as error:  # raised by _receive, after the good chunks
                trouble = trouble or error
        if self._inflated and fetched.chunks:
            self._learn_ratio(fetched.chunks)
        return fetched, trouble or (None if fetched.chunks else self._incomplete(parts))

    def _learn_ratio(self, chunks: list[Chunk]) -> None:
        """Update the codec ratio by one batch; earlier batches fade slowly, the assumed ratio goes at once."""
        before = 0.0 if self._ratio == _RATIO else 0.9 * self._ratio
        with suppress(CorruptBatch):  # the decoder raises it
            self._ratio = max(1.0, before, compression_ratio(max(chunks, key=lambda chunk: len(chunk.data))))

    def _chunk(self, part: Any) -> Chunk | None:
        partition = part.partition_index
        at, end = self.positions[partition], self._ends[partition]
        if part.error_code == OUT_OF_RANGE:
            begin, last = (self.offsets(when, [partition])[partition] for when in (EARLIEST, LATEST))
            raise out_of_range(self.topic, partition, (at, end), (begin, last))
        if part.error_code:
            raise error_of(part.error_code, f"partition {partition}")
        data = memoryview(part.records if part.records is not None else b"")
        size, after, epoch = complete_prefix(partition, data, at)
        if not size:
            self._trouble = self._log_end.missing(part, at, end) or self._trouble
            return None
        self._log_end.found_records(partition)
        self.positions[partition], self._epochs[partition] = after, epoch
        aborted = tuple((each.producer_id, each.first_offset) for each in part.aborted_transactions or ())
        return Chunk(partition, at, end, data[:size], aborted, self._committed, self._bounds)

    def _incomplete(self, parts: list[Any]) -> CorruptBatch | None:
        """The error for bytes without a whole batch: a leader sends an answer's first batch whole (KIP-74)."""
        for part in parts:
            if part.records:
                at, size = self.positions[part.partition_index], len(part.records)
                return CorruptBatch(part.partition_index, at, f"it claims more than the {size} bytes that arrived")
        return None
