"""Reads while the cluster changes, on real brokers."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.protocol.consumer.fetch import FetchResponse
from kafka.protocol.metadata import MetadataRequest, MetadataResponse
from topics_of import new_topic, producer, values, write
from waiting import eventually, no_new_thread, within

from streaming_lab.client import topics
from streaming_lab.client.broker_connection import BrokerConnection, ConnectionBroken, Unsupported
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import OffsetOutOfRange, ReadTimeout, UnknownTopic
from streaming_lab.client.metadata import parse_addresses
from streaming_lab.cluster import Cluster, attach
from streaming_lab.delivery.outcome import DeliveryFuture
from streaming_lab.delivery.ways import open_log
from streaming_lab.errors import LabError
from streaming_lab.reader import read_topic
from streaming_lab.reader.decode.batches import CorruptBatch
from streaming_lab.reader.fetch.fetcher import FetchedChunks, Fetcher

LARGE = b'{"n": %d, "pad": "' + b"x" * 50_000 + b'"}'
MANY = 40  # large records
ANSWER = 400_000  # bytes asked for at once here: several answers


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    """Three brokers of this module's own, to be killed."""
    with attach("embedded", brokers=3, instance="reader") as cluster:
        yield cluster


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """Do something in the middle of the next read: when its n-th answer has come."""

    def arrange(answers: int, act: Callable[[], Any]) -> None:
        taken: list[BrokerConnection] = []
        take = Fetcher._take

        def taken_then(self: Fetcher, link: BrokerConnection) -> tuple[FetchedChunks, Exception | None]:
            found = take(self, link)
            taken.append(link)
            if len(taken) == answers:
                act()
            return found

        monkeypatch.setattr(Fetcher, "_take", taken_then)

    return arrange


@pytest.fixture(autouse=True)
def small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches a twentieth of the usual bytes at once, so that two megabytes take several answers."""
    monkeypatch.setattr("streaming_lab.reader.pipeline.ANSWER_BYTES", ANSWER)
    monkeypatch.setattr("streaming_lab.reader.pipeline._PURE", ANSWER)


def large(connection: Connection, **config: str) -> str:
    """A topic that takes several answers, on one partition."""
    topic = new_topic(connection, **config)
    write_large(connection, topic, range(MANY))
    return topic


def write_large(connection: Connection, topic: str, numbers: Iterable[int]) -> None:
    """These large records, two to a batch, since a batch always comes whole."""
    records = [(None, LARGE % number) for number in numbers]
    write(connection, topic, {0: records}, producer(connection, batch_size=110_000))


def leader(connection: Connection, topic: str) -> int:
    """The broker that leads partition 0."""
    with KafkaAdminClient(**connection) as admin:
        return int(admin.describe_topics([topic])[0]["partitions"][0]["leader_id"])


def test_the_leader_is_killed(trio: Cluster, after: Any) -> None:
    """The read goes on at the next leader from the offset that it had reached, without a gap or a double."""
    topic = large(trio.connection, replication="3")
    first = leader(trio.connection, topic)
    after(2, lambda: trio.kill(broker=first))
    try:
        found = read_topic(trio.connection, topic)
    finally:
        trio.restart(broker=first)
    assert found.events["n"].tolist() == list(range(MANY))
    assert found.decoder.split(":")[0] in ("native", "python")


def test_the_only_replica_is_killed_and_comes_back(trio: Cluster, after: Any) -> None:
    """A broker that is away for a while costs time, no rows."""
    topic = large(trio.connection)
    only = leader(trio.connection, topic)
    back = threading.Thread(target=lambda: trio.restart(broker=only))

    def kill() -> None:
        trio.kill(broker=only)
        back.start()

    after(2, kill)
    found = read_topic(trio.connection, topic)
    back.join()
    assert found.events["n"].tolist() == list(range(MANY))


def test_the_leader_moves(trio: Cluster, after: Any) -> None:
    """Leadership given away in mid-read, without a failure, is followed."""
    topic = large(trio.connection, replication="3")
    before = leader(trio.connection, topic)
    others = [broker for broker in (1, 2, 3) if broker != before]

    def move() -> None:
        with KafkaAdminClient(**trio.connection) as admin:
            admin.alter_partition_reassignments({TopicPartition(topic, 0): others})
        assert eventually(lambda: leader(trio.connection, topic) != before)

    after(2, move)
    assert read_topic(trio.connection, topic).events["n"].tolist() == list(range(MANY))


def test_several_leaders(trio: Cluster) -> None:
    """Six partitions on three brokers are read from all of them."""
    topic = new_topic(trio.connection, 6)
    write(trio.connection, topic, {p: [(None, b'{"n": %d}' % (p * 1000 + i)) for i in range(1000)] for p in range(6)})
    with Fetcher(trio.connection, topic, committed=False, deadline=time.monotonic() + 10) as fetcher:
        assert len(set(fetcher._find_leaders().leaders.values())) == 3
    found = read_topic(trio.connection, topic)
    assert found.events["n"].tolist() == list(range(6000))


def test_a_frozen_broker(trio: Cluster, after: Any) -> None:
    """With a silent broker the deadline holds, and the error names partition, position and end."""
    topic = large(trio.connection)
    only = leader(trio.connection, topic)
    after(1, lambda: trio.pause(broker=only))
    try:
        with (
            within(5),
            pytest.raises(ReadTimeout, match=rf"'{topic}' was not read in 3 s: partition 0 is at \d+ of {MANY} \(last"),
        ):
            read_topic(trio.connection, topic, timeout=3)
    finally:
        trio.resume(broker=only)


def test_the_topic_is_deleted(kafka: Connection, after: Any) -> None:
    """Deleted in mid-read: named as missing, within seconds."""
    topic = large(kafka)
    after(1, lambda: topics.delete_topics(kafka, [topic]))
    with within(6), pytest.raises(UnknownTopic, match=topic):
        read_topic(kafka, topic)


def test_the_topic_is_made_anew(kafka: Connection, after: Any) -> None:
    """Another topic of the same name is not what the range meant."""
    topic = large(kafka)

    def anew() -> None:
        topics.delete_topics(kafka, [topic])
        assert eventually(lambda: topic not in topics.topic_names(kafka))
        topics.create_topic(kafka, topic)
        write(kafka, topic, {0: [(None, LARGE % -1) for _ in range(MANY)]})

    after(1, anew)
    with pytest.raises(OffsetOutOfRange, match=f"'{topic}' was deleted and made anew"):
        read_topic(kafka, topic)


def test_records_are_deleted(kafka: Connection, after: Any) -> None:
    """Retention that overtakes the read: which offsets are gone, and what the log still holds."""
    topic = large(kafka)

    def truncate() -> None:
        with KafkaAdminClient(**kafka) as admin:
            admin.delete_records({TopicPartition(topic, 0): MANY - 1})

    after(1, truncate)
    with pytest.raises(
        OffsetOutOfRange, match=r"partition 0: offsets \d+ to 39 were deleted; the log holds \[39, 40\)"
    ):
        read_topic(kafka, topic)


def test_records_are_appended(kafka: Connection, after: Any) -> None:
    """The end is the end at the start."""
    topic = large(kafka)
    after(1, lambda: write(kafka, topic, {0: [(None, b'{"n": -1}')] * 100}))
    assert read_topic(kafka, topic).events["n"].tolist() == list(range(MANY))


def test_a_log_that_is_shorter_than_the_range(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an unclean election: the log ends before the range does, and stays so."""
    monkeypatch.setattr("streaming_lab.reader.fetch.fetcher._STALL", 0.5)
    topic = values(kafka, b"{}", b"{}")
    with pytest.raises(OffsetOutOfRange, match="partition 0: the log ends at offset 2, not 5"):
        read_topic(kafka, topic, ranges={0: (0, 5)})


def test_offsets_beyond_the_log(kafka: Connection) -> None:
    """A position that the log never had."""
    with pytest.raises(OffsetOutOfRange, match=r"offset 7 was truncated; the log holds \[0, 1\)"):
        read_topic(kafka, values(kafka, b"{}"), ranges={0: (7, 9)})


def test_the_oldest_versions_in_common(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever versions a broker speaks, the rows are the same: here the oldest ones that carry what we need."""
    topic = values(kafka, *(b'{"n": %d}' % i for i in range(100)), partitions=2)
    expected = read_topic(kafka, topic)
    newest = BrokerConnection.version
    used = {}

    def oldest(self: BrokerConnection, request: Any, least: int = 0) -> int:
        low, _ = self._ranges[request.API_KEY]
        used[request.__name__] = newest(self, request, least), max(low, least)
        return max(low, least)

    monkeypatch.setattr(BrokerConnection, "version", oldest)
    assert read_topic(kafka, topic).events.equals(expected.events)
    assert all(low < high for high, low in used.values())
    assert len(used) == 3


def test_no_version_in_common(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker from another age: KafkaConsumer may know what to do."""
    topic = values(kafka, b'{"n": 1}')

    def strange(self: BrokerConnection, request: Any, least: int = 0) -> int:
        raise Unsupported("the broker speaks versions 99 to 100 of FetchRequest")

    monkeypatch.setattr(BrokerConnection, "version", strange)
    found = read_topic(kafka, topic)
    assert found.decoder == "consumer: the broker speaks versions 99 to 100 of FetchRequest"
    assert found.events["n"].tolist() == [1]


def test_batches_are_not_copied(kafka: Connection) -> None:
    """A chunk's bytes are those that came over the wire, in the buffer that is used again."""
    topic = new_topic(kafka)
    write(kafka, topic, {0: [(None, b"x" * 1000)] * 3})
    with Fetcher(kafka, topic, committed=False, deadline=time.monotonic() + 10) as fetcher:
        fetched = next(fetcher.read({0: (0, 3)}))
        assert fetched.chunks[0].data.obj is fetched.buffer
        fetched.done()


@pytest.mark.parametrize(
    ("length", "message"),
    [(10, "impossible header .length 10, magic 2"), (-1, "length -1"), (1 << 30, "more than the .. bytes that")],
)
def test_a_length_that_cannot_be(kafka: Connection, monkeypatch: pytest.MonkeyPatch, length: int, message: str) -> None:
    """A batch without a recognisable end is damage at once, and is not fetched again until the deadline."""
    topic, receive = values(kafka, b'{"n": 1}', b'{"n": 2}'), BrokerConnection.receive

    def damaged(self: BrokerConnection) -> tuple[Any, bytearray]:
        found, buffer = receive(self)
        if isinstance(found, FetchResponse):
            struct.pack_into(">i", found.responses[0].partitions[0].records, 8, length)
        return found, buffer

    monkeypatch.setattr(BrokerConnection, "receive", damaged)
    with pytest.raises(CorruptBatch, match=f"partition 0, batch at offset 0: .*{message}"):
        read_topic(kafka, topic, timeout=5)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "speaks HTTP, so it is no Kafka broker"),
        (struct.pack(">i", 900_000_000), "an answer of 900000000 bytes, where 5 to 67108864 are possible"),
        (struct.pack(">i", -1), "an answer of -1 bytes"),
    ],
)
def test_a_port_that_is_no_broker(reply: bytes, message: str) -> None:
    """An impossible answer size is refused with a reason before memory is allocated."""

    def speak() -> None:
        with server.accept()[0] as line:
            line.recv(1000)
            line.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        speaker = threading.Thread(target=speak)
        speaker.start()
        with pytest.raises(ConnectionBroken, match=message):
            BrokerConnection(server.getsockname(), time.monotonic() + 5)
        speaker.join()


def test_a_fetch_has_room_for_a_large_batch(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer may be larger than requested, but not of any size."""
    topic = values(kafka, b'{"text": "%s"}' % (b"x" * 900_000))
    assert len(read_topic(kafka, topic, limit=1).events) == 1
    monkeypatch.setattr("streaming_lab.reader.fetch.fetcher._BATCH", 0)
    with pytest.raises(ReadTimeout, match=r"an answer of 9\d+ bytes, where 5 to 262144 are possible"):
        read_topic(kafka, topic, limit=1, timeout=1)


def test_a_connection_that_is_closed_while_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the closed connection is dropped; answers under way at others are awaited."""
    monkeypatch.setattr(BrokerConnection, "_api_versions", lambda self: {})
    deadline = time.monotonic() + 10
    with (
        Fetcher({"bootstrap_servers": []}, "events", committed=False, deadline=deadline) as fetcher,
        ExitStack() as stack,
    ):
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        connections = [fetcher._connect(server.getsockname()) for server in servers]
        lines = [stack.enter_context(server.accept()[0]) for server in servers]
        for connection in connections[:2]:
            connection._pending = (1, None, 0)
        lines[2].close()
        assert fetcher._answering() == []
        lines[1].send(b"something")
        assert eventually(lambda: fetcher._answering() == [connections[1]])
        assert list(fetcher._connections.values()) == connections[:2]


def test_nothing_is_left_open(kafka: Connection) -> None:
    """No thread outlives a read."""
    topic = values(kafka, *[b"{}"] * 10, partitions=2)
    with no_new_thread():
        read_topic(kafka, topic)


def test_an_open_transaction_is_not_waited_for(kafka: Connection) -> None:
    """read_committed ends at the last stable offset: at once, with the rows before it."""
    topic = values(kafka, *(b'{"n": %d}' % i for i in range(10)))
    out = producer(kafka, transactional_id=topic, transaction_timeout_ms=600_000)
    out.init_transactions(20)
    out.begin_transaction()
    write(kafka, topic, {0: [(None, b'{"n": -1}')] * 5}, out)
    write(kafka, topic, {0: [(None, b'{"n": -2}')] * 5})
    found = read_topic(kafka, topic, isolation="read_committed", timeout=20)  # it stays open for ten minutes
    assert (found.events["n"].tolist(), found.ranges) == (list(range(10)), {0: (0, 10)})
    out.abort_transaction(20)
    assert eventually(lambda: read_topic(kafka, topic, isolation="read_committed").ranges == {0: (0, 21)})
    assert read_topic(kafka, topic, isolation="read_committed").events["n"].tolist() == [*range(10), *[-2] * 5]


@pytest.mark.parametrize("more", [0, MANY], ids=["shorter", "as long again"])
def test_an_unclean_election(trio: Cluster, after: Any, more: int) -> None:
    """A leader that lacks read records is an error, also where other records have the same offsets by then."""
    topic = new_topic(trio.connection, replication="2", min_insync_replicas="1", unclean_leader_election_enable="true")
    found = topics.describe_topic(trio.connection, topic).partitions[0]
    first, behind = found.replicas
    witness = 6 - first - behind
    write_large(trio.connection, topic, range(5))
    assert eventually(lambda: seen(trio, witness, topic) == (first, {first, behind}))
    trio.pause(broker=behind)
    assert eventually(lambda: seen(trio, witness, topic) == (first, {first}))
    write_large(only(trio, first), topic, range(5, MANY))

    def elect() -> None:
        trio.kill(broker=first)
        trio.resume(broker=behind)
        assert eventually(lambda: seen(trio, witness, topic) == (behind, {behind}), 20)
        write_large(only(trio, behind), topic, [-1] * more)

    after(2, elect)
    expected = f"topic '{topic}', partition 0: the log was cut at offset 5, below offset"
    try:
        with pytest.raises(OffsetOutOfRange, match=expected):
            read_topic(only(trio, first, witness), topic)
    finally:
        trio.resume(broker=behind)
        trio.restart(broker=first)


def only(cluster: Cluster, *brokers: int) -> Connection:
    """A connection that begins at these brokers: kafka-python and librdkafka ask whichever answers to a connect."""
    return {"bootstrap_servers": [cluster.connection["bootstrap_servers"][broker - 1] for broker in brokers]}


def seen(cluster: Cluster, broker: int, topic: str) -> tuple[int, set[int]]:
    """Leader and in-sync replicas of partition 0, as that broker tells them."""
    place = parse_addresses(only(cluster, broker)["bootstrap_servers"])[0]
    with BrokerConnection(place, time.monotonic() + 5) as link:
        asked = MetadataRequest.MetadataRequestTopic(version=1, name=topic)
        answer = link.request(MetadataRequest(version=1, topics=[asked]), MetadataResponse)
    partition = answer.topics[0].partitions[0]
    return partition.leader_id, set(partition.isr_nodes)


@pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")  # kafka-python's, to the paused broker
def test_what_only_the_leader_has_is_no_answer_yet(trio: Cluster) -> None:
    """No consumer sees an event whose follower is paused: a read-back waits, and does not say that it is lost.

    An event that was sent again then would be in the topic twice when the follower goes on.
    """
    topic = new_topic(trio.connection, replication="2", min_insync_replicas="2")
    first, behind = topics.describe_topic(trio.connection, topic).partitions[0].replicas
    near = only(trio, first)
    sent = DeliveryFuture("late", (0,))
    with open_log("confirmed", near, topic) as log:
        log.connect()
        trio.pause(broker=behind)
        try:
            with producer(near, acks=1) as writer:
                writer.produce(topic, b'{"event_id": "late"}')
                assert writer.flush(20) == 0
            assert eventually(lambda: asked(topics.log_end_offsets, near, topic) == {0: 1})
            assert eventually(lambda: asked(topics.end_offsets, near, topic) == {0: 0})
            found = [log._read_back([sent]) for _ in range(4)]  # type: ignore[attr-defined]
            assert found == [None] * 4
        finally:
            trio.resume(broker=behind)
        assert eventually(lambda: log._read_back([sent]) == {"late"}, 40)  # type: ignore[attr-defined]


def asked(question: Callable[..., Any], *about: Any) -> Any:
    """The answer, or None: kafka-python may ask the broker that is paused."""
    with suppress(LabError):
        return question(*about, 2.0)
