"""A broker whose answers are damaged on the way: promised errors only, in time, and no row that was never written."""

import json
import struct
import time
from typing import Any

import pytest
from kafka.protocol.metadata import MetadataResponse
from lying import LyingBroker
from topics_of import new_topic, producer, write

from streaming_lab.client.broker_connection import BrokerConnection, ConnectionBroken
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import AccessDenied, BrokerUnavailable, OffsetOutOfRange, ReadTimeout, UnknownTopic
from streaming_lab.reader import read_batches, read_text, read_topic
from streaming_lab.reader.decode.batches import CorruptBatch

PROMISED = (BrokerUnavailable, UnknownTopic, ReadTimeout, OffsetOutOfRange, AccessDenied, CorruptBatch)
ROWS = 3000
TIMEOUT = 2.0  # seconds for a read
SLACK = 15.0  # seconds that a busy machine may add


@pytest.fixture(scope="module")
def filled(kafka: Connection) -> str:
    """A topic on two partitions, compressed, in some twenty batches."""
    topic = new_topic(kafka, 2)
    lines = [(None, b'{"n": %d, "pad": "%s"}' % (n, b"x" * 100)) for n in range(ROWS)]
    write(kafka, topic, {p: lines[p::2] for p in range(2)}, producer(kafka, batch_size=1 << 14, compression_type="lz4"))
    return topic


def numbers(connection: Connection, topic: str, seed: int) -> list[int]:
    """The rows' numbers, read in one of three ways."""
    if seed % 3 == 0:
        return [int(n) for n in read_topic(connection, topic, timeout=TIMEOUT).events["n"]]
    if seed % 3 == 1:
        tables = read_batches(connection, topic, columns=["n"], timeout=TIMEOUT)
        return [n for table in tables for n in table["n"].to_pylist()]
    return [json.loads(line)["n"] for line in read_text(connection, topic, timeout=TIMEOUT)]


@pytest.mark.parametrize(
    "seeds",
    [range(6), range(6, 12), pytest.param(range(12, 200), marks=pytest.mark.long)],
    ids=["first", "second", "many"],
)
def test_damaged_answers(kafka: Connection, filled: str, seeds: range) -> None:
    """Each read ends in rows that were written, or in one of the promised errors, within its time."""
    port = int(kafka["bootstrap_servers"][0].rpartition(":")[2])
    ended: dict[str, int] = {}
    for seed in seeds:
        with LyingBroker(port, seed, share=0.25) as broker:
            connection = {"bootstrap_servers": [f"127.0.0.1:{broker.port}"]}
            started = time.monotonic()
            try:
                found = numbers(connection, filled, seed)
                how = "rows" if len(found) == ROWS else "fewer rows"
                assert set(found) <= set(range(ROWS)), seed
            except PROMISED as error:
                how = type(error).__name__
            took = time.monotonic() - started
        assert took < TIMEOUT + SLACK, (seed, how)
        ended[how] = ended.get(how, 0) + 1
    assert sum(ended.values()) == len(seeds)


def answering(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Change each answer of a class after it was decoded: `change(answer)` in place."""
    receive = BrokerConnection.receive

    def received(self: BrokerConnection) -> Any:
        answer, buffer = receive(self)
        change(answer)
        return answer, buffer

    monkeypatch.setattr(BrokerConnection, "receive", received)


def about_another_topic(answer: Any) -> None:
    if type(answer).__name__ == "MetadataResponse":
        for topic in answer.topics:
            topic.name = "another"


def without_topics(answer: Any) -> None:
    if type(answer).__name__ in ("MetadataResponse", "ListOffsetsResponse"):
        answer.topics = None


def without_offsets(answer: Any) -> None:
    if type(answer).__name__ == "ListOffsetsResponse":
        answer.topics[0].partitions = answer.topics[0].partitions[:1]


def without_partitions(answer: Any) -> None:
    if type(answer).__name__ == "MetadataResponse":
        for topic in answer.topics:
            topic.partitions = []


def of_unknown_partitions(answer: Any) -> None:
    if type(answer).__name__ == "FetchResponse":
        for topic in answer.responses:
            for part in topic.partitions:
                part.partition_index += 100


def at_no_address(answer: Any) -> None:
    if type(answer).__name__ == "MetadataResponse":
        for broker in answer.brokers:
            broker.host, broker.port = "\0", 1 << 20


@pytest.mark.parametrize(
    "change",
    [about_another_topic, without_topics, without_offsets, without_partitions, of_unknown_partitions, at_no_address],
)
def test_answers_that_make_no_sense(
    kafka: Connection, filled: str, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    """Whole answers with wrong contents end in a time-out that names what was wrong, never in a raw error."""
    answering(monkeypatch, change)
    with pytest.raises(ReadTimeout, match=r"was not read in 1 s: .*\(last: .+\)"):
        read_topic(kafka, filled, timeout=1.0)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\5", struct.pack(">i", 1 << 30) * 8], ids=["nothing", "cut", "huge"])
def test_bytes_that_are_no_answer(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that the generated decoder can't read are a broken connection, which is tried again."""
    monkeypatch.setattr(BrokerConnection, "__init__", lambda self: None)
    connection = BrokerConnection()  # type: ignore[call-arg]
    framed = struct.pack(">i", 4 + len(data)) + struct.pack(">i", 7) + data
    monkeypatch.setattr(connection, "address", ("127.0.0.1", 1), raising=False)
    for name, value in {"_pending": (7, MetadataResponse, 1), "_largest": 1 << 20}.items():
        monkeypatch.setattr(connection, name, value, raising=False)
    monkeypatch.setattr(connection, "_buffers", type("Plain", (), {"take": staticmethod(bytearray)})(), raising=False)
    pieces = [framed[:4], framed[4:]]

    def exactly(buffer: bytearray, size: int) -> memoryview:
        buffer[:size] = pieces.pop(0)
        return memoryview(buffer)[:size]

    monkeypatch.setattr(connection, "_exactly", exactly)
    with pytest.raises(ConnectionBroken, match=r"127\.0\.0\.1:1: (an answer|bytes that are no)"):
        connection.receive()


def test_an_unknown_error_code_in_time(kafka: Connection, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error code that no version knows sends the read to the consumer, which ends within the read's time."""

    def odd(answer: Any) -> None:
        if type(answer).__name__ == "FetchResponse":
            answer.error_code = 9999

    answering(monkeypatch, odd)
    assert len(read_topic(kafka, filled).events) == ROWS
