"""The same ranges through kafka-python's KafkaConsumer: for TLS, SASL, old brokers and old message formats."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors as kafka_errors

from streaming_lab.client import preflight, topics
from streaming_lab.client.admin import ADMIN_TIMEOUT
from streaming_lab.client.connection import Connection, addresses, kafka_python_settings
from streaming_lab.client.errors import BrokerUnavailable, OffsetOutOfRange, ReadTimeout
from streaming_lab.client.metadata import EARLIEST, LATEST
from streaming_lab.client.topics import Ranges
from streaming_lab.errors import LabError
from streaming_lab.reader.decode.batches import Decode, Decoded
from streaming_lab.reader.decode.python import decode_records
from streaming_lab.reader.decode.records import IndexedRecords, RecordIndex, index_values
from streaming_lab.reader.decode.schema import Plan

_POLL_MS = 500
_BYTES = 4 << 20


@dataclass(frozen=True)
class PolledBatch:
    """One partition's records from one poll."""

    partition: int
    records: RecordIndex
    next_offset: int

    def indexed(self) -> list[tuple[int, IndexedRecords]]:
        """The partition and its records."""
        return [(self.partition, IndexedRecords(self.records, 0, self.next_offset))]

    def sample(self, most: int) -> list[bytes]:
        """The first values."""
        return self.records.values(most)

    def decoded(self, plan: Plan, decode: Decode) -> list[tuple[int, Decoded]]:
        """The partition and its rows; only the pure-Python decoder takes records without their batch."""
        del decode
        return [(self.partition, decode_records(plan, self.partition, self.records, self.next_offset))]

    def done(self) -> None:
        """Nothing to do: there is no buffer to give back."""


class ConsumerSource:
    """The interface of `Fetcher` on a KafkaConsumer without a group and without commits."""

    def __init__(self, connection: Connection, topic: str, *, committed: bool, deadline: float) -> None:
        self.topic = topic
        self.positions: dict[int, int] = {}
        self._started, self._deadline = time.monotonic(), deadline
        self._connection = connection
        try:
            preflight.find_accepting_server(connection, min(deadline, self._started + ADMIN_TIMEOUT))
            self._consumer = KafkaConsumer(
                **kafka_python_settings(connection),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed" if committed else "read_uncommitted",
                max_partition_fetch_bytes=_BYTES,
                bootstrap_timeout_ms=int(1000 * min(ADMIN_TIMEOUT, max(0.1, deadline - time.monotonic()))),
            )
        except (kafka_errors.KafkaTimeoutError, kafka_errors.KafkaConnectionError) as error:
            raise BrokerUnavailable(
                f"no broker answers at {addresses(connection)}: {error}", "Start one, or correct the address."
            ) from error

    def __enter__(self) -> "ConsumerSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def partitions(self) -> list[int]:
        """The topic's partitions; raises `UnknownTopic`."""
        return sorted(partition.id for partition in topics.describe_topic(self._connection, self.topic).partitions)

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

    def read(self, ranges: Ranges, answer: int = _BYTES, inflated: bool = False) -> Iterator[PolledBatch]:
        """As `Fetcher.read`; the size of an answer is fixed by the consumer's settings."""
        del answer, inflated
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
        except kafka_errors.KafkaError as error:
            raise LabError(
                f"topic {self.topic!r}: KafkaConsumer gave up: {error}",
                "Let this user read the topic, or look for that error in the brokers' own logs.",
            ) from error

    def _timeout_error(self, late: list[int], ends: dict[int, int]) -> ReadTimeout:
        missing = "; ".join(f"partition {p} is at {self.positions[p]} of {ends[p]}" for p in late)
        return ReadTimeout(
            f"topic {self.topic!r} was not read in {self._deadline - self._started:.0f} s: {missing}",
            "Give the read a longer `timeout`, or see whether the brokers are well.",
        )


def _polled_batch(partition: int, records: list[Any], end: int) -> PolledBatch:
    wanted = [record for record in records if record.offset < end]
    columns = [[getattr(record, name) for record in wanted] for name in ("offset", "timestamp", "key", "value")]
    return PolledBatch(partition, index_values(*columns), records[-1].offset + 1)
