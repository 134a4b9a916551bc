"""The ways to log that are measured: the lab's, what people write by hand, and two floors. A game process for each.

Run as a program, it serves the lab's game with one of them: variants.py NAME SERVERS TOPIC FOLDER
It prints `ready URL`, and at its end (SIGTERM) the number of events it answered 200.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import environment
from benchmarks.logs import AppendAlone, ConfluentEach, FsyncAlone, KafkaPython
from streaming_lab.client.connection import Connection, addresses, connection_for
from streaming_lab.delivery.outcome import Counts
from streaming_lab.delivery.ways import WAYS, log_class, open_log
from streaming_lab.errors import LabError

PEERS = ("send() linger 0", "send() linger 5", "send().get()", "confluent each")
FLOORS = ("append alone", "fsync alone")
VARIANTS = (*WAYS, *PEERS, *FLOORS)
UNLOGGED = ("none", "fsync alone")  # nothing of these is in the topic
GAME_TIMEOUT = 60.0  # seconds for a game to start, and to deliver what it has at its end


def variant(name: str, connection: Connection, topic: str, folder: Path) -> Any:
    """The log of that name, connected."""
    if name in WAYS:
        log = open_log(name, connection, topic, **log_class(name).settings_in(folder))
        log.connect()
        return log
    if name == "confluent each":
        return ConfluentEach(connection, topic)
    if name == "append alone":
        return AppendAlone(connection, topic)
    if name == "fsync alone":
        return FsyncAlone(connection, topic, folder)
    return KafkaPython(connection, topic, linger_ms=5 if name.endswith("5") else 0, wait=name.endswith("get()"))


@contextmanager
def playing(name: str, connection: Connection, topic: str, folder: Path) -> Iterator[tuple[str, list[Counts]]]:
    """A game process that logs this way: its URL, and a list that holds its counts once the block has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, name, addresses(connection), topic, str(folder)]
    ended: list[Counts] = []
    with subprocess.Popen(command, env=environment.importing(), stdout=subprocess.PIPE, text=True) as game:
        try:
            ready = environment.next_line(game, GAME_TIMEOUT).split()
            if ready[:1] != ["ready"]:
                raise LabError(f"the game with {name} did not start", "Its last words are above.")
            yield ready[1], ended
            game.send_signal(signal.SIGTERM)
            last = environment.next_line(game, GAME_TIMEOUT)
            if not last:
                raise LabError(f"the game with {name} did not end in {GAME_TIMEOUT:.0f} s", "Is the broker well?")
            ended.append(Counts(**json.loads(last)))
        finally:
            game.kill()


def _serve(name: str, servers: str, topic: str, folder: str) -> int:
    from streaming_lab.game.server import GameServer
    from streaming_lab.game.web import create_app

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    log = variant(name, connection_for(servers), topic, Path(folder))
    with GameServer(create_app(log)) as server:
        print("ready", server.url, flush=True)
        while not stopped.wait(0.5):  # a signal that another thread took is handled when this one wakes
            pass
    if hasattr(log, "close"):
        log.close(timeout=30.0)
    print(json.dumps(vars(log.counts)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(_serve(*sys.argv[1:]))
