"""The seed's two programs: its answers byte for byte, its curl sequence, and its three lines in a real topic."""

import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests
from flask import Flask
from kafka import KafkaProducer
from peers import needs
from waiting import eventually

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster import Cluster, attach
from streaming_lab.errors import LabError
from streaming_lab.game.server import GameServer
from streaming_lab.paths import SOURCE
from streaming_lab.seed import at_import, event_logger as event_logger_module, game_api, game_api_with_kafka
from streaming_lab.seed.event_logger import EventLogger, broker
from streaming_lab.seed.shells import HostShell
from streaming_lab.seed.then_and_now import SEED_GAMES


@pytest.fixture
def topic(kafka: Connection) -> str:
    """A topic of this test's own."""
    name = f"seed-{uuid.uuid4().hex[:8]}"
    topics.create_topic(kafka, name)
    return name


@pytest.fixture
def logging_to(kafka: Connection, topic: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Source code 2 logs to this topic of the session's Kafka."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", addresses(kafka))
    monkeypatch.setattr(game_api_with_kafka, "events_topic", topic)
    yield topic
    game_api_with_kafka.event_logger.close()


def read(kafka: Connection, topic: str) -> list[str]:
    """The topic's lines as kcat prints them: the seed's own oracle."""
    command = [needs("kcat", "kafkacat"), "-C", "-q", "-b", addresses(kafka), "-t", topic, "-o", "beginning", "-e"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()


def get(url: str) -> str:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=10).text


@pytest.mark.parametrize(
    ("program", "path", "answer"),
    [
        (game_api, "/", "\nThis is the default response. No purchase or sale!\n"),
        (game_api, "/purchase_a_sword", "\nSword Purchased!\n"),
        (game_api, "/sell_a_sword", "\nSword Sold!\n"),
        (game_api_with_kafka, "/", "\nThis is the default response!\n"),
        (game_api_with_kafka, "/purchase_a_sword", "\nSword Purchased!\n"),
        (game_api_with_kafka, "/sell_a_sword", "\nSword Sold!\n"),
    ],
)
def test_the_answers_are_the_seeds(logging_to: str, program: object, path: str, answer: str) -> None:
    """Byte for byte, with the one bug mended: a sale says so."""
    assert program.app.test_client().get(path).data == answer.encode()  # type: ignore[attr-defined]


@pytest.mark.essential
def test_three_requests_are_three_lines(kafka: Connection, logging_to: str) -> None:
    """The seed's second run: default, purchased_sword, purchased_sword, in the topic when the server has stopped."""
    with GameServer(game_api_with_kafka.app) as server:
        for path in ("/", "/purchase_a_sword", "/purchase_a_sword"):
            get(server.url + path)
    assert read(kafka, logging_to) == ["default", "purchased_sword", "purchased_sword"]


def test_the_stop_flushes_what_a_request_has_sent(kafka: Connection, topic: str) -> None:
    """1,000 sends in one request, then stop at once: rows + reported unsent = 1,000, and here all are rows."""
    app = Flask("student")
    event_logger = EventLogger(KafkaProducer, app, lambda: kafka)

    @app.route("/")
    def thousand() -> str:
        for number in range(1000):
            event_logger.send(topic, str(number).encode())
        return "sent"

    with GameServer(app) as server:
        get(server.url)
        unsent = server.stop()
    assert (unsent, read(kafka, topic)) == (0, [str(number) for number in range(1000)])


def test_a_stop_while_the_broker_is_silent_names_the_event(
    breakable: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """One event before the broker is paused, one after: no traceback, the second is named, no thread is left."""
    topics.create_topic(breakable.connection, "silent")
    app = Flask("student")
    event_logger = EventLogger(KafkaProducer, app, lambda: breakable.connection)
    app.add_url_rule("/<event>", "log", lambda event: event_logger.send("silent", event.encode()) or "sent")
    before = threads()
    with GameServer(app) as server:
        get(server.url + "/first")
        assert eventually(lambda: sum(topics.end_offsets(breakable.connection, "silent").values()) == 1)
        breakable.pause()
        try:
            get(server.url + "/second")
            assert server.stop(timeout=2) == 1
        finally:
            breakable.resume()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    ours = [record.getMessage() for record in warnings if record.name == event_logger_module.__name__]
    assert ours == ["Kafka acknowledged no delivery of 'second'"]
    assert not [record for record in warnings if record.exc_info]
    assert eventually(lambda: threads() <= before)


def threads() -> set[str]:
    """The threads of kafka-python's producers."""
    return {thread.name for thread in threading.enumerate() if "producer" in thread.name.lower()}


def test_the_cell_of_the_second_program_can_run_again(kafka: Connection, logging_to: str) -> None:
    """A server that stopped took its producer along; the next one makes a new one."""
    for _ in range(2):
        with GameServer(game_api_with_kafka.app) as server:
            get(server.url)
    assert read(kafka, logging_to) == ["default", "default"]


def test_a_mistyped_topic_is_named(logging_to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear answer at once, and not a wait of a minute."""
    monkeypatch.setattr(game_api_with_kafka, "events_topic", logging_to[:-1])
    response = game_api_with_kafka.app.test_client().get("/")
    assert (response.status_code, f"topic '{logging_to[:-1]}' does not exist" in response.text) == (503, True)
    assert f"did you mean '{logging_to}'" in response.text


def test_the_broker_is_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """KAFKA_BOOTSTRAP_SERVERS comes before the running cluster."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9,127.0.0.1:10")
    assert broker() == {"bootstrap_servers": ["127.0.0.1:9", "127.0.0.1:10"]}


def test_without_the_variable_it_is_the_running_cluster(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `cluster.py start` or a notebook has started."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    assert broker()["bootstrap_servers"] == kafka["bootstrap_servers"]


def test_without_any_broker_there_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Problem and cure, from the API too."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("LAB_HOME", str(tmp_path_factory.mktemp("empty")))
    with pytest.raises(LabError, match="there is no Kafka to log to"):
        broker()
    response = game_api_with_kafka.app.test_client().get("/")
    assert (response.status_code, response.text.splitlines()) == (
        503,
        [
            "",
            "there is no Kafka to log to",
            "Start one with `python3 scripts/cluster.py start`, or set KAFKA_BOOTSTRAP_SERVERS=host:port.",
        ],
    )


@pytest.mark.parametrize("program", ["game_api", "game_api_with_kafka"])
def test_flask_runs_it_as_in_the_seed(kafka: Connection, logging_to: str, program: str) -> None:
    """`flask --app streaming_lab.seed.game_api run`, on a free port."""
    topics.create_topic(kafka, "events")
    command = [sys.executable, "-m", "flask", "--app", f"streaming_lab.seed.{program}", "run", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as flask:
        try:
            assert flask.stderr is not None
            url = next(line.split()[-1] for line in flask.stderr if "Running on" in line)
            assert get(url + "/purchase_a_sword") == "\nSword Purchased!\n"
        finally:
            flask.terminate()


@pytest.mark.parametrize("program", SEED_GAMES)
def test_no_file_of_the_project_hides_a_library(kafka: Connection, program: str) -> None:
    """Chapter 01 runs flask, which looks first where it is called: there is the package, and nothing of a person."""
    shell = HostShell(SimpleNamespace(connection=kafka, locator=addresses(kafka)))  # type: ignore[arg-type]
    with shell.serving(program, "events") as game:
        assert Path(psutil.Process(game.process.pid).cwd()) == SOURCE
        assert f"--app streaming_lab.seed.{Path(program).stem} " in game.line


@pytest.mark.slow
def test_a_producer_made_at_import_fails_where_one_made_late_does_not(kafka: Connection) -> None:
    """Two under a reloader, none that sends in forked workers, no server without a broker."""
    with attach(addresses(kafka)) as cluster:
        trials = at_import.try_both(cluster)
    found = {(one.situation.name, one.late): (one.started, one.answers, one.arrived) for one in trials}
    assert found == {
        ("a reloader", False): (True, (200,) * 4, 4),
        ("a reloader", True): (True, (200,) * 4, 4),
        ("two forked workers", False): (True, (), 0),
        ("two forked workers", True): (True, (200,) * 4, 4),
        ("no broker", False): (False, (), 0),
        ("no broker", True): (True, (503,), 0),
    }
    made = {(one.situation.name, one.late): one.producers for one in trials}
    assert made["a reloader", False] == 2 > made["a reloader", True]
    assert made["no broker", True] == 0
