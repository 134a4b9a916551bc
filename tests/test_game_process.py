"""The game in a process of its own: it says when it is ready, what it left behind, and comes back knowing its past."""

import json
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests
from topics_of import new_topic, write
from waiting import eventually, within

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster import attach
from streaming_lab.cluster.base import Cluster
from streaming_lab.game import history
from streaming_lab.game.events import Event
from streaming_lab.processes import await_freeze
from streaming_lab.reader import read_text


@pytest.fixture
def topic(kafka: Connection) -> str:
    """A topic of this test's own."""
    return new_topic(kafka, 2)


@pytest.fixture
def broker(kafka: Connection) -> Iterator[Cluster]:
    """The session's broker, to freeze; it runs again afterwards."""
    with attach("embedded") as cluster:
        yield cluster
        cluster.resume()


@dataclass
class Running:
    """A game process."""

    process: subprocess.Popen[str]
    url: str

    def ask(self, target: str, request_id: str | None = None) -> tuple[int, str]:
        """Status, and the text or the word of a 503."""
        headers = {"X-Request-Id": request_id} if request_id else {}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(self.url + target, headers=headers, timeout=20)
        return answer.status_code, answer.json()["value"] if answer.status_code >= 400 else answer.text.strip()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and stderr after a signal."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@contextmanager
def game(kafka: Connection, topic: str, *options: str) -> Iterator[Running]:
    """A game that says it is ready; killed at the end if it still runs."""
    command = [sys.executable, "-m", "streaming_lab.game", "--bootstrap", addresses(kafka), "--topic", topic, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            word, _, url = process.stdout.readline().strip().partition(" ")
            assert word == "ready", process.communicate(timeout=30)[1]
            yield Running(process, url)
        finally:
            process.kill()


def rows(kafka: Connection, topic: str) -> int:
    return sum(topics.end_offsets(kafka, topic).values())


@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("confirmed", signal.SIGTERM),
        ("fire-and-forget", signal.SIGINT),
        ("buffered", signal.SIGTERM),
        ("outbox", signal.SIGINT),
    ],
)
def test_a_signal_ends_it_with_everything_delivered(
    kafka: Connection, topic: str, tmp_path: Path, way: str, number: int
) -> None:
    """Each way drains at the end: exit code 0, nothing on stderr, the rows are there."""
    with game(kafka, topic, "--way", way, "--outbox", str(tmp_path / "outbox.sqlite")) as running:
        assert {running.ask("/purchase_a_sword") for _ in range(20)} == {(200, "Sword Purchased!")}
        assert running.stop(number) == (0, "")
    assert rows(kafka, topic) == 20


@pytest.mark.essential
def test_it_comes_back_with_its_world_and_its_ids(kafka: Connection, topic: str) -> None:
    """After SIGKILL: what was bought can be sold, and an answered id is answered again without a second event."""
    with game(kafka, topic) as running:
        running.ask("/purchase_a_sword?player=ann", "r-1")
        running.ask("/join_a_guild?player=bob&guild=owls", "r-2")
        running.process.kill()
    with game(kafka, topic) as running:
        assert running.ask("/purchase_a_sword?player=ann", "r-1") == (200, "Sword Purchased!")
        assert running.ask("/sell_a_sword?player=ann", "r-1") == (422, "r-1")
        assert running.ask("/join_a_guild?player=bob&guild=owls") == (409, "owls")
        assert [running.ask("/sell_a_sword?player=ann")[0] for _ in range(2)] == [200, 409]
    assert rows(kafka, topic) == 3


def test_it_comes_back_from_a_topic_that_others_wrote_to(kafka: Connection, topic: str) -> None:
    """Events that are no plain rows (keys in another order, further ones, escapes) count; what is no event is told."""
    with game(kafka, topic) as running:
        running.ask("/purchase_a_sword?player=ann")
    plain = json.loads("".join(read_text(kafka, topic)))
    odd = {"of": {"another": ["program", 1.5, None]}, **dict(reversed(plain.items())), "event_id": "é\\n"}
    strangers = [b"nobody", b"[1]", b"NaN", b'{"player": "\xff"}', json.dumps({**plain, "player": None}).encode()]
    write(kafka, topic, {0: [(None, json.dumps(odd | {"player": "bob"}).encode())], 1: [(b"k", s) for s in strangers]})
    with game(kafka, topic) as running:
        for player in ("ann", "bob"):
            assert [running.ask(f"/sell_a_sword?player={player}")[0] for _ in range(2)] == [200, 409]
        code, told = running.stop()
    assert (code, told.count("is no event: ")) == (0, len(strangers))


def test_it_starts_empty_when_asked_to(kafka: Connection, topic: str) -> None:
    """--fresh passes the topic's history over."""
    with game(kafka, topic) as running:
        running.ask("/purchase_a_sword")
    with game(kafka, topic, "--fresh") as running:
        assert running.ask("/sell_a_sword") == (409, "anonymous")


def test_a_missing_topic_is_two_lines_and_exit_code_2(kafka: Connection, topic: str) -> None:
    """Problem and cure, before anything is served."""
    command = [sys.executable, "-m", "streaming_lab.game", "--bootstrap", addresses(kafka), "--topic", topic[:-1]]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (2, "", 2)
    assert f"topic '{topic[:-1]}' does not exist" in ran.stderr


def test_a_time_out_is_unknown_and_one_event_in_the_end(kafka: Connection, topic: str, broker: Cluster) -> None:
    """Broker frozen, one request, broker back, the same id again: two requests, one event."""
    with game(kafka, topic, "--timeout", "1") as running:
        running.ask("/")
        broker.pause()
        assert running.ask("/purchase_a_sword", "r-1") == (503, "unknown")
        assert running.ask("/sell_a_sword", "r-2") == (503, "refused")
        broker.resume()
        answers = [running.ask("/purchase_a_sword", "r-1")]
        while answers[-1] != (200, "Sword Purchased!") and len(answers) < 1000:
            answers.append(running.ask("/purchase_a_sword", "r-1"))
        assert set(answers[:-1]) <= {(503, "unknown")}
        assert running.ask("/sell_a_sword", "r-2") == (200, "Sword Sold!")
        assert running.stop() == (0, "")
    assert rows(kafka, topic) == 3


def test_what_cannot_be_delivered_is_named(kafka: Connection, topic: str, broker: Cluster) -> None:
    """Stopped while the broker is frozen: exit code 1, the event's id on stderr, within --drain."""
    with game(kafka, topic, "--timeout", "0.5", "--drain", "1") as running:
        running.ask("/")
        broker.pause()
        assert running.ask("/purchase_a_sword", "r-1") == (503, "unknown")
        assert running.stop() == (1, "1 event not delivered:\n  r-1\n")


def test_why_an_event_failed_is_said_at_the_end(kafka: Connection, topic: str, broker: Cluster) -> None:
    """Fire-and-forget gives one up: its reason stands on stderr and in the metrics."""
    with game(kafka, topic, "--way", "fire-and-forget", "--patience", "0.5") as running, requests.Session() as session:
        session.trust_env = False
        running.ask("/")
        metrics = running.url + "/metrics"
        assert eventually(lambda: "game_events_acknowledged_total 1.0" in session.get(metrics, timeout=20).text)
        broker.pause()
        assert running.ask("/purchase_a_sword") == (200, "Sword Purchased!")
        reason = 'game_events_last_reason{count="failed",reason="'
        assert eventually(lambda: reason in session.get(metrics, timeout=20).text)
        broker.resume()
        code, errors = running.stop()
    assert code == 0
    (line,) = [line for line in errors.splitlines() if line.startswith("failed: 1 event; the last reason: ")]
    assert "Error: " in line


def test_the_outbox_survives_the_game_and_the_outage(
    kafka: Connection, topic: str, broker: Cluster, tmp_path: Path
) -> None:
    """Answered 200 while the broker is frozen, then SIGKILL: the next game has the sword, and the event."""
    options = ("--way", "outbox", "--outbox", str(tmp_path / "outbox.sqlite"))
    with game(kafka, topic, *options) as running:
        running.ask("/")
        broker.pause()
        assert running.ask("/purchase_a_sword?player=ann", "r-1") == (200, "Sword Purchased!")
        running.process.kill()
    broker.resume()
    with game(kafka, topic, *options) as running:
        assert running.ask("/purchase_a_sword?player=ann", "r-1") == (200, "Sword Purchased!")
        assert [running.ask("/sell_a_sword?player=ann")[0] for _ in range(2)] == [200, 409]
        assert running.stop() == (0, "")
    assert rows(kafka, topic) >= 3  # at least once: default, bought, sold


@pytest.mark.slow
def test_an_outbox_game_starts_while_the_broker_is_away(breakable: Cluster, tmp_path: Path) -> None:
    """It serves 503 with the reason until it has read the history once; then it knows its past and goes on."""
    topic = new_topic(breakable.connection)
    options = ("--way", "outbox", "--outbox", str(tmp_path / "outbox.sqlite"))
    with game(breakable.connection, topic, *options) as running:
        assert running.ask("/purchase_a_sword?player=ann", "r-1") == (200, "Sword Purchased!")
        assert running.stop() == (0, "")
    breakable.kill()
    try:
        command = [sys.executable, "-m", "streaming_lab.game", "--bootstrap", addresses(breakable.connection)]
        with subprocess.Popen(
            [*command, "--topic", topic, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stderr.readline()
            url, _, reason = line.partition(" answers 503 until its history can be read: ")
            assert reason.startswith("no broker answers at 127.0.0.1:"), line
            running = Running(process, url)
            assert running.ask("/sell_a_sword?player=ann") == (503, "refused")
            with requests.Session() as session:
                session.trust_env = False
                health = session.get(url + "/healthz", timeout=20)
                rule = session.get(url + "/sell_a_sword?player=ann", timeout=20).json()["rule"]
            assert (health.status_code, health.json()["ready"]) == (503, False)
            assert rule.startswith("no broker answers at 127.0.0.1:")
            breakable.restart()
            assert process.stdout.readline() == f"ready {url}\n"
            assert running.ask("/purchase_a_sword?player=ann", "r-1") == (200, "Sword Purchased!")
            assert [running.ask("/sell_a_sword?player=ann")[0] for _ in range(2)] == [200, 409]
            assert running.stop() == (0, "")
    finally:
        breakable.restart()
    assert rows(breakable.connection, topic) == 2


def test_a_signal_before_it_is_ready_ends_it_at_once(tmp_path: Path) -> None:
    """Nobody waits for a world that is rebuilt from a broker that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [sys.executable, "-m", "streaming_lab.game"]
        command += ["--bootstrap", f"127.0.0.1:{silent.getsockname()[1]}"]
        command += ["--way", "outbox", "--outbox", str(tmp_path / "outbox.sqlite")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(30)
            with silent.accept()[0]:  # it asks
                process.send_signal(signal.SIGTERM)
                with within(2.5):
                    said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, ("", "interrupted\n"))


@pytest.mark.parametrize("option", [("--host", "no.such.host.invalid"), ("--outbox", "/dev/null/x")])
def test_a_place_that_cannot_be_is_two_lines_and_exit_code_2(
    kafka: Connection, topic: str, option: tuple[str, str]
) -> None:
    """A host that is not ours, a file below a file."""
    command = [sys.executable, "-m", "streaming_lab.game", "--bootstrap", addresses(kafka), "--topic", topic, *option]
    ran = subprocess.run([*command, "--way", "outbox"], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (2, "", 2)
    assert option[1] in ran.stderr


def test_a_waiting_row_that_is_no_event_is_skipped_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No value, a number, broken or deeply nested JSON in an outbox's file: the events around it count."""
    event = Event("r-1", "purchased_sword", "ann", datetime(2019, 3, 16, 5, 8, 40, tzinfo=UTC))
    odd = [b"hello", b"\xff", None, 7, 1.5, b"[" * 100_000, b"[1]", "text", json.dumps({"event_type": "rode"}).encode()]
    rows = [("r-1", "ann", event.to_bytes()), *((f"odd-{n}", "k", value) for n, value in enumerate(odd))]
    monkeypatch.setattr(history, "read_batches", lambda *_, **__: iter(()))
    log = SimpleNamespace(pending=lambda: rows)
    with caplog.at_level(logging.WARNING):
        assert list(history.read_history({}, "events", log)) == [event]  # type: ignore[arg-type]
    assert [record.args[0] for record in caplog.records] == [f"odd-{n}" for n in range(len(odd))]  # type: ignore[index]


BROKEN = "from streaming_lab.game import __main__, game; game.Game.answer = None; __main__.main()"


def test_a_bugs_traceback_is_on_the_processs_standard_error(kafka: Connection, topic: str) -> None:
    """A 500 says where its traceback is, and there it is."""
    command = [sys.executable, "-c", BROKEN, "--bootstrap", addresses(kafka), "--topic", topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        running = Running(process, process.stdout.readline().split()[1])
        assert running.ask("/") == (500, "error")
        code, errors = running.stop()
    assert (code, errors.splitlines()[-1]) == (0, "TypeError: 'NoneType' object is not callable")


def test_a_frozen_process_runs_in_no_thread_any_more() -> None:
    """SIGSTOP returns before it has an effect, on a busy machine 0.1 s before: `await_freeze` waits for it."""
    program = """
import hashlib, threading
def run():
    while True: hashlib.sha256(bytes(1 << 22)).digest()
for _ in range(8): threading.Thread(target=run).start()
print("up", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            found = psutil.Process(process.pid)
            for _ in range(5):
                process.send_signal(signal.SIGSTOP)
                await_freeze(process.pid)
                before = sum(found.cpu_times()[:2])
                time.sleep(0.05)
                assert found.status() == psutil.STATUS_STOPPED
                assert sum(found.cpu_times()[:2]) == before
                process.send_signal(signal.SIGCONT)
        finally:
            process.kill()
