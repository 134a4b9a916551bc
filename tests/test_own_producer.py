"""The watched producer: made late, in the process that sends, with the lab's address and the game's other settings."""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.producer.future import FutureRecordMetadata

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.errors import LabError
from streaming_lab.own_game.journal import Journal, read_journal, tell_story
from streaming_lab.own_game.producer import ProducerWatch
from streaming_lab.own_game.records import read_records

CLASSES = (KafkaProducer, KafkaConsumer, FutureRecordMetadata)


@pytest.fixture
def watch() -> Iterator[ProducerWatch]:
    """A watch without a cluster; the classes are afterwards what they were."""
    before = [dict(vars(one)) for one in CLASSES]
    watch = ProducerWatch(None, Journal(None), Path.cwd())
    watch.install()
    yield watch
    watch.uninstall()
    assert [dict(vars(one)) for one in CLASSES] == before


def test_a_producer_is_made_without_a_broker(watch: ProducerWatch) -> None:
    """At import nothing is asked: whatever address and version the game writes, and an end without a send is quiet."""
    producer = KafkaProducer(bootstrap_servers="kafka:29092", api_version=(0, 10))
    producer.flush()
    producer.close()
    with pytest.raises(ValueError, match="Unrecognized configs"):
        KafkaProducer(bootstrap_server="kafka:29092")
    assert producer.send("events", b"x").get(timeout=1).topic == "events"  # in a probe, where nothing is sent
    with pytest.raises(LabError, match="talks to Kafka while it is imported"):
        KafkaConsumer("events", bootstrap_servers="kafka:29092")


def test_the_journal_tells_each_send() -> None:
    """Outcome and waiting are joined with their send, a flush counts for its request."""
    send = {"what": "send", "request_id": "r", "topic": "t", "written": "p-t", "where": "g.py:1"}
    story = tell_story(
        [
            {**send, "send_id": "1"},
            {"what": "awaited", "send_id": "1", "awaited": "result"},
            {"what": "outcome", "send_id": "1", "outcome": "delivered", "error": ""},
            {**send, "send_id": "2"},
            {"what": "flush", "request_id": "r"},
            {"what": "outcome", "send_id": "9", "outcome": "failed", "error": "x"},
        ]
    )
    assert [(one.send_id, one.outcome, one.awaited) for one in story.sends] == [
        ("1", "delivered", "result"),
        ("2", "unknown", "flush"),
    ]
    assert story.topics == {"t": "p-t"}


def test_a_killed_game_leaves_whole_lines(tmp_path: Path) -> None:
    """A last line without its end is left out."""
    journal = Journal(tmp_path / "j")
    journal.note("request", request_id="r", method="GET", rule="/", status=200)
    journal.close()
    with (tmp_path / "j").open("a") as file:
        file.write('{"what": "requ')
    assert [one.request_id for one in read_journal(tmp_path / "j").requests] == ["r"]


FORKING = """\
import os, sys
from pathlib import Path
from streaming_lab.client.connection import connection_for
from streaming_lab.own_game.journal import Journal
from streaming_lab.own_game.producer import ProducerWatch
from kafka import KafkaProducer

kafka, journal = connection_for(sys.argv[1]), Journal(Path(sys.argv[2]))
watch = ProducerWatch(kafka, journal, Path.cwd(), lambda name: sys.argv[3] + name)
watch.install()
producer = KafkaProducer(bootstrap_servers="kafka:29092")
producer.send("events", b"parent").get(timeout=10)
child = os.fork()
producer.send("events", b"child" if child == 0 else b"parent again").get(timeout=10)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_producer_made_before_a_fork_works_in_the_child(kafka: Connection, tmp_path: Path) -> None:
    """As under gunicorn's preload: both processes' records arrive, each with the id of its send."""
    prefix, journal = f"fork-{uuid.uuid4().hex[:8]}-", tmp_path / "journal"
    command = [sys.executable, "-W", "ignore", "-c", FORKING, addresses(kafka), str(journal), prefix]
    subprocess.run(command, cwd=tmp_path, timeout=60, check=True)
    story = read_journal(journal)
    events = read_records(kafka, story.topics).events
    assert set(events["value"]) == {"parent", "child", "parent again"}
    assert set(events["send_id"]) == {send.send_id for send in story.sends}
    assert len({send.send_id.partition("-")[0] for send in story.sends}) == 2
    assert {send.outcome for send in story.sends} == {"delivered"}
    assert json.dumps(story.topics) == json.dumps({"events": f"{prefix}events"})


def test_threads_that_send_first_share_one_connection(watch: ProducerWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sends of a served game come from several threads: none meets a producer that is half made."""
    entered, go_on = threading.Event(), threading.Event()

    def init(producer: Any, **configs: Any) -> None:
        entered.set()
        assert go_on.wait(10)
        producer._metadata, producer._closed, producer.config = "made", True, KafkaProducer.DEFAULT_CONFIG

    monkeypatch.setattr(watch, "_settings_of", dict)
    monkeypatch.setattr(watch, "_original_init", init)
    producer = KafkaProducer(bootstrap_servers="kafka:29092")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: producer._metadata)
        assert entered.wait(10)
        second = pool.submit(lambda: ("_lab" in producer.__dict__, producer._metadata))
        go_on.set()
        assert (first.result(10), second.result(10)) == ("made", (True, "made"))


def test_a_hosted_game_waits_for_no_pandas() -> None:
    """The process of a game loads what it serves with, and nothing of the analysis."""
    asked = "import sys, streaming_lab.own_game.host; print({'pandas', 'pyarrow', 'altair'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "set()\n"
