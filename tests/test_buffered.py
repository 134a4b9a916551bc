"""Buffered: the answer does not wait, the queue is bounded, and nothing in it is dropped in silence."""

import json
import logging
import re
import time
from threading import current_thread
from types import SimpleNamespace
from typing import Any

import pytest
from topics_of import new_topic
from waiting import eventually

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, connection_for
from streaming_lab.delivery.buffered import Buffered
from streaming_lab.delivery.event_log import OVERHEAD
from streaming_lab.delivery.outcome import Counts, Refused
from streaming_lab.delivery.producer import IdempotentProducer, StallWatch


@pytest.fixture
def topic(kafka: Connection) -> str:
    """A topic for this test alone."""
    return new_topic(kafka)


def value(number: int) -> bytes:
    """An event of about 250 bytes."""
    return json.dumps({"event_id": f"e{number}", "text": "x" * 220}).encode()


def test_a_full_queue_refuses_and_close_delivers_the_rest(kafka: Connection, topic: str) -> None:
    """With a long linger nothing leaves: the queue fills, refuses, and close delivers exactly what was accepted."""
    log = Buffered(kafka, topic, memory=80 * (OVERHEAD + len(value(79))))
    log.linger = 30.0
    for number in range(80):
        log.append("p", value(number), f"e{number}")
    assert not log.ready()
    with pytest.raises(Refused, match="80 events wait for the broker: the queue is full"):
        log.append("p", value(80), "e80")
    assert log.close() == 0
    assert log.counts == Counts(accepted=80, acknowledged=80, refused=1)
    assert topics.end_offsets(kafka, topic) == {0: 80}


def test_what_the_topic_does_not_have_is_counted_and_named(
    kafka: Connection, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Purged events that a read-back does not find: failed, in the log at once, and named at close."""
    with Buffered(kafka, topic) as log, caplog.at_level(logging.WARNING, logger="streaming_lab.client"):
        log.connect()
        log.linger = 30.0
        log._producer = log._new_producer()
        log.append("p", value(1), "e1")
        log.append("p", value(2), "e2")
        log._producer.purge()
        assert eventually(lambda: not log.queued)
        assert log.counts == Counts(accepted=2, failed=2)
        log.append("p", value(3), "e3")
        assert log.close() == 2
    assert log.unsent == ["e1", "e2"]
    assert log.counts == Counts(accepted=3, acknowledged=1, failed=2)
    assert all(f"event {event_id} was not delivered" in caplog.text for event_id in log.unsent)


def test_closing_with_a_long_queue_is_no_reason_for_a_new_producer(kafka: Connection, topic: str) -> None:
    """Reports of many batches come in the broker's order, so none of them looks like another event's."""
    with Buffered(kafka, topic) as log:
        for number in range(15_000):
            log.append("p", value(number), f"e{number}")
        assert log.close() == 0
    assert (log.replaced, log.counts) == (0, Counts(accepted=15_000, acknowledged=15_000))


def test_reports_come_on_one_thread(kafka: Connection, topic: str) -> None:
    """Who waits for a flush, or closes, serves none of them."""
    threads: list[str] = []
    engine = IdempotentProducer(kafka, linger=30.0, events=1000, memory=1 << 20)
    for number in range(100):
        engine.produce(topic, value(number), "p", on_delivery=lambda *_: threads.append(current_thread().name))
    engine.flush(10.0)
    assert threads == ["delivery-reports"] * 100
    engine.produce(topic, value(100), "p", on_delivery=lambda *_: threads.append(current_thread().name))
    engine.close()
    assert threads == ["delivery-reports"] * 101


def test_its_health_is_its_queue_s(kafka: Connection, topic: str) -> None:
    """Once connected, the queue takes events whether a broker is there or not; before, somebody has to be there."""
    nobody = Buffered(connection_for("127.0.0.1:1"), topic)
    assert not nobody.ready()
    with Buffered(kafka, topic) as log:
        assert log.ready()
        log.connect()
        assert log._producer is not None
        log._producer.answers = lambda *_: False  # type: ignore[method-assign]
        assert log.ready()


def test_all_that_is_lost_is_counted_though_not_all_of_it_is_named(
    kafka: Connection, topic: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The ids of those last reported are kept (a purge has no fixed order); how many there were is known."""
    monkeypatch.setattr("streaming_lab.delivery.buffered.MOST_NAMED", 2)
    with Buffered(kafka, topic) as log, caplog.at_level(logging.WARNING, logger="streaming_lab.client"):
        log.linger = 30.0
        for number in range(5):
            log.append("p", value(number), f"e{number}")
        assert log._producer is not None
        log._producer.purge()
        assert eventually(lambda: log.counts.failed == 5)
        assert (log.close(), log.unnamed) == (5, 3)
    reported = re.findall(r"event (e\d) was not delivered", caplog.text)
    assert sorted(reported) == ["e0", "e1", "e2", "e3", "e4"]
    assert log.unsent == reported[-2:]


def test_an_event_for_a_producer_that_was_just_closed_is_decided(kafka: Connection, topic: str) -> None:
    """Whoever closes it again serves the reports that its own thread does not serve any more."""
    reports: list[object] = []
    engine = IdempotentProducer(kafka, linger=0.0, events=10, memory=1 << 20)
    engine.close()
    engine.produce(topic, b"{}", "p", on_delivery=lambda error, _: reports.append(error))
    engine.close()
    assert len(reports) == 1


@pytest.mark.parametrize(("in_touch", "replaced"), [(True, False), (False, True)])
def test_only_a_producer_that_sleeps_is_replaced(kafka: Connection, topic: str, in_touch: bool, replaced: bool) -> None:
    """A broker that holds events back is waited for: they may be in its log, and would be there twice."""
    watch = StallWatch(kafka, topic)
    producer: Any = SimpleNamespace(stalled=10.0, in_touch=in_touch)
    assert not watch.stands_still(producer, after=0.1)
    assert watch.reason == "a broker answers, and has acknowledged nothing for 10 s"
    time.sleep(0.15)
    assert watch.stands_still(producer, after=0.1) is replaced
    assert not watch.stands_still(SimpleNamespace(stalled=0.0, in_touch=False), after=0.1)  # type: ignore[arg-type]
    assert watch.reason == ""
