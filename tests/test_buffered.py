"""Buffered: the answer does not wait, the queue is bounded, and nothing in it is dropped in silence."""

import json
import logging
import time
import uuid

import pytest

from app.stream import topics
from app.stream.buffered import Buffered
from app.stream.connection import Connection
from app.stream.held import OVERHEAD
from app.stream.log import Counts, Refused


@pytest.fixture
def topic(kafka: Connection) -> str:
    """A topic for this test alone."""
    name = f"buffered-{uuid.uuid4().hex[:8]}"
    topics.create(kafka, name)
    return name


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


def test_a_delivery_that_failed_for_good_is_counted_and_said(
    kafka: Connection, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A purged event that the topic does not have is a failed one, with its id in the log."""
    with Buffered(kafka, topic) as log, caplog.at_level(logging.WARNING, logger="app.stream"):
        log.connect()
        log.linger = 30.0
        log._engine = log._new_engine()
        log.append("p", value(1), "e1")
        log._engine.purge()
        deadline = time.monotonic() + 10
        while log.queued and time.monotonic() < deadline:
            time.sleep(0.02)
        log.append("p", value(2), "e2")
        assert log.close() == 0
    assert log.counts == Counts(accepted=2, acknowledged=1, failed=1)
    assert "e1" in caplog.text
