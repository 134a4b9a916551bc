"""A producer made at import beside one made late: under a reloader, in forked workers, without a broker; measured."""

import inspect
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
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

START_TIMEOUT = 20.0  # seconds until a server listens, or has ended
PATIENCE = 6.0  # seconds that requests wait for their answers
AS_LONG, AT_LEAST = 3.0, 2.0  # what a game made at import gets: times what the one made late took, and seconds
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
    waited: float  # seconds until it listened, or until nobody waited any more
    answers: tuple[int, ...]  # HTTP codes
    waited_for_answers: float  # seconds
    arrived: int


class Yardstick:
    """How long the games made late took, step by step; the others get `AS_LONG` times that, and `AT_LEAST` seconds."""

    def __init__(self) -> None:
        self._took: dict[tuple[str, str], float] = {}

    def wait(self, step: str, situation: Situation, late: bool, done: Callable[[], bool], most: float) -> float:
        """Wait until a step is done, or lasts too long; the seconds that were waited."""
        began = time.monotonic()

        def settled() -> bool:
            took = None if late else self._took.get((step, situation.name))
            return done() or (took is not None and time.monotonic() - began > max(AT_LEAST, AS_LONG * took))

        wait_until(settled, most)
        waited = time.monotonic() - began
        if late:
            self._took[step, situation.name] = waited
        return waited


def try_both(cluster: Cluster) -> list[Trial]:
    """Serve both games in each situation, all at the same time, and ask each; takes about 4 s."""
    games = [(one, late) for one in SITUATIONS for late in (False, True)]
    yardstick = Yardstick()
    with ThreadPoolExecutor(len(games)) as pool:
        return list(pool.map(lambda game: try_game(cluster, yardstick, *game), games))


def try_game(cluster: Cluster, yardstick: Yardstick, situation: Situation, late: bool) -> Trial:
    """Serve one game in a process group of its own, ask it, and end it."""
    topic = run_topics.create_run_topic(cluster, f"made-{'late' if late else 'early'}-{SITUATIONS.index(situation)}")
    (port, nobody) = free_ports(2)
    servers = cluster.locator if situation.broker else f"127.0.0.1:{nobody}"
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_TOPIC": topic}
    command = [sys.executable, "-P", *situation.before, str(port), *situation.after]
    before = written(cluster, topic)

    def up() -> bool:
        return is_listening(port) or process.poll() is not None

    with tempfile.TemporaryDirectory(prefix="lab-game-") as folder, Path(folder, "log").open("w+b") as log:
        Path(folder, "game.py").write_text(program(late), encoding="utf-8")
        with ThreadPoolExecutor(situation.asked) as pool:  # its requests end with their server
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
                waited = yardstick.wait("start", situation, late, up, START_TIMEOUT)
                started = is_listening(port)
                url = f"http://127.0.0.1:{port}/purchase_a_sword"
                asked = [pool.submit(ask, url) for _ in range(situation.asked)] if started else []
                waited_for = yardstick.wait(
                    "answers", situation, late, lambda: all(one.done() for one in asked), PATIENCE
                )
                answers = tuple(code for one in asked if one.done() and (code := one.result()) is not None)
                wait_until(lambda: written(cluster, topic) - before >= answers.count(200), ARRIVAL_TIMEOUT)
            finally:
                end_group(process)
        log.seek(0)
        made = log.read().count(MADE.encode())
    return Trial(situation, late, made, started, waited, answers, waited_for, written(cluster, topic) - before)


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


def ask(url: str) -> int | None:
    """The code of the answer to one request; None when there is none."""
    import requests

    with requests.Session() as session:
        session.trust_env = False  # no proxy between two programs of one machine
        try:
            return session.get(url, timeout=PATIENCE).status_code
        except requests.RequestException:
            return None


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
        TableColumn("server listens", measured=True),
        number("requests"),
        number("200", measured=True),
        number("503", measured=True),
        number("no answer", measured=True),
        number("waited (s)", 1, measured=True),
        number("in the topic", measured=True),
    )
    rows = tuple(
        (
            one.situation.name,
            "late" if one.late else "at import",
            one.producers,
            f"after {one.waited:.1f}\u00a0s" if one.started else f"not in {one.waited:.1f}\u00a0s",
            one.situation.asked,
            one.answers.count(200),
            one.answers.count(503),
            one.situation.asked - len(one.answers),
            one.waited_for_answers if one.started else None,
            one.arrived,
        )
        for one in trials
    )
    note = f"made at import, each step gets {AS_LONG:g} times as long as made late, and {AT_LEAST:g} s at least"
    return Table("Made at import, made late", columns, rows, note)


def written(cluster: Cluster, topic: str) -> int:
    """How many records the topic has had."""
    return sum(topics.end_offsets(cluster.connection, topic).values())
