"""Topics are made on purpose, and a broker or a topic that is missing is said in seconds."""

import uuid

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaConnectionError
from topics_of import new_topic
from waiting import within

from streaming_lab.client import topics
from streaming_lab.client.admin import admin_client, ask_admin
from streaming_lab.client.connection import Connection, connection_for
from streaming_lab.client.errors import BrokerUnavailable, UnknownTopic
from streaming_lab.client.topics import Partition, TopicClash, TopicDescription
from streaming_lab.errors import LabError


@pytest.fixture
def name() -> str:
    """A topic name of this test's own."""
    return f"topic-{uuid.uuid4().hex[:8]}"


def test_creation_is_idempotent_and_describe_shows_all(kafka: Connection, name: str) -> None:
    """The first call makes the topic, the second finds it, and the description is whole."""
    shape = {"partitions": 2, "config": {"message.timestamp.type": "LogAppendTime"}}
    assert [topics.create_topic(kafka, name, **shape), topics.create_topic(kafka, name, **shape)] == [True, False]
    description = topics.describe_topic(kafka, name)
    me = description.partitions[0].leader
    assert me is not None
    assert description == TopicDescription(
        name,
        tuple(Partition(id=n, leader=me, replicas=(me,), isr=(me,), begin=0, end=0) for n in (0, 1)),
        {"message.timestamp.type": "LogAppendTime"},
    )
    assert description.to_json()["partitions"][1] == {
        "id": 1, "leader": me, "replicas": [me], "isr": [me], "begin": 0, "end": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        ({"partitions": 3}, "3 partitions, replication factor 1"),
        ({"replication_factor": 2}, "1 partition, replication factor 2"),
        (
            {"config": {"cleanup.policy": "compact"}},
            "1 partition, replication factor 1, cleanup.policy=compact",
        ),
    ],
)
def test_another_shape_is_a_clash_that_names_both(kafka: Connection, name: str, asked: dict, shape: str) -> None:
    """Whoever asks for another shape learns what there is and what they asked for."""
    topics.create_topic(kafka, name)
    with pytest.raises(TopicClash) as caught:
        topics.create_topic(kafka, name, **asked)
    there = "1 partition, replication factor 1" + (", cleanup.policy=delete" if "config" in asked else "")
    assert caught.value.problem == f"topic {name!r} exists with {there}, not with {shape}"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"replication_factor": 7}, "only 1 broker"),
        ({"config": {"no.such": "1"}}, "no.such"),
        ({"partitions": 0}, "partitions"),
    ],
)
def test_what_the_broker_refuses_is_said_in_its_words(kafka: Connection, name: str, asked: dict, reason: str) -> None:
    """A refusal names the topic and the reason, and makes nothing."""
    with pytest.raises(LabError, match=reason) as caught:
        topics.create_topic(kafka, name, **asked)
    assert repr(name) in caught.value.problem
    assert name not in topics.topic_names(kafka)


def test_offsets_before_and_after_give_the_ranges_between(kafka: Connection, name: str) -> None:
    """What was written between two looks is a range for each partition, empty ones included."""
    topics.create_topic(kafka, name, partitions=2)
    with KafkaProducer(**kafka) as producer:
        producer.send(name, b"before", partition=0).get(10)
        before = topics.end_offsets(kafka, name)
        for _ in range(3):
            producer.send(name, b"after", partition=1).get(10)
    assert topics.written_between(before, topics.end_offsets(kafka, name)) == {0: (1, 1), 1: (0, 3)}


def test_offsets_that_went_back_are_an_error() -> None:
    """A topic that was made anew in between is noticed."""
    with pytest.raises(LabError, match="partition 1 went from offset 5 back to 2"):
        topics.written_between({0: 1, 1: 5}, {0: 1, 1: 2})


@pytest.mark.parametrize("ask", [topics.describe_topic, topics.end_offsets])
def test_a_missing_topic_is_named_with_the_nearest_one(kafka: Connection, name: str, ask) -> None:
    """A typo gets the right name back, at once."""
    topics.create_topic(kafka, name)
    with within(5), pytest.raises(UnknownTopic) as caught:
        ask(kafka, name + "s")
    assert caught.value.problem == f"topic {name + 's'!r} does not exist (did you mean {name!r}?)"


def test_a_broker_that_has_not_heard_of_a_new_topic_is_asked_again(
    kafka: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One broker lists it, another one does not know it yet: no word of a topic that does not exist."""
    name = new_topic(kafka)
    real, late = KafkaAdminClient.describe_topics, [{"error_code": 3, "name": name, "partitions": []}]
    answers = iter([late, late])
    monkeypatch.setattr(KafkaAdminClient, "describe_topics", lambda *asked: next(answers, None) or real(*asked))
    assert len(topics.describe_topic(kafka, name).partitions) == 1
    assert next(answers, None) is None


def fence(name: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many answers of a controller that takes its broker for dead, as after a pause; then the real ones."""
    words = "Unable to replicate the partition 1 time(s): All brokers are currently fenced, or have all their log"
    real, refused = KafkaAdminClient.create_topics, {"name": name, "error_code": 38, "error_message": words}
    answers = iter([{"topics": [refused]}] * times)
    monkeypatch.setattr(
        KafkaAdminClient, "create_topics", lambda *asked, **more: next(answers, None) or real(*asked, **more)
    )


def test_a_broker_that_was_paused_a_moment_ago_is_asked_again(
    kafka: Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topic is made a little later."""
    fence(name, 2, monkeypatch)
    assert topics.create_topic(kafka, name)


def test_brokers_that_stay_away_make_no_topic(kafka: Connection, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait ends in time, with what was waited for."""
    fence(name, 1000, monkeypatch)
    with within(10), pytest.raises(LabError, match=r"for 0\.5 s no broker has taken part") as caught:
        topics.create_topic(kafka, name, timeout=0.5)
    assert "paused" in caught.value.cure
    assert name not in topics.topic_names(kafka)


@pytest.mark.slow
def test_a_broker_that_is_gone_is_another_error() -> None:
    """Nobody at the address: said within five seconds, with the address."""
    with within(5), pytest.raises(BrokerUnavailable, match=r"no broker answers at 127\.0\.0\.1:1 ") as caught:
        topics.end_offsets(connection_for("127.0.0.1:1"), "events")
    assert "cluster.py start" in caught.value.cure


def test_deleted_topics_are_gone_and_missing_ones_are_no_error(kafka: Connection) -> None:
    """Both names of the call; a second call has nothing to do."""
    pair = [new_topic(kafka), new_topic(kafka, 3)]
    topics.delete_topics(kafka, pair)
    assert not set(pair) & set(topics.topic_names(kafka))
    topics.delete_topics(kafka, pair)


def test_a_broken_connection_is_made_again(kafka: Connection) -> None:
    """One "socket disconnected" is no missing broker: the question is asked again within its time."""
    tries: list[str] = []

    def question(admin: KafkaAdminClient) -> int:
        tries.append("socket disconnected")
        if len(tries) == 1:
            raise KafkaConnectionError(tries[0])
        return len(admin.list_topics()) * 0 + len(tries)

    assert ask_admin(kafka, 10.0, question) == 2


def test_an_error_of_our_own_is_no_broker_s(kafka: Connection) -> None:
    """What the lab's own code raises between a question and its answer stays what it is."""
    with pytest.raises(KeyError), admin_client(kafka, 4.0):
        {}["bug"]
