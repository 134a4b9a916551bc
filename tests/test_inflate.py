"""Decompression within bounds: a batch that inflates too far, and answers that are decoded in pieces."""

import os
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import cramjam
import pyarrow as pa
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords
from peers import needs_native
from recordbatches import CODECS, PLAN, batch, chunk, transactional, with_
from topics_of import new_topic, producer, write

from streaming_lab.client.broker_connection import BrokerConnection, Unsupported
from streaming_lab.client.connection import Connection
from streaming_lab.errors import LabError
from streaming_lab.reader import read_batches, read_text, read_topic
from streaming_lab.reader.decode import native, python
from streaming_lab.reader.decode.batches import BatchTooLarge, CorruptBatch
from streaming_lab.reader.decode.codecs import Bounds, InflatesTooFar, inflate
from streaming_lab.reader.fetch import consumer

NAMES = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
MB = 1 << 20


@pytest.fixture(params=["native", "python"])
def decode(request: pytest.FixtureRequest) -> Any:
    """Each decoder's function for a chunk in pieces."""
    if request.param == "native":
        needs_native()
    return native.decode_pieces_native if request.param == "native" else python.decode_pieces


@pytest.mark.parametrize("codec", NAMES, ids=NAMES.values())
def test_a_codec_stops_at_the_limit(codec: int) -> None:
    """As many bytes as the limit are inflated, one more is an error, in each codec, for text that shrinks or not."""
    for text in (b"a" * 3_000_000, os.urandom(3_000_000)):
        packed = memoryview(bytes(CODECS[codec].compress(text)))
        assert inflate(codec, packed, len(text)) == text
        with pytest.raises(InflatesTooFar):
            inflate(codec, packed, len(text) - 1)


def test_the_java_clients_snappy_stops_at_the_limit() -> None:
    """The limit counts all blocks of a batch together."""
    block = bytes(cramjam.snappy.compress_raw(b"a" * 1000))
    framed = b"\x82SNAPPY\x00" + bytes(8) + 3 * (len(block).to_bytes(4, "big") + block)
    assert inflate(2, memoryview(framed), 3000) == b"a" * 3000
    with pytest.raises(InflatesTooFar):
        inflate(2, memoryview(framed), 2999)


@pytest.mark.parametrize("codec", NAMES, ids=NAMES.values())
@pytest.mark.parametrize("transactions", [False, True], ids=["plain", "transactions"])
def test_a_batch_that_inflates_too_far(decode: Any, codec: int, transactions: bool) -> None:
    """An error with partition and offsets, or one reject between the rows of the batches around it."""
    large = batch([with_(item="x" * 100_000)] * 3, base=1, codec=codec)
    data = batch([with_()], codec=codec) + large + batch([with_()], base=4, codec=codec)
    others: dict[str, Any] = {}
    if transactions:
        data += transactional(batch([with_()], base=5), producer=7)
        others = {"committed": True, "aborted": ((7, 5),)}
    with pytest.raises(
        BatchTooLarge, match=r"partition 3, batch at offset 1: .* of offsets 1 to 3 inflate to more than"
    ):
        list(decode(PLAN, chunk(data, bounds=Bounds(batch=1000), **others)))
    pieces = list(decode(PLAN, chunk(data, bounds=Bounds(batch=1000, skip=True), **others)))
    assert [offset for piece in pieces for offset in piece.table["offset"].to_pylist()] == [0, 4]
    ((partition, offset, reason, raw),) = [vars(reject).values() for piece in pieces for reject in piece.rejects]
    assert (partition, offset, raw) == (3, 1, b"")
    assert reason.endswith(" of offsets 1 to 3 inflate to more than 1000 bytes")
    assert sum(piece.aborted for piece in pieces) == int(transactions)


@pytest.mark.parametrize("codec", [0, *NAMES], ids=["none", *NAMES.values()])
@pytest.mark.parametrize("transactions", [False, True], ids=["plain", "transactions"])
def test_pieces_are_the_whole(decode: Any, codec: int, transactions: bool) -> None:
    """A chunk in pieces gives the rows, rejects, tombstones and aborted records of the chunk at once."""
    values = [with_(item="x" * 500), None, b"{", with_()]
    data = b"".join(batch(values, base=4 * number, codec=codec) for number in range(10))
    others: dict[str, Any] = {}
    if transactions:
        data += b"".join(transactional(batch(values, base=40 + 4 * n, codec=codec), producer=n) for n in range(2))
        others = {"committed": True, "aborted": ((1, 44),)}
    whole = python.decode_chunk(PLAN, chunk(data, start=2, end=46, **others))
    pieces = list(decode(PLAN, chunk(data, start=2, end=46, bounds=Bounds(piece=1500), **others)))
    assert len(pieces) > 3 or (codec == 0 and not transactions)  # the core reads what is not compressed at once
    assert pa.concat_tables([piece.table for piece in pieces]).equals(whole.table)
    assert [reject for piece in pieces for reject in piece.rejects] == whole.rejects
    assert [tombstone for piece in pieces for tombstone in piece.tombstones] == whole.tombstones
    assert (sum(piece.aborted for piece in pieces), pieces[-1].next_offset) == (whole.aborted, whole.next_offset)


def test_damage_behind_a_piece(decode: Any) -> None:
    """A damaged batch is an error after the pieces before it, none of which comes twice."""
    data = batch([with_()], codec=4) + batch([with_()], base=1, codec=4) + batch([with_()] * 2, base=2, codec=4)[:-1]
    damaged = bytearray(data + b"\xff")
    found: list[int] = []
    pieces = decode(PLAN, chunk(bytes(damaged), bounds=Bounds(piece=1)))
    with pytest.raises(CorruptBatch, match="partition 3, batch at offset 2: the CRC-32C does not match"):
        found.extend(offset for piece in pieces for offset in piece.table["offset"].to_pylist())
    assert found in ([0], [])  # pure Python checks all sums of a chunk first


@pytest.fixture(scope="module")
def bombed(kafka: Connection) -> str:
    """A topic with a row, a batch of 40 MB in a few kB, and a row."""
    topic = new_topic(kafka, max_message_bytes="10000000")
    write(kafka, topic, {0: [(None, b'{"n": 0}')]})
    large = producer(kafka, compression_type="zstd", batch_size=1 << 30, message_max_bytes=1 << 29, linger_ms=3000)
    write(kafka, topic, {0: [(None, b'{"n": 1, "pad": "%s"}' % (b"a" * MB))] * 40}, large)
    write(kafka, topic, {0: [(None, b'{"n": 2}')]})
    return topic


@pytest.fixture(params=["native", "python", "consumer"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way of reading: the two decoders, and kafka-python's consumer, where a broker speaks other versions."""
    if request.param == "native":
        needs_native()
    if request.param != "consumer":
        return str(request.param)

    def strange(self: BrokerConnection, request: Any, least: int = 0) -> int:
        raise Unsupported("other versions")

    monkeypatch.setattr(BrokerConnection, "version", strange)
    return "auto"


def test_a_topic_with_a_bomb(kafka: Connection, bombed: str, way: str) -> None:
    """A batch beyond `batch_limit` is an error with its place, or one reject; below it, it is rows."""
    with pytest.raises(
        BatchTooLarge, match=r"partition 0, batch at offset 1: .* of offsets 1 to 40 inflate to more than 32 MB"
    ):
        read_topic(kafka, bombed, decoder=way, batch_limit=32 * MB)
    found = read_topic(kafka, bombed, decoder=way, batch_limit=32 * MB, oversized="reject")
    assert found.events["offset"].tolist() == [0, 41]
    assert found.rejects[["partition", "offset", "raw"]].values.tolist() == [[0, 1, b""]]
    assert found.rejects["reason"][0].endswith(" of offsets 1 to 40 inflate to more than 32 MB")
    assert len(read_topic(kafka, bombed, columns=["n"], decoder=way).events) == 42


def test_batches_and_text_of_a_topic_with_a_bomb(kafka: Connection, bombed: str, way: str) -> None:
    """`read_batches` hands such a batch to `on_rejected`, or raises without it; `read_text` raises."""
    rejected: list[int] = []
    passed: dict[str, Any] = {
        "on_rejected": lambda _, decoded: rejected.extend(each.offset for each in decoded.rejects)
    }
    tables = list(read_batches(kafka, bombed, decoder=way, batch_limit=32 * MB, **passed))
    assert ([n for table in tables for n in table["n"].to_pylist()], rejected) == ([0, 2], [1])
    with pytest.raises(BatchTooLarge, match="batch at offset 1"):
        list(read_batches(kafka, bombed, decoder=way, batch_limit=32 * MB))
    with pytest.raises(BatchTooLarge, match="batch at offset 1"):
        read_text(kafka, bombed, batch_limit=32 * MB)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [1, 2, 3])
def test_old_formats_are_bounded_too(magic: int, codec: int) -> None:
    """A message of format v0 or v1 that inflates too far: an error with its offset, or a reject and the next record."""

    def message(offset: int, count: int, kind: int) -> bytes:
        builder = LegacyRecordBatchBuilder(magic, 0, 1 << 30)
        for number in range(count):
            builder.append(number, timestamp=None if magic == 0 else 7, key=None, value=b"a" * MB)
        inner = bytes(builder.build())
        if kind == 0:
            return struct.pack(">q", offset) + inner[8:]
        squeezed = {1: cramjam.gzip, 2: cramjam.snappy, 3: cramjam.lz4}[kind]
        packed = bytes(squeezed.compress_raw(inner) if kind == 2 else squeezed.compress(inner))
        outer = LegacyRecordBatchBuilder(magic, 0, 1 << 30)
        outer.append(offset, timestamp=None if magic == 0 else 7, key=None, value=packed)
        made = bytearray(outer.build())
        struct.pack_into(">q", made, 0, offset)
        made[17] = kind
        struct.pack_into(">I", made, 12, zlib.crc32(made[16:]))
        return bytes(made)

    def rows(**bounds: Any) -> tuple[list[int], list[int], int]:
        source = SimpleNamespace(inflation=Bounds(**bounds), rejects=[])
        answer = consumer._BoundedRecords(source, 0, place, MemoryRecords(found))  # type: ignore[arg-type]
        offsets = [record.offset for record in answer.record_iterator]
        return offsets, [one.offset for one in source.rejects], answer.next_fetch_offset

    place, found = TopicPartition("old", 0), message(3, 4, codec)
    with pytest.raises(BatchTooLarge, match=r"partition 0, batch at offset 3: .* inflate to more than 1 MB"):
        rows(batch=MB)
    assert rows(batch=MB, skip=True) == ([], [3], 4)
    found += message(4, 1, 0)
    assert rows(batch=MB, skip=True) == ([4], [3], 5)
    assert rows(batch=8 * MB) == ([0, 1, 2, 3, 4], [], 5)


def test_kafka_python_still_has_the_place_of_the_bound() -> None:
    """The consumer is bounded at a class that kafka-python looks up on its fetcher."""
    fetcher = KafkaConsumer.__init__.__globals__["Fetcher"]
    assert isinstance(fetcher.PartitionRecords, type)


@pytest.mark.parametrize(("name", "value"), [("oversized", "drop"), ("batch_limit", 0)])
def test_wrong_bounds(name: str, value: object) -> None:
    """A wrong bound is an error before anything is read."""
    with pytest.raises(LabError, match=name):
        read_topic({"bootstrap_servers": []}, "events", **{name: value})
