"""Fetch: ranges of a topic as bytes, from every leader at once, whatever happens to the leaders meanwhile.

One request is always under way at each leader while the caller decodes the last answer. A leader that is gone or is no
leader any more is looked for again, from the offset that was reached, until the deadline.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse

from streaming_lab.client.broker_connection import BrokerConnection, ConnectionBroken
from streaming_lab.client.connection import Connection
from streaming_lab.client.metadata import (
    EARLIEST,
    LATEST,
    OUT_OF_RANGE,
    StaleMetadata,
    TopicMetadata,
    by_leader,
    error_of,
)
from streaming_lab.client.topics import Ranges
from streaming_lab.stream.batches import CorruptBatch, inflation, whole
from streaming_lab.stream.chunk import Chunk
from streaming_lab.stream.fetched import Fetched
from streaming_lab.stream.leaders import Leaders
from streaming_lab.stream.logend import LogEnd, out_of_range

ANSWER = 8 << 20  # bytes asked for at once, over all partitions of a leader
_RATIO = 50.0  # what a codec is trusted with before the first batch has come: lines of JSON shrink to a 5th or a 20th
_BATCH = 512 << 20  # bytes: a batch comes whole, however little was asked for, but no topic has batches like that
_WAIT_MS = 500  # how long a broker holds a request that it has no data for


class Fetcher(Leaders):
    """Reads ranges of one topic. `positions` says at any time which offset comes next, per partition of the ranges.

    Everything else is as `Leaders` has it.
    """

    def __init__(self, connection: Connection, topic: str, *, committed: bool, deadline: float) -> None:
        super().__init__(connection, topic, committed=committed, deadline=deadline)
        self._turn = 0
        self._answer, self._inflated, self._ratio = ANSWER, False, 1.0
        self._epochs: dict[int, int] = {}  # partition -> leader epoch of the last batch that came
        self._log_end = LogEnd(topic, committed)

    def read(self, ranges: Ranges, answer: int = ANSWER, inflated: bool = False) -> Iterator[Fetched]:
        """Every chunk of the ranges, each partition's in order. `answer` is about how many bytes come at once, as they
        are stored, or `inflated`, as far as the answers before can tell.

        Raises `ReadTimeout`, `OffsetsGone`, `TopicMissing` or `BrokerGone` naming what is missing;
        `Unsupported` and `OldFormat` when another way has to take over at `positions`.
        """
        self.positions = {partition: start for partition, (start, end) in ranges.items() if start < end}
        self._ends = {partition: end for partition, (_, end) in ranges.items()}
        self._answer, self._inflated, self._ratio = answer, inflated, _RATIO if inflated else 1.0
        try:
            yield from self._rounds()
        finally:  # whoever has enough and closes this leaves answers under way
            for link in [link for link in self._links.values() if link.busy]:
                self._drop(link)

    def _rounds(self) -> Iterator[Fetched]:
        tries = 0
        while self._pending():
            before = dict(self.positions)
            try:
                self._ask_idle_leaders()
                for link in self._answering():
                    yield from self._received(link)
            except (ConnectionBroken, StaleMetadata) as error:
                tries = self._recover(error, 0 if before != self.positions else tries)

    def _ask_idle_leaders(self) -> None:
        layout = self._located()
        for leader, partitions in by_leader(layout, self._pending()).items():
            link = self._link(leader)
            if not link.busy:
                self._ask(link, layout, partitions)

    def _ask(self, link: BrokerConnection, layout: TopicMetadata, partitions: list[int]) -> None:
        """Ask for the next bytes of these partitions, another one first each time, so that none starves.

        The first one may fill the answer: few long chunks cost less than many short ones.
        """
        self._turn += 1
        first, answer = self._turn % len(partitions), max(1, int(self._answer / self._ratio))
        version = link.version(FetchRequest, 4)
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
        name = {"topic_id": layout.topic_id} if version >= 13 else {"topic": self.topic}
        link.send(
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
        """The links that have something to say; waits for the first one, but bears no silence of all brokers."""
        busy = [link for link in self._links.values() if link.busy]
        if len(busy) == 1:
            return busy  # its receive waits by itself
        ready = [key.fileobj for key, _ in self._selector.select(max(0.0, min(4.0, self._left())))]
        for link in busy if not ready else [link for link in self._links.values() if link in ready and not link.busy]:
            self._drop(link)  # silent, or closed by its broker while it had nothing to say
        if not ready and busy:
            raise ConnectionBroken(f"{', '.join(map(str, busy))}: no answer")
        return [link for link in busy if link in ready]

    def _received(self, link: BrokerConnection) -> Iterator[Fetched]:
        """Take one answer, put the next request on the wire, hand out the chunks; only then say what went wrong."""
        fetched, trouble = self._taken(link)
        if trouble is None and self._left() > 0:
            try:
                self._ask_idle_leaders()
            except (ConnectionBroken, StaleMetadata) as error:
                trouble = error
        yield fetched
        if trouble is not None:
            raise trouble

    def _taken(self, link: BrokerConnection) -> tuple[Fetched, Exception | None]:
        """The chunks of the answer that comes on this link, positions moved behind them, and the first error in it."""
        found, buffer = link.receive()
        fetched = Fetched([], link, buffer)
        if found.error_code:
            return fetched, error_of(found.error_code, str(link))
        trouble: Exception | None = None
        parts = [part for topic in found.responses for part in topic.partitions]
        for part in parts:
            try:
                chunk = self._chunk(part)
                if chunk is not None:
                    fetched.chunks.append(chunk)
            except Exception as error:  # raised by _received, after the good chunks
                trouble = trouble or error
        if self._inflated and fetched.chunks:
            self._learn(fetched.chunks)
        return fetched, trouble or (None if fetched.chunks else self._incomplete(parts))

    def _learn(self, chunks: list[Chunk]) -> None:
        """What a byte becomes, told by one batch; what earlier ones became is forgotten slowly, the guess at once."""
        before = 0.0 if self._ratio == _RATIO else 0.9 * self._ratio
        with suppress(CorruptBatch):  # the decoder's to tell
            self._ratio = max(1.0, before, inflation(max(chunks, key=lambda chunk: len(chunk.data))))

    def _chunk(self, part: Any) -> Chunk | None:
        partition = part.partition_index
        at, end = self.positions[partition], self._ends[partition]
        if part.error_code == OUT_OF_RANGE:
            begin, last = (self.offsets(when, [partition])[partition] for when in (EARLIEST, LATEST))
            raise out_of_range(self.topic, partition, (at, end), (begin, last))
        if part.error_code:
            raise error_of(part.error_code, f"partition {partition}")
        data = memoryview(part.records if part.records is not None else b"")
        size, after, epoch = whole(partition, data, at)
        if not size:
            self._trouble = self._log_end.missing(part, at, end) or self._trouble
            return None
        self._log_end.came(partition)
        self.positions[partition], self._epochs[partition] = after, epoch
        aborted = tuple((each.producer_id, each.first_offset) for each in part.aborted_transactions or ())
        return Chunk(partition, at, end, data[:size], aborted, self._committed)

    def _incomplete(self, parts: list[Any]) -> CorruptBatch | None:
        """Bytes without a whole batch would come again for ever: a leader cuts off no answer's first batch (KIP-74)."""
        for part in parts:
            if part.records:
                at, size = self.positions[part.partition_index], len(part.records)
                return CorruptBatch(part.partition_index, at, f"it claims more than the {size} bytes that came of it")
        return None
