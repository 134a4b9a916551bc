"""The same ranges through kafka-python's KafkaConsumer: for TLS, SASL, old brokers and old message formats."""

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors as kafka_errors
from kafka.consumer.fetcher import Fetcher as KafkaFetcher
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.legacy_records import LegacyRecordBatch

from streaming_lab.client import preflight, topics
from streaming_lab.client.admin import ADMIN_TIMEOUT, denied, request_timeout
from streaming_lab.client.connection import Connection, addresses, kafka_python_settings
from streaming_lab.client.errors import AccessDenied, BrokerUnavailable, OffsetOutOfRange, ReadTimeout
from streaming_lab.client.metadata import EARLIEST, LATEST, Ranges
from streaming_lab.errors import LabError
from streaming_lab.reader.decode.batches import BatchTooLarge, CorruptBatch, Decode, Decoded, Reject, Segment
from streaming_lab.reader.decode.codecs import NO_PIECES, NOT_INFLATED, Bounds, InflatesTooFar, format_bytes, inflate
from streaming_lab.reader.decode.headers import Headers
from streaming_lab.reader.decode.python import decode_records
from streaming_lab.reader.decode.records import IndexedRecords, RecordIndex, index_values
from streaming_lab.reader.decode.schema import Plan

_POLL_MS = 500
_REQUEST_MS = 2000  # more than a fetch may wait at the broker, as kafka-python demands
_CLOSE_MS = 1000
_BYTES = 4 << 20
_CURE = "Let this user read the topic, or look for that error in the brokers' own logs."


@dataclass(frozen=True)
class PolledBatch:
    """One partition's records from one poll."""

    partition: int
    records: RecordIndex
    next_offset: int
    rejects: list[Reject] = field(default_factory=list)  # batches that inflate too far
    found_headers: list[tuple[int, Headers]] = field(default_factory=list)  # offset and headers, where there are some

    def headers(self) -> Iterator[tuple[int, int, Headers]]:
        """Partition, offset and headers of each record that has some."""
        return ((self.partition, *found) for found in self.found_headers)

    def indexed(self) -> list[tuple[int, IndexedRecords]]:
        """The partition and its records."""
        return [(self.partition, IndexedRecords(self.records, 0, self.next_offset))]

    def sample(self, most: int) -> list[bytes]:
        """The first values."""
        return self.records.values(most)

    def decoded(self, plan: Plan, decode: Decode) -> Iterator[tuple[int, Decoded]]:
        """The partition and its rows; only the pure-Python decoder takes records without their batch."""
        del decode
        decoded = decode_records(plan, self.partition, self.records, self.next_offset)
        yield self.partition, replace(decoded, rejects=[*self.rejects, *decoded.rejects])

    def done(self) -> None:
        """Nothing to do: there is no buffer to give back."""


class ConsumerSource:
    """The interface of `Fetcher` on a KafkaConsumer without a group and without commits."""

    def __init__(self, connection: Connection, topic: str, *, committed: bool, deadline: float) -> None:
        self.topic = topic
        self.positions: dict[int, int] = {}
        self._started, self._deadline = time.monotonic(), deadline
        self._connection = connection
        self.inflation = NO_PIECES
        self.rejects: list[Reject] = []  # batches that inflate too far, not yet handed out
        try:
            preflight.find_accepting_server(connection, min(deadline, self._started + ADMIN_TIMEOUT))
            left = int(1000 * min(ADMIN_TIMEOUT, max(0.1, deadline - time.monotonic())))
            self._consumer = KafkaConsumer(
                **kafka_python_settings(connection),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed" if committed else "read_uncommitted",
                max_partition_fetch_bytes=_BYTES,
                bootstrap_timeout_ms=left,
                request_timeout_ms=max(left, _REQUEST_MS),  # its default of 30 s outlives the bootstrap's time-out
            )
            self._consumer._fetcher.PartitionRecords = partial(_BoundedRecords, self)
        except LabError:
            raise
        except Exception as error:  # time-outs, and whatever kafka-python raises on bytes that are no answer
            preflight.raise_if_refused(connection)
            raise BrokerUnavailable(
                f"no broker answers at {addresses(connection)}: {error}", "Start one, or correct the address."
            ) from error

    def __enter__(self) -> "ConsumerSource":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # kafka-python's, on whatever a broker says
            self._consumer.close(timeout_ms=_CLOSE_MS)

    def partitions(self) -> list[int]:
        """The topic's partitions; raises `UnknownTopic`."""
        with self._translating_errors():
            timeout = request_timeout(self._deadline - time.monotonic())
            return sorted(topics.end_offsets(self._connection, self.topic, timeout))

    def offsets(self, when: int, partitions: list[int] | None = None) -> dict[int, int]:
        """As `Fetcher.offsets`."""
        asked = [TopicPartition(self.topic, p) for p in (self.partitions() if partitions is None else partitions)]
        left = max(1, int(1000 * (self._deadline - time.monotonic())))
        with self._translating_errors():
            if when in (EARLIEST, LATEST):
                question = self._consumer.beginning_offsets if when == EARLIEST else self._consumer.end_offsets
                return {at.partition: offset for at, offset in question(asked, timeout_ms=left).items()}
            found = self._consumer.offsets_for_times(dict.fromkeys(asked, when), timeout_ms=left)
        return {at.partition: -1 if place is None else place.offset for at, place in found.items()}

    def bounds(self) -> Ranges:
        """As `Fetcher.bounds`."""
        begin, end = self.offsets(EARLIEST), self.offsets(LATEST)
        return {partition: (begin[partition], end[partition]) for partition in sorted(begin)}

    def read(
        self, ranges: Ranges, answer: int = _BYTES, inflated: bool = False, bounds: Bounds = NO_PIECES
    ) -> Iterator[PolledBatch]:
        """As `Fetcher.read`; the size of an answer is fixed by the consumer's settings."""
        del answer, inflated
        self.inflation = bounds
        ends = {p: end for p, (start, end) in ranges.items() if start < end}
        self.positions = {p: ranges[p][0] for p in ends}
        places = {p: TopicPartition(self.topic, p) for p in ends}
        self._consumer.assign(list(places.values()))
        for partition, place in places.items():
            self._consumer.seek(place, ranges[partition][0])
        while late := [p for p in ends if self.positions[p] < ends[p]]:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise self._timeout_error(late, ends)
            with self._translating_errors():
                polled = self._consumer.poll(timeout_ms=min(_POLL_MS, int(1000 * left) + 1))
            for place, records in polled.items():
                self.positions[place.partition] = records[-1].offset + 1
                yield _polled_batch(place.partition, records, ends[place.partition])
            yield from self._oversized(ends)
            with self._translating_errors():
                for partition in late:  # moves past markers and compacted offsets, too
                    at = self._consumer.position(places[partition], timeout_ms=1000)
                    self.positions[partition] = max(self.positions[partition], at or 0)

    @contextmanager
    def _translating_errors(self) -> Iterator[None]:
        """Translate kafka-python's errors into the reader's own."""
        try:
            yield
        except (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError) as error:
            raise OffsetOutOfRange(
                f"topic {self.topic!r}: wanted offsets are gone ({error})", "Read what is still there."
            ) from error
        except (kafka_errors.KafkaTimeoutError, kafka_errors.KafkaConnectionError) as error:
            raise BrokerUnavailable(
                f"topic {self.topic!r}: no answer from {addresses(self._connection)}: {error}",
                "See whether the brokers are well, or give the read a longer `timeout`.",
            ) from error
        except kafka_errors.AuthorizationError as error:
            raise denied(self._connection, error, f"topic {self.topic!r}") from error
        except kafka_errors.SaslAuthenticationFailedError as error:
            raise AccessDenied(f"topic {self.topic!r}: KafkaConsumer gave up: {error}", _CURE) from error
        except LabError:
            raise
        except Exception as error:  # kafka-python's own, and raw ones on bytes that are no answer
            raise BrokerUnavailable(f"topic {self.topic!r}: KafkaConsumer gave up: {error!r}", _CURE) from error

    def _oversized(self, ends: dict[int, int]) -> Iterator[PolledBatch]:
        """The batches that inflate too far since the last poll, as rejects."""
        found, self.rejects = self.rejects, []
        for reject in found:
            if reject.offset < ends[reject.partition]:
                yield PolledBatch(reject.partition, index_values([], [], [], []), reject.offset + 1, [reject])

    def _timeout_error(self, late: list[int], ends: dict[int, int]) -> ReadTimeout:
        missing = "; ".join(f"partition {p} is at {self.positions[p]} of {ends[p]}" for p in late)
        return ReadTimeout(
            f"topic {self.topic!r} was not read in {self._deadline - self._started:.0f} s: {missing}",
            "Give the read a longer `timeout`, or see whether the brokers are well.",
        )


def _polled_batch(partition: int, records: list[Any], end: int) -> PolledBatch:
    wanted = [record for record in records if record.offset < end]
    columns = [[getattr(record, name) for record in wanted] for name in ("offset", "timestamp", "key", "value")]
    headers = [(record.offset, list(record.headers)) for record in wanted if record.headers]
    return PolledBatch(partition, index_values(*columns), records[-1].offset + 1, found_headers=headers)


# kafka-python inflates without a bound: its batches are opened by `Segment.inflated` instead.


class _BoundedRecords(KafkaFetcher.PartitionRecords):  # type: ignore[misc]
    """kafka-python's iterator over the records of one partition's answer, with batches that inflate within bounds."""

    def __init__(self, source: ConsumerSource, *place: Any, **settings: Any) -> None:
        self.source = source
        super().__init__(*place, **settings)

    def _unpack_records(self, place: TopicPartition, records: Any, *deserializers: Any) -> Any:
        bounded = _BoundedBatches(self, place.partition, records)
        try:
            yield from super()._unpack_records(place, bounded, *deserializers)
        except (kafka_errors.CorruptRecordError, ValueError, LookupError, struct.error) as error:
            raise CorruptBatch(place.partition, self.next_fetch_offset, str(error)) from error


@dataclass(frozen=True)
class _BoundedBatches:
    """The batches of an answer, in every format."""

    answer: _BoundedRecords
    partition: int
    records: Any

    def next_batch(self) -> Any:
        batch = self.records.next_batch()
        if type(batch) is LegacyRecordBatch:
            return _BoundedLegacyBatch(self.answer, self.partition, batch)
        return _BoundedBatch(self.answer.source, self.partition, batch) if type(batch) is DefaultRecordBatch else batch


class _BoundedLegacyBatch(LegacyRecordBatch):  # type: ignore[misc]
    """A batch of format v0 or v1, one message around the others: its offset is the last one of those."""

    _buffer: memoryview

    def __init__(self, answer: _BoundedRecords, partition: int, batch: LegacyRecordBatch) -> None:
        super().__init__(batch._buffer, batch._magic)
        self._answer, self._partition = answer, partition

    def __iter__(self) -> Any:
        bounds = self._answer.source.inflation
        try:
            yield from super().__iter__()
        except InflatesTooFar as error:
            reason = f"{format_bytes(len(self._buffer))} that end at offset {self.base_offset} inflate to {error}"
            if not bounds.skip:
                raise BatchTooLarge(self._partition, self.base_offset, reason) from error
            self._answer.source.rejects.append(Reject(self._partition, self.base_offset, reason, b""))
            self._answer.next_fetch_offset = self.base_offset + 1
        except NOT_INFLATED as error:
            raise CorruptBatch(self._partition, self.base_offset, f"cannot be decompressed ({error})") from error

    def _decompress(self, key_offset: int) -> memoryview:
        at = key_offset
        for _ in ("key", "value"):
            size = struct.unpack_from(">i", self._buffer, at)[0]
            data = self._buffer[at + 4 : at + 4 + max(0, size)]
            at += 4 + max(0, size)
        return inflate(self.compression_type, data, self._answer.source.inflation.batch)


class _BoundedBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch whose decompression stops at the source's bound, with an error or as a reject without records."""

    _buffer: memoryview | bytearray
    _pos: int
    _decompressed: bool

    def __init__(self, source: ConsumerSource, partition: int, batch: DefaultRecordBatch) -> None:
        super().__init__(batch._buffer)
        self._source, self._partition = source, partition

    def _maybe_uncompress(self) -> None:
        if self._decompressed:
            return
        place = self._partition, memoryview(self._buffer), self._pos, len(self._buffer), self.compression_type
        segment = Segment(*place, self.records_count, self.base_offset, self.first_timestamp, None, self.last_offset)
        try:
            opened = segment.inflated(self._source.inflation.batch)
            self._buffer, self._pos = bytearray(opened.data), opened.start  # its headers are decoded from slices
        except BatchTooLarge as error:
            if not self._source.inflation.skip:
                raise
            reason = error.problem.partition(": ")[2]
            self._source.rejects.append(Reject(self._partition, self.base_offset, reason, b""))
            self._buffer, self._pos, self._num_records = memoryview(b""), 0, 0
        self._decompressed = True
