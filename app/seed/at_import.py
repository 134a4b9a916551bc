"""A producer made at import beside one made late: under a reloader, in forked workers, without a broker; measured."""

import inspect
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from streaming_lab.analysis.display import Table, TableColumn, number
from streaming_lab.client import topics
from streaming_lab.cluster import run_topics
from streaming_lab.cluster.base import Cluster
from streaming_lab.cluster.embedded.broker import is_listening
from streaming_lab.ports import free_ports
from streaming_lab.seed.event_logger import EventLogger
from streaming_lab.waiting import wait_until

START_TIMEOUT = 7.0  # seconds until a server listens, or has ended
PATIENCE = 5.5  # seconds that a request waits for its answer
ARRIVAL_TIMEOUT = 1.0  # seconds until what was answered 200 is in the topic
MADE = "a producer is made"  # what a program says when it makes one

# The line of the lab's second game that makes its producer, and the same as the assignment had it, with its imports.
LATE = "event_logger = EventLogger(KafkaProducer, app)"
AT_IMPORT = "event_logger = KafkaProducer(**kafka_python_settings(broker()))"
EARLY_IMPORTS = """\
import os
from streaming_lab.client.connection import kafka_python_settings
from streaming_lab.seed.event_logger import broker
"""

FLASK = ("-m", "flask", "--app", "game", "run", "--port")
FORKS = """
import os, socket, sys
sys.path.insert(0, os.getcwd())
from game import app
from werkzeug.serving import make_server
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for _ in range(2):
    if os.fork() == 0:
        make_server("127.0.0.1", 0, app, fd=listener.fileno(), threaded=True).serve_forever()
os.wait()
"""


def announced_producer(**settings: Any) -> Any:
    """kafka-python's producer, said on standard output when it is made."""
    sys.stdout.write(f"{MADE}\n")
    sys.stdout.flush()
    return KafkaProducer(**settings)


@dataclass(frozen=True)
class Situation:
    """A way to serve a game: its name, Python's arguments before the port and after it, how many requests it gets."""

    name: str
    before: Sequence[str]
    after: Sequence[str] = ()
    asked: int = 4
    broker: bool = True


SITUATIONS = (
    Situation("a reloader", FLASK, ("--reload",)),
    Situation("two forked workers", ("-c", FORKS)),
    Situation("no broker", FLASK, asked=1, broker=False),  # the game waits for one, request after request
)


@dataclass(frozen=True)
class Trial:
    """What came of one game in one situation; `started` is False for a server that never listened."""

    situation: Situation
    late: bool
    producers: int
    started: bool
    answers: tuple[int, ...]  # HTTP codes
    arrived: int


def try_both(cluster: Cluster) -> list[Trial]:
    """Serve both games in each situation, all at the same time, and ask each; takes about 8 s."""
    games = [(one, late) for one in SITUATIONS for late in (False, True)]
    with ThreadPoolExecutor(len(games)) as pool:
        return list(pool.map(lambda game: try_game(cluster, *game), games))


def try_game(cluster: Cluster, situation: Situation, late: bool) -> Trial:
    """Serve one game in a process group of its own, ask it, and end it."""
    topic = run_topics.create_run_topic(cluster, f"made-{'late' if late else 'early'}-{SITUATIONS.index(situation)}")
    (port, nobody) = free_ports(2)
    servers = cluster.locator if situation.broker else f"127.0.0.1:{nobody}"
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_TOPIC": topic}
    command = [sys.executable, "-P", *situation.before, str(port), *situation.after]
    before = written(cluster, topic)
    with tempfile.TemporaryDirectory(prefix="lab-game-") as folder, Path(folder, "log").open("w+b") as log:
        Path(folder, "game.py").write_text(program(late), encoding="utf-8")
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until(lambda: is_listening(port) or process.poll() is not None, START_TIMEOUT)
            started = is_listening(port)
            answers = ask_all(f"http://127.0.0.1:{port}/purchase_a_sword", situation.asked) if started else ()
            wait_until(lambda: written(cluster, topic) - before >= answers.count(200), ARRIVAL_TIMEOUT)
        finally:
            end_group(process)
        log.seek(0)
        made = log.read().count(MADE.encode())
    return Trial(situation, late, made, started, answers, written(cluster, topic) - before)


def program(late: bool) -> str:
    """The second game, with a producer that says when it is made: late as in the lab, or at import as in 2019."""
    text = Path(__file__).with_name("game_api_with_kafka.py").read_text(encoding="utf-8")
    announced = f"from {__name__} import {announced_producer.__name__} as KafkaProducer"
    text = text.replace("from kafka import KafkaProducer", announced)
    if late:
        return text
    return EARLY_IMPORTS + text.replace('"events"', 'os.environ["KAFKA_TOPIC"]').replace(LATE, AT_IMPORT)


def source_of_late() -> str:
    """What the lab's game does instead, as it stands in its file: a producer made in the process that serves."""
    return textwrap.dedent(inspect.getsource(EventLogger._producer))


def ask_all(url: str, count: int) -> tuple[int, ...]:
    """The codes of the answers to requests that are sent at the same time, without those that got none."""
    import requests

    def ask(_: int) -> int | None:
        with requests.Session() as session:
            session.trust_env = False  # no proxy between two programs of one machine
            try:
                return session.get(url, timeout=PATIENCE).status_code
            except requests.RequestException:
                return None

    with ThreadPoolExecutor(count) as pool:
        return tuple(code for code in pool.map(ask, range(count)) if code is not None)


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a server and all that it started."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, ending)
        except ProcessLookupError:
            break
        wait_until(lambda: process.poll() is not None, 1.0)
    process.wait(10)


def trials_table(trials: Sequence[Trial]) -> Table:
    """A row for each game: what it made, how it answered, what arrived; all of it is measured."""
    columns = (
        TableColumn("situation"),
        TableColumn("producer made"),
        number("producers", measured=True),
        TableColumn("server", measured=True),
        number("requests"),
        number("200", measured=True),
        number("503", measured=True),
        number("no answer", measured=True),
        number("in the topic", measured=True),
    )
    rows = tuple(
        (
            one.situation.name,
            "late" if one.late else "at import",
            one.producers,
            "listens" if one.started else f"not in {START_TIMEOUT:g} s",
            one.situation.asked,
            one.answers.count(200),
            one.answers.count(503),
            one.situation.asked - len(one.answers),
            one.arrived,
        )
        for one in trials
    )
    note = f"each request waits {PATIENCE:g} s for its answer"
    return Table("Made at import, made late", columns, rows, note)


def written(cluster: Cluster, topic: str) -> int:
    """How many records the topic has had."""
    return sum(topics.end_offsets(cluster.connection, topic).values())
