"""The game as a process of its own.

python -m streaming_lab.game --bootstrap 127.0.0.1:9092 --topic events --way confirmed
python -m streaming_lab.game --container       the same in a container: its topic first, then every address, port 5000

Prints one line, `ready http://127.0.0.1:PORT`, when it accepts requests. With an outbox the broker may be away at the
start: stderr says so, and requests are answered 503 with the reason until the history has been read. SIGTERM or Ctrl-C
ends it: requests in flight are answered, then waiting events are delivered, for --drain seconds at most; events that
are left are named on stderr, and so is the reason of the last one that failed.
Exit codes: 0 no event is left (or it is safe in the outbox), 1 events were left behind, 2 the game could not start,
130 it was stopped before it was ready. Events that fire-and-forget gave up earlier are failed, not left: see /metrics.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from flask import Flask

from streaming_lab.cli import positive, run, whole
from streaming_lab.client import topics
from streaming_lab.client.client_properties import connection_named
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import BrokerUnavailable, ReadTimeout
from streaming_lab.delivery.event_log import EventLog
from streaming_lab.delivery.ways import DELIVERING, WAYS, log_class, open_log
from streaming_lab.errors import LabError
from streaming_lab.game.events import Event
from streaming_lab.game.game import ANSWERS_REMEMBERED, Game
from streaming_lab.game.server import SERVER_THREADS, GameServer
from streaming_lab.game.web import create_app
from streaming_lab.processes import end_with_stdin
from streaming_lab.skipped_imports import skip_pandas
from streaming_lab.wording import counted

CONTAINER_TOPIC = "game-events"
HEARING = 0.5  # seconds until a signal is heard that did not wake the main thread, as after SIGSTOP and SIGCONT
HISTORY_RETRY = 0.5  # seconds between two attempts to read the history while no broker answers
LINES_KEPT = 1000  # of the access log, which a process shows to nobody

History = Callable[[], Iterable[Event]]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends the game; returns the exit code."""
    options = _options(argv)
    if options.container:
        return serve_container()
    if options.bootstrap:
        return _serve(options, connection_named(options.bootstrap))
    from streaming_lab.cluster import attach

    with attach(options.cluster) as cluster:
        return _serve(options, cluster.connection)


def _serve(options: argparse.Namespace, connection: Connection) -> int:
    if options.exit_with_parent:
        end_with_stdin(partial(os._exit, 3))
    stopped = threading.Event()
    log = open_log(options.way, connection, options.topic, **_settings(options))
    try:
        log.connect()
        game_history = partial(_history, options, connection, log)
        app, waits_for = _create_app(options, log, game_history)
        serving = {"threads": options.threads, "capture": False, "lines_kept": LINES_KEPT}
        with GameServer(app, options.host, options.port, **serving) as server:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stopped.set())
            if waits_for:
                print(
                    f"{server.url} answers 503 until its history can be read: {waits_for}", file=sys.stderr, flush=True
                )
                _read_late(app.extensions["game"], game_history, stopped)
            if not stopped.is_set():
                print(f"ready {server.url}", flush=True)
            while not stopped.wait(HEARING):  # a signal that another thread took is handled when this one wakes
                pass
            deadline = time.monotonic() + options.drain
            server.stop(options.drain / 2)
    except BaseException:
        log.close(timeout=0)
        raise
    waits_for = log.last_reasons.get("queued", "")
    return _exit_report(log, log.close(max(0.0, deadline - time.monotonic())), options.way, waits_for)


def _create_app(options: argparse.Namespace, log: EventLog, history: History) -> tuple[Flask, str]:
    """The game, and why it can't answer yet: events that are durable without a broker need none for its start."""
    try:
        return create_app(log, hosts=(options.host,), history=history(), remember=options.remember), ""
    except (BrokerUnavailable, ReadTimeout) as error:
        if not log.survives_restart:
            raise
        app = create_app(log, hosts=(options.host,), remember=options.remember)
        app.extensions["game"].waits_for = error.problem
        return app, error.problem


def _read_late(game: Game, history: History, stopped: threading.Event) -> None:
    """Try to read the history until it succeeds or the game is stopped; the game's answers say why it failed."""
    while game.waits_for and not stopped.wait(HISTORY_RETRY):
        try:
            game.rebuild(history())
            game.waits_for = ""
        except LabError as error:
            game.waits_for = error.problem


def _history(options: argparse.Namespace, connection: Connection, log: EventLog) -> Iterable[Event]:
    if options.fresh or options.way not in DELIVERING:
        return ()
    from streaming_lab.game.history import read_history  # brings pyarrow

    if log.survives_restart:
        topics.end_offsets(connection, options.topic)  # says within seconds that no broker answers
    return read_history(connection, options.topic, log)


def _exit_report(log: EventLog, left: int, way: str, waits_for: str) -> int:
    """Print the undelivered events and their fate, and why others failed; returns the exit code."""
    if reason := log.last_reasons.get("failed"):
        print(f"failed: {counted(log.counts.failed, 'event')}; the last reason: {reason}", file=sys.stderr)
    if not left:
        return 0
    if waits_for:
        print(f"waiting: {counted(left, 'event')}; the reason: {waits_for}", file=sys.stderr)
    fate = f"left in the {way} for the next start" if log.keeps_unsent else "not delivered"
    print(f"{counted(left, 'event')} {fate}:", *log.unsent, sep="\n  ", file=sys.stderr)
    if log.unnamed:
        print(f"  and {log.unnamed} before them", file=sys.stderr)
    return 0 if log.keeps_unsent else 1


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {option.name: getattr(options, option.name) for option in log_class(options.way).options}


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m streaming_lab.game", description="The lab's game in a process of its own."
    )
    parser.add_argument(
        "--cluster", default="embedded", help="embedded, embedded:trio, compose, host:port[,…], or a properties file"
    )
    parser.add_argument(
        "--bootstrap", metavar="HOST:PORT|FILE", help="brokers that run already, without asking what they are"
    )
    parser.add_argument("--topic", default="events", help="must exist (default: %(default)s)")
    parser.add_argument(
        "--way", choices=WAYS, default="confirmed", help="how events are delivered (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=whole(0, 65535), default=0, help="0 takes a free one")
    parser.add_argument(
        "--threads", type=whole(1, 1000), default=SERVER_THREADS, help="requests handled at once (default: %(default)s)"
    )
    parser.add_argument(
        "--drain", type=positive, default=10.0, help="seconds that the end may take (default: %(default)s)"
    )
    parser.add_argument(
        "--remember",
        type=whole(1),
        default=ANSWERS_REMEMBERED,
        help="answers kept by request id (default: %(default)s)",
    )
    parser.add_argument(
        "--container", action="store_true", help="brokers from KAFKA_BOOTSTRAP_SERVERS, every address, port 5000"
    )
    parser.add_argument("--fresh", action="store_true", help="start with an empty world, whatever the topic holds")
    for option in {option.name: option for way in WAYS for option in log_class(way).options}.values():
        given: dict[str, Any] = {"dest": option.name, "type": option.read, "default": option.default}
        parser.add_argument(option.switch, **given, metavar=option.metavar, help=option.meaning)
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="end at once when standard input closes, as its parent's end does",
    )
    return parser.parse_args(argv)


def serve_container() -> int:
    """Make the topic and serve on every address until SIGTERM; KAFKA_BOOTSTRAP_SERVERS names the brokers."""
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        raise LabError("KAFKA_BOOTSTRAP_SERVERS is not set", "Set it to host:port of a broker.")
    topics.create_topic(connection_named(servers), CONTAINER_TOPIC)
    # Every address of the container; the compose file publishes it on the host's loopback only.
    return main(["--bootstrap", servers, "--topic", CONTAINER_TOPIC, "--host", "0.0.0.0", "--port", "5000"])  # noqa: S104


if __name__ == "__main__":
    skip_pandas()
    raise SystemExit(run(main))
