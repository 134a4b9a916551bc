"""A game in a process of its own, which can be killed, paused, stopped, and started again at the same address."""

import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

import requests

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.delivery.ways import arguments, log_class
from streaming_lab.errors import LabError
from streaming_lab.faults.machine import Machine
from streaming_lab.game.moves import GUILDS
from streaming_lab.game.rules import World
from streaming_lab.paths import SOURCE
from streaming_lab.processes import await_freeze
from streaming_lab.waiting import wait_until

# A game's last words on events that it did not deliver: how many, and their ids.
UNDELIVERED = re.compile(r"^(\d+) events? .*:\n((?:  .+\n?)*)", re.MULTILINE)


class GameFailed(LabError):
    """A game that did not start, or did not end, in time."""

    at_start = True


KILL_TIMEOUT = 60.0  # seconds until a killed process is gone
TEMPLATE_TIMEOUT = 60.0  # seconds for an answer; the first one comes after the imports


class GameTemplate:
    """The process that imports the game once and forks each game, `streaming_lab.game.template`; `with` ends it.

    With the template end its games, however this process ends. `environment` is theirs, too.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(TEMPLATE_TIMEOUT)
        self._requests = self._socket.makefile("w", encoding="utf-8")  # two files: see the template's
        self._answers = self._socket.makefile("r", encoding="utf-8")
        self._ids, self._lock = itertools.count(), threading.Lock()
        with theirs:
            command = [sys.executable, "-m", "streaming_lab.game.template"]
            self._process = subprocess.Popen(  # in a group of its own: Ctrl-C is its starter's
                command, stdin=theirs.fileno(), cwd=SOURCE, env=environment, process_group=0
            )

    def ask(self, **request: Any) -> Any:
        """The template's answer to a request; `GameFailed` when there is none."""
        with self._lock:
            number = next(self._ids)
            try:
                self._requests.write(json.dumps({"id": number, **request}) + "\n")
                self._requests.flush()
                for line in self._answers:  # the first may answer a request that Ctrl-C cut off
                    if (answer := json.loads(line))["id"] == number:
                        return answer["answer"]
            except (OSError, ValueError) as error:  # ValueError: closed
                raise GameFailed(f"the games' template does not answer: {error}", "Try again.") from error
        raise GameFailed("the games' template has ended", "Try again.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError, ValueError), self._answers:
            self._requests.close()
        self._socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class ExitReport:
    """How a game ended: its exit code, how many events it said were not delivered, and which ones."""

    code: int
    left: int
    named: frozenset[str] = frozenset()


class Child(Protocol):
    """A process that was started: its exit code (None while it runs), a signal to it unless it ended, and its leash."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def send_signal(self, number: int, /) -> None: ...
    def release(self) -> None: ...


class Spawned(subprocess.Popen[bytes]):
    """A process that reads its starter's end from its standard input."""

    def release(self) -> None:
        """Close the leash."""
        if self.stdin is not None:
            self.stdin.close()


@dataclass(frozen=True)
class Forked:
    """A process of a template, which ends with it."""

    template: GameTemplate
    pid: int

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        code: int | None = self.template.ask(poll=self.pid)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it unless it ended."""
        self.template.ask(signal=self.pid, number=number)

    def release(self) -> None:
        """Nothing: its template is its leash."""


class ServedProcess:
    """A game's process: it ends with this process, however this process ends.

    `launch` and `begin_stop` return at once, so that several games can be started or stopped side by side;
    `await_ready` and `await_end` wait. What it says is in `folder`, in an `out` and an `errors` file of each start.
    """

    machine: Machine | None = None  # its own clock, disk and power

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.url = ""
        self.exit_reports: list[ExitReport] = []  # of each end after a SIGTERM
        self._command = list(command)
        self._drain = 0.0
        self._starts = 0
        self._child: Child | None = None  # until its end is known

    @property
    def running(self) -> bool:
        """Is there a process that has not ended?"""
        return self._child is not None and self._child.poll() is None

    def launch(self, drain: float) -> None:
        """Start it, on the port that it had before; `drain` is the seconds that its end may take.

        A first start is quick because it passes the (new, empty) topic over; later ones rebuild the world from it.
        """
        self._release()
        self._drain = drain
        self._starts += 1
        again = ["--port", self.url.rpartition(":")[2]] if self.url else ["--fresh"]
        self._file("out").touch()
        self._file("errors").touch()
        self._child = self._start([*self._command, *again, "--drain", str(drain)])

    def _start(self, command: Sequence[str]) -> Child:
        with self._file("out").open("wb") as out, self._file("errors").open("wb") as errors:
            return Spawned(command, stdin=subprocess.PIPE, stdout=out, stderr=errors, cwd=SOURCE)

    def await_ready(self, timeout: float = 60.0) -> None:
        """Wait until it says that it is ready; one that gives up before (no broker yet) is started again, as often."""
        said = ""

        def ready() -> str:
            nonlocal said
            word, _, url = self._file("out").read_text().partition(" ")
            if word == "ready" and url.endswith("\n"):
                return url.strip()
            if not self.running:
                said = self.errors()
                self.launch(self._drain)
            return ""

        def late() -> GameFailed:
            self.kill()
            return GameFailed(f"the game was not ready after {timeout:g} s: {self.errors() or said}", "Try again.")

        self.url = wait_until(ready, timeout, late)

    def begin_stop(self) -> None:
        """SIGTERM: requests in hand are answered, then events that wait are delivered, for `drain` seconds."""
        self._signal(signal.SIGTERM)

    def await_end(self) -> None:
        """Wait for the end after `begin_stop`, and keep what it said it left behind."""
        patience = self._drain + 30

        def late() -> GameFailed:
            self.kill()
            return GameFailed(f"the game did not end within {patience:g} s of SIGTERM", "Try again.")

        wait_until(lambda: not self.running, patience, late)
        assert self._child is not None
        code = self._child.poll()
        assert code is not None
        self._release()
        named = UNDELIVERED.search(self.errors())
        left, ids = (int(named[1]), named[2].split()) if named else (0, [])
        self.exit_reports.append(ExitReport(code, left, frozenset(ids)))

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)
        assert self._child is not None
        await_freeze(self._child.pid)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; nothing when it does not run."""
        if self._child is not None:
            self._signal(signal.SIGKILL)
            wait_until(lambda: not self.running, KILL_TIMEOUT)
            self._release()

    def errors(self) -> str:
        """What it wrote to stderr since its last start."""
        return self._file("errors").read_text(errors="replace").strip()

    def _signal(self, number: int) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def _release(self) -> None:
        if self._child is not None:
            self._child.release()
        self._child = None

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}-{self._starts}.txt"


class GameProcess(ServedProcess):
    """`python -m streaming_lab.game`, forked by a template; its outbox is in `folder`, too.

    On a `machine` its clock, its outbox's disk and its power are its own: the template runs on it as well.
    """

    def __init__(
        self,
        template: GameTemplate,
        connection: Connection,
        topic: str,
        way: str,
        folder: Path,
        options: Sequence[str] = (),
        machine: Machine | None = None,
    ) -> None:
        command = ["--exit-with-parent", "--bootstrap", addresses(connection), "--topic", topic, "--way", way]
        super().__init__(folder, [*command, *arguments(way, log_class(way).settings_in(folder)), *options])
        self.machine = machine
        self._template = template

    def _start(self, command: Sequence[str]) -> Child:
        files = {name: str(self._file(name)) for name in ("out", "errors")}
        return Forked(self._template, self._template.ask(start=list(command), **files))


# A snapshot of a running game, taken from outside by HEAD requests: nothing in the game changes.


PlayerSnapshot: TypeAlias = Mapping[str, tuple[bool, str | None]]  # player -> (has a sword?, guild)

UNDECIDED_METRICS = re.compile(r"^game_(?:events_queued|players_undecided) (\S+)$", re.MULTILINE)


def snapshot_players(url: str, players: Iterable[str], timeout: float = 60.0) -> PlayerSnapshot:
    """The players as the game at `url` has them, once every event is decided: `LabError` after `timeout` seconds.

    Asked with HEAD, which has the status that the command would have, and does nothing.
    """
    with requests.Session() as session:
        session.trust_env = False
        _await_decisions(session, url, timeout)
        return {player: _look_at(session, url, player) for player in players}


def snapshot_of_world(world: World, players: Iterable[str]) -> PlayerSnapshot:
    """The same of a world at hand."""
    return {name: (world.player(name).swords > 0, world.player(name).guild) for name in players}


def _await_decisions(session: requests.Session, url: str, timeout: float) -> None:
    def decided() -> bool:
        return not any(
            float(value) for value in UNDECIDED_METRICS.findall(session.get(f"{url}/metrics", timeout=15).text)
        )

    problem = LabError(f"the game at {url} has undecided events after {timeout:g} s", "Is the broker back?")
    wait_until(decided, timeout, lambda: problem, step=0.02)


def _look_at(session: requests.Session, url: str, player: str) -> tuple[bool, str | None]:
    def would(path: str) -> bool:
        return session.head(f"{url}{path}", timeout=15).status_code == 200

    joined = [guild for guild in GUILDS if not would(f"/join_a_guild?player={player}&guild={guild}")]
    return would(f"/sell_a_sword?player={player}"), joined[0] if joined else None
