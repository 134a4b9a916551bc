"""What the promises are worth when the broker is killed or frozen."""

import json
import threading
import time
import uuid
from contextlib import nullcontext, suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from kafka import KafkaProducer
from waiting import eventually, within

from streaming_lab.client import topics
from streaming_lab.delivery.confirmed import Confirmed, find_event_ids
from streaming_lab.delivery.event_log import OVERHEAD
from streaming_lab.delivery.outcome import Counts, DeliveryFuture, Refused, Undecided
from streaming_lab.delivery.producer import IdempotentProducer
from streaming_lab.delivery.ways import DELIVERING, log_class, open_log
from streaming_lab.reader import read_text


@pytest.fixture
def broker(breakable: Any) -> Any:
    """The cluster that may be killed and frozen."""
    return breakable


@pytest.fixture
def topic(broker: Any) -> str:
    """A topic with two partitions for this test alone."""
    name = f"faults-{uuid.uuid4().hex[:8]}"
    topics.create_topic(broker.connection, name, partitions=2)
    return name


def event(number: int) -> tuple[str, bytes, str]:
    """Key, value and id of one event."""
    return f"player-{number % 5}", json.dumps({"event_id": f"e{number}"}).encode(), f"e{number}"


def present(broker: Any, topic: str, ids: set[str]) -> set[str]:
    """Those of the ids that are in the topic."""
    return find_event_ids(broker.connection, topic, ids, {})


def test_a_time_out_is_unknown_and_decided_when_the_broker_is_back(broker: Any, topic: str) -> None:
    """The wait ends, the delivery does not: the late report decides, calls back once, and the event is there once."""
    heard: list[bool] = []
    with open_log("confirmed", broker.connection, topic, timeout=10.0) as log:
        log.append(*event(1))
        log.timeout = 0.3
        broker.pause()
        try:
            with pytest.raises(Undecided, match=r"no acknowledgement after 0\.3 s: unknown") as caught:
                log.append(*event(2))
            caught.value.outcome.add_done_callback(heard.append)
            assert (caught.value.outcome.delivered, log.ready()) == (None, False)
            assert log.counts == Counts(accepted=1, acknowledged=1, unknown=1, queued=1)
        finally:
            broker.resume()
        assert eventually(lambda: heard)
        assert (heard, caught.value.outcome.delivered, log.ready()) == ([True], True, True)
    assert log.counts == Counts(accepted=1, acknowledged=2, unknown=1)
    assert sum(topics.end_offsets(broker.connection, topic).values()) == 2


def test_a_killed_broker_loses_and_doubles_nothing_that_was_confirmed(broker: Any, topic: str) -> None:
    """Events that waited out the outage are in the topic once, and so are those before it."""
    outcomes: list[DeliveryFuture] = []
    with open_log("confirmed", broker.connection, topic, timeout=10.0) as log:
        for number in range(30):
            if number == 10:
                broker.kill()
                log.timeout = 0.1
            try:
                log.append(*event(number))
            except Undecided as unknown:
                outcomes.append(unknown.outcome)
        assert len(outcomes) == 20
        broker.restart()
        assert eventually(lambda: all(outcome.delivered for outcome in outcomes))
    assert log.counts == Counts(accepted=10, acknowledged=30, unknown=20)
    assert sum(topics.end_offsets(broker.connection, topic).values()) == 30


@pytest.mark.parametrize("reached_the_broker", [True, False])
def test_a_delivery_declared_dead_is_read_back_from_the_topic(
    broker: Any, topic: str, reached_the_broker: bool
) -> None:
    """The producer is replaced, the topic says what became of the event, and the next event goes through."""
    with Confirmed(broker.connection, topic, timeout=10.0) as log:
        log.append(*event(1))
        log.timeout = 0.3
        # A frozen broker has the request in its hands and will write it; a killed one never saw it.
        broker.pause() if reached_the_broker else broker.kill()
        with pytest.raises(Undecided) as caught:
            log.append(*event(2))
        assert log._producer is not None
        log._producer.purge()  # as librdkafka does on a fatal error
        assert eventually(lambda: log.replaced)
        broker.resume() if reached_the_broker else broker.restart()
        assert eventually(lambda: caught.value.outcome.delivered is not None)
        assert caught.value.outcome.delivered is reached_the_broker
        assert eventually(log.ready)
        log.timeout = 10.0
        log.append(*event(3))
        assert log.replaced == 1
    expected = {"e1", "e3"} | ({"e2"} if reached_the_broker else set())
    assert present(broker, topic, {"e1", "e2", "e3"}) == expected
    assert log.counts == Counts(
        accepted=2, unknown=1, acknowledged=2 + reached_the_broker, failed=1 - reached_the_broker
    )


class Lying(IdempotentProducer):
    """A producer that drops the event `e3` and reports it delivered, at an offset that is not its own; once."""

    lies = 1
    offset: int | None = 0

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        send = self.produce

        def produce(topic: str, value: bytes, key: str, on_delivery: Any) -> None:
            if b'"e3"' not in value or not Lying.lies:
                send(topic, value, key, on_delivery=on_delivery)
                return
            Lying.lies -= 1
            on_delivery(None, SimpleNamespace(partition=lambda: 0, offset=lambda: Lying.offset))

        self.produce = produce


@pytest.mark.parametrize("offset", [0, None])
@pytest.mark.parametrize("way", ["confirmed", "outbox"])
def test_an_acknowledgement_that_belongs_to_another_event_is_not_believed(
    broker: Any, topic: str, way: str, offset: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an older event's offset, or none (inferred): confirmed reads back and refuses, the outbox sends it again."""
    module = "relay" if way == "outbox" else way
    monkeypatch.setattr(f"streaming_lab.delivery.{module}.IdempotentProducer", Lying)
    monkeypatch.setattr(Lying, "lies", 1)
    monkeypatch.setattr(Lying, "offset", offset)
    topics.create_topic(broker.connection, f"{topic}-1", partitions=1)
    settings = {"path": tmp_path / "outbox.sqlite"} if way == "outbox" else {}
    with open_log(way, broker.connection, f"{topic}-1", timeout=20.0, **settings) as log:
        for number in range(3):
            log.append(*event(number))
        assert eventually(lambda: log.counts.acknowledged == 3)
        with pytest.raises(Refused) if way == "confirmed" else nullcontext():
            log.append(*event(3))
        log.append(*event(4))
    assert Lying.lies == 0
    expected = {"e0", "e1", "e2", "e4"} | ({"e3"} if way == "outbox" else set())
    assert present(broker, f"{topic}-1", {f"e{number}" for number in range(5)}) == expected


@pytest.mark.parametrize("way", ["confirmed", "buffered", "fire-and-forget"])
def test_close_during_an_outage_ends_in_time_and_names_what_it_leaves(broker: Any, topic: str, way: str) -> None:
    """The number, the ids, no thread left, and not much longer than was asked for."""
    threads = set(threading.enumerate())
    log = open_log(way, broker.connection, topic, timeout=10.0)
    log.append(*event(0))
    log.timeout = 0.1
    assert eventually(lambda: log.counts.acknowledged == 1)
    broker.pause()
    try:
        for number in range(1, 6):
            try:
                log.append(*event(number))
            except Undecided:
                assert way == "confirmed"
        with within(3):
            assert log.close(timeout=1.0) == 5
        assert log.unsent == [f"e{number}" for number in range(1, 6)]
        assert eventually(lambda: not set(threading.enumerate()) - threads)
    finally:
        broker.resume()


@pytest.mark.parametrize("way", ["buffered", "fire-and-forget"])
def test_the_queue_stays_within_its_memory_while_the_broker_is_away(broker: Any, topic: str, way: str) -> None:
    """What fits is accepted and arrives after the outage, what does not is refused and never arrives."""
    accepted, refused = set(), set()
    with open_log(way, broker.connection, topic, memory=4 << 20) as log:
        log.connect()
        broker.pause()
        before = psutil.Process().memory_info().rss
        try:
            for number in range(20_000):
                try:
                    log.append(*event(number))
                    accepted.add(f"e{number}")
                except Refused:
                    refused.add(f"e{number}")
            assert not log.ready()
            assert (
                0 <= (4 << 20) - sum(OVERHEAD + len(event(number)[1]) for number in range(len(accepted))) < 2 * OVERHEAD
            )
            assert psutil.Process().memory_info().rss - before < 2 * (
                4 << 20
            )  # with room for what the test itself keeps
        finally:
            broker.resume()
        assert eventually(lambda: log.counts.acknowledged == len(accepted))
        assert log.counts == Counts(accepted=len(accepted), acknowledged=len(accepted), refused=len(refused))
    assert present(broker, topic, accepted | refused) == accepted


def test_fire_and_forget_answers_and_loses(broker: Any, topic: str) -> None:
    """Why there are other ways: each event accepted, given up in the outage, counted, and gone; then it goes on."""
    with open_log("fire-and-forget", broker.connection, topic, patience=1.0) as log:
        log.connect()
        broker.kill()
        for number in range(20):
            log.append(*event(number))
        assert eventually(lambda: log.counts.failed == 20)
        assert log.counts == Counts(accepted=20, failed=20)
        assert log.last_reasons["failed"].startswith("KafkaTimeoutError: ")
        broker.restart()
        assert present(broker, topic, {f"e{number}" for number in range(20)}) == set()
        assert eventually(lambda: log.append(*event(20)) or log.counts.acknowledged)


@pytest.mark.parametrize("idempotent", [True, False])
def test_why_fire_and_forget_is_not_idempotent(
    broker: Any, topic: str, idempotent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python's idempotent producer never delivers again when it gave one event up with others behind it."""

    class Producer(KafkaProducer):  # type: ignore[misc]
        def __init__(self, **settings: Any) -> None:
            changes = {"enable_idempotence": idempotent, "max_in_flight_requests_per_connection": 5}
            super().__init__(**{**settings, **changes})

    monkeypatch.setattr("streaming_lab.delivery.fire_and_forget.KafkaProducer", Producer)
    with open_log("fire-and-forget", broker.connection, topic, patience=1.0) as log:
        log.connect()
        log.append(*event(0))
        assert eventually(lambda: log.counts.acknowledged == 1)
        broker.pause()
        numbers = count(1)
        eventually(lambda: log.append(*event(next(numbers))), 3.0)
        assert log.counts.failed
        broker.resume()
        goes_on = eventually(lambda: log.append(*event(next(numbers))) or log.counts.acknowledged > 1, 5.0)
        assert goes_on is not idempotent
        log.close(timeout=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("way", DELIVERING)
def test_one_player_s_events_keep_their_order_when_the_broker_restarts(
    broker: Any, topic: str, way: str, tmp_path: Path
) -> None:
    """One client, one player, the broker killed twice: first occurrences stand in the requests' order."""
    names: list[str] = []

    def outages() -> None:
        for _ in range(2):
            broker.kill()
            broker.restart()

    with open_log(way, broker.connection, topic, timeout=0.05, **log_class(way).settings_in(tmp_path)) as log:
        log.connect()
        trouble = threading.Thread(target=outages)
        trouble.start()
        while trouble.is_alive() and len(names) < 15_000:
            names.append(f"e{len(names)}")
            with suppress(Undecided):
                log.append("ann", json.dumps({"event_id": names[-1]}).encode(), names[-1])
            time.sleep(0.001)
        trouble.join()
        assert log.close(timeout=60.0) == 0
    found = [json.loads(line)["event_id"] for line in read_text(broker.connection, topic)]
    assert list(dict.fromkeys(found)) == names


@pytest.mark.slow
@pytest.mark.parametrize("way", ["confirmed", "buffered", "outbox"])
def test_a_topic_that_is_gone_is_named(broker: Any, topic: str, way: str, tmp_path: Path) -> None:
    """What events wait for stands beside their count; once the topic is there again, new ones arrive."""
    missing = f"topic '{topic}' does not exist"
    with open_log(way, broker.connection, topic, timeout=20.0, **log_class(way).settings_in(tmp_path)) as log:
        log.append(*event(1))
        assert eventually(lambda: log.counts.acknowledged == 1)
        topics.delete_topics(broker.connection, [topic])
        log.timeout = 0.1
        with pytest.raises(Undecided) if way == "confirmed" else nullcontext():
            log.append(*event(2))
        assert eventually(lambda: missing in log.last_reasons.get("queued", ""))
        if way == "confirmed":
            with pytest.raises(Undecided, match=missing) as caught:
                log.append(*event(3))
            assert (missing in caught.value.why, missing in log.last_reasons["unknown"]) == (True, True)
        topics.create_topic(broker.connection, topic, partitions=2)
        log.timeout = 30.0

        def taken() -> bool:
            with suppress(Refused, Undecided):
                log.append(*event(4))
            return bool(present(broker, topic, {"e4"}))

        assert eventually(taken, 60.0)
