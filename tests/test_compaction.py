"""Compacted topics after a run of the broker's log cleaner: removed records are no rows and stop no read."""

import json
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import add
from pathlib import Path

import pandas as pd
import pytest
import sliced
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from kafka import KafkaConsumer, TopicPartition
from topics_of import Record, new_topic, producer, write
from waiting import eventually, within

from streaming_lab.client.connection import Connection, addresses, librdkafka_settings
from streaming_lab.cluster import attach
from streaming_lab.reader import read_batches, read_text, read_topic
from streaming_lab.reader.decode.batches import HEADER_BYTES
from streaming_lab.reader.fetch.fetcher import Fetcher
from streaming_lab.slices.executors import open_executor
from streaming_lab.slices.plan import plan_slices
from streaming_lab.slices.run import SliceChanged, run_slices

KEYS = [b"k%d" % number for number in range(6)]
COMPACT = {
    "cleanup_policy": "compact",
    "internal_segment_bytes": "5000",  # nearly each batch has a segment of its own, and all but the last are cleaned
    "segment_ms": "200",
    "min_cleanable_dirty_ratio": "0.01",
    "min_compaction_lag_ms": "0",
    "max_compaction_lag_ms": "200",
}
ISOLATIONS = ["read_uncommitted", "read_committed"]
Row = tuple[int, bytes | None, bytes | None]  # offset, key, value


@dataclass(frozen=True)
class Compacted:
    """A cluster with topics that were cleaned, by name of their story."""

    connection: Connection
    topics: dict[str, str]


@pytest.fixture(scope="module")
def compacted() -> Iterator[Compacted]:
    """A cluster of this module's own, whose cleaner looks often; the topics, when they have been cleaned."""
    with attach("embedded", instance="compacted") as cluster:
        connection = cluster.connection
        look_every(connection, "600000")  # not before the stories are whole, however slow the machine
        topics = {name: story(connection) for name, story in STORIES.items()}
        for topic in topics.values():  # what is in the active segment is never cleaned
            for _ in range(2):
                write(connection, topic, {0: [(b"last", b'{"n": -1, "pad": "%s"}' % (b"x" * 4000))]})
        before = {name: oracle(connection, topic) for name, topic in topics.items()}
        assert min(map(len, before.values())) > 20
        look_every(connection, "100")
        assert eventually(lambda: settled(connection, topics, before), 60)
        yield Compacted(connection, topics)


def look_every(connection: Connection, milliseconds: str) -> None:
    """Wake the cleaner up, and let it pause for so long instead of 15 s: a broker takes that change while it runs."""
    entry = ConfigEntry("log.cleaner.backoff.ms", milliseconds, incremental_operation=AlterConfigOpType.SET)
    broker = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[entry])
    admin = AdminClient({**librdkafka_settings(connection), "log_level": 0})
    for done in admin.incremental_alter_configs([broker]).values():
        done.result(20)


def rewritten(connection: Connection) -> str:
    """Some keys with many values, one of them with a tombstone that stays."""
    topic = new_topic(connection, **COMPACT)
    rows = [(KEYS[i % 6], b'{"n": %d}' % i) for i in range(600)]
    for at in range(0, 600, 50):
        write(connection, topic, {0: rows[at : at + 50]})
    write(connection, topic, {0: [(KEYS[1], None)]})
    return topic


def compressed(connection: Connection) -> str:
    """The same through a codec, and tombstones that do not stay."""
    topic = new_topic(connection, **COMPACT, delete_retention_ms="0")
    for at in range(8):
        rows: list[Record] = [(key, b'{"n": %d, "s": "%s"}' % (at, b"s" * 300)) for key in KEYS for _ in range(20)]
        write(connection, topic, {0: rows}, producer(connection, compression_codec=("zstd", "lz4")[at % 2]))
    write(connection, topic, {0: [(key, None) for key in KEYS[:3]]})
    return topic


def emptied(connection: Connection) -> str:
    """Each idempotent producer's last batch stays, without its records, so that the broker knows its sequence."""
    topic = new_topic(connection, **COMPACT)
    for at in range(5):
        rows: list[Record] = [(key, b'{"n": %d, "pad": "%s"}' % (at, b"x" * 400)) for key in KEYS]
        write(connection, topic, {0: rows}, producer(connection, enable_idempotence=True))
    return topic


def transactions(connection: Connection) -> str:
    """Committed and aborted ones in turn, on the same keys; their markers go, too, or stay."""
    topic = new_topic(connection, **COMPACT, delete_retention_ms="0")
    for at in range(6):
        out = producer(connection, transactional_id=f"{topic}-{at % 3}")
        out.init_transactions(20)
        out.begin_transaction()
        rows: list[Record] = [(key, b'{"n": %d, "pad": "%s"}' % (at, b"x" * 400)) for key in KEYS[: at + 1]]
        write(connection, topic, {0: rows}, out)
        out.abort_transaction(20) if at % 2 else out.commit_transaction(20)
    return topic


STORIES: dict[str, Callable[[Connection], str]] = {
    each.__name__: each for each in (rewritten, compressed, emptied, transactions)
}


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("decoder", ["python", "auto"])
@pytest.mark.parametrize("story", STORIES)
def test_what_is_left_is_what_a_consumer_gets(compacted: Compacted, story: str, decoder: str, isolation: str) -> None:
    """Row for row: offsets, keys, values and tombstones."""
    topic = compacted.topics[story]
    found = read_topic(compacted.connection, topic, decoder=decoder, isolation=isolation)
    left = oracle(compacted.connection, topic, isolation)
    assert rows_of(found.events, "n") == [(o, key.decode(), json.loads(v)["n"]) for o, key, v in left if v is not None]
    assert rows_of(found.tombstones) == [(o, key.decode()) for o, key, v in left if v is None]
    assert len(found.rejects) == 0
    assert len(left) < found.ranges[0][1] - 1  # the cleaner has been there


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("story", STORIES)
def test_ranges_that_begin_or_end_where_nothing_is_left(compacted: Compacted, story: str, isolation: str) -> None:
    """Each border of a gap as a start and as an end: at once, and with the rows in between."""
    topic = compacted.topics[story]
    left = [offset for offset, _, _ in oracle(compacted.connection, topic, isolation)]
    end = read_topic(compacted.connection, topic, isolation=isolation).ranges[0][1]
    after = [at + 1 for at in [-1, *left] if at + 1 < end and at + 1 not in left][:4]  # where the gaps begin
    assert after
    with within(5):
        for start in after:
            stop = min((at for at in left if at > start), default=end)
            for first, last in (
                (start, stop),
                (start, start + 1),
                (0, start),
                (max(0, start - 1), stop + 1),
                (start, end),
            ):
                ranges = {0: (first, min(last, end))}
                found = read_topic(compacted.connection, topic, isolation=isolation, ranges=ranges, timeout=20)
                offsets = sorted([*found.events["offset"], *found.tombstones["offset"]])
                assert offsets == [at for at in left if first <= at < last]


def test_a_batch_without_records(compacted: Compacted) -> None:
    """There are such batches, also alone in an answer."""
    topic = compacted.topics["emptied"]
    empty = empty_batches(compacted.connection, topic)
    assert len(empty) >= 3
    for start, stop in empty:
        assert len(read_topic(compacted.connection, topic, ranges={0: (start, stop)}, timeout=5).events) == 0
    tables = list(read_batches(compacted.connection, topic))
    assert sum(map(len, tables)) == len(oracle(compacted.connection, topic))


def test_text_and_limit(compacted: Compacted) -> None:
    """The other ways of reading pass over gaps, too."""
    topic = compacted.topics["rewritten"]
    left = [value.decode() for _, _, value in oracle(compacted.connection, topic) if value is not None]
    assert read_text(compacted.connection, topic) == left
    limited = read_topic(compacted.connection, topic, limit=2)
    assert limited.events["n"].tolist() == [json.loads(value)["n"] for value in left[:2]]


def oracle(connection: Connection, topic: str, isolation: str = "read_uncommitted") -> list[Row]:
    """What stock KafkaConsumer gets."""
    place, rows = TopicPartition(topic, 0), []
    with KafkaConsumer(
        **connection, group_id=None, auto_offset_reset="earliest", isolation_level=isolation
    ) as consumer:
        consumer.assign([place])
        end = consumer.end_offsets([place])[place]
        consumer.seek(place, 0)
        while consumer.position(place) < end:
            rows += [(each.offset, each.key, each.value) for each in consumer.poll(200).get(place, [])]
    return rows


def settled(connection: Connection, topics: dict[str, str], before: dict[str, list[Row]]) -> bool:
    """Has the cleaner taken records from each topic, and does it take no more?"""
    left = {name: oracle(connection, topic) for name, topic in topics.items()}
    if any(len(left[name]) > len(before[name]) - 10 for name in topics):
        return False
    time.sleep(0.5)  # several rounds of the cleaner
    return left == {name: oracle(connection, topic) for name, topic in topics.items()}


def rows_of(frame: pd.DataFrame, *more: str) -> list[tuple[object, ...]]:
    """Offset, key and more of each row."""
    return list(frame[["offset", "key", *more]].itertuples(index=False, name=None))


def empty_batches(connection: Connection, topic: str) -> list[tuple[int, int]]:
    """The offsets [start, stop) of the batches whose header says that they hold nothing."""
    found = []
    with Fetcher(connection, topic, committed=False, deadline=time.monotonic() + 10) as fetcher:
        for fetched in fetcher.read(fetcher.bounds()):
            data, at = bytes(fetched.chunks[0].data) if fetched.chunks else b"", 0
            while at < len(data):
                base, length, last, count = *struct.unpack_from(">qi", data, at), *fields(data, at)
                if count == 0:
                    found.append((base, base + last + 1))
                at += 12 + length
            fetched.done()
    return found


def fields(data: bytes, at: int) -> tuple[int, int]:
    """Last offset delta and count of the batch that begins here."""
    return struct.unpack_from(">i", data, at + 23)[0], struct.unpack_from(">i", data, at + HEADER_BYTES - 4)[0]


@pytest.mark.parametrize("engine", ["pandas", "processes", pytest.param("dask", marks=pytest.mark.long)])
def test_compaction_between_two_readings_of_a_slice_is_told(
    compacted: Compacted, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reading is whole; the cleaner comes; the second one is no smaller sum, but an error with the slice."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find `sliced`
    kafka = compacted.connection
    look_every(kafka, "600000")
    topic = rewritten(kafka)
    for _ in range(2):
        write(kafka, topic, {0: [(b"last", b'{"n": -1, "pad": "%s"}' % (b"x" * 4000))]})
    plan = plan_slices(addresses(kafka), topic, offsets=100)
    with open_executor(engine, workers=2) as executor:
        first = run_slices(addresses(kafka), plan.slices, sliced.count, add, executor)
        assert (first.part, first.tombstones) == (602, 1)
        look_every(kafka, "100")
        assert eventually(lambda: len(oracle(kafka, topic)) < 100, 60)
        with pytest.raises(
            SliceChanged, match=r"partition 0, offsets \[\d+, \d+\): a second reading found other batches"
        ):
            run_slices(addresses(kafka), plan.slices, sliced.count, add, executor, digests=first.digests)
