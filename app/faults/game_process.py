"""A game in a process of its own, which can be killed, paused, stopped, and started again at the same address."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import requests

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.delivery.ways import arguments, log_class
from streaming_lab.errors import LabError
from streaming_lab.faults.machine import Machine
from streaming_lab.game.players import GUILDS
from streaming_lab.game.rules import World
from streaming_lab.paths import SOURCE
from streaming_lab.waiting import wait_until

# A game's last words on events that it did not deliver: how many, and their ids.
UNDELIVERED = re.compile(r"^(\d+) events? .*:\n((?:  .+\n?)*)", re.MULTILINE)


class GameFailed(LabError):
    """A game that did not start, or did not end, in time."""


@dataclass(frozen=True)
class ExitReport:
    """How a game ended: its exit code, how many events it said were not delivered, and which ones."""

    code: int
    left: int
    named: frozenset[str] = frozenset()


class ServedProcess:
    """A game's process on a leash: it ends with this process, however this process ends.

    `launch` and `begin_stop` return at once, so that several games can be started or stopped side by side;
    `await_ready` and `await_end` wait. What it says is in `folder`, in an `out` and an `errors` file of each start.
    With a `machine` its clock, its disk and its power are its own.
    """

    def __init__(self, folder: Path, command: Sequence[str], machine: Machine | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.url = ""
        self.exit_reports: list[ExitReport] = []  # of each end after a SIGTERM
        self.machine = machine
        self._command = list(command)
        self._drain = 0.0
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Is there a process that has not ended?"""
        return self._process is not None and self._process.poll() is None

    def launch(self, drain: float) -> None:
        """Start it, on the port that it had before; `drain` is the seconds that its end may take.

        A first start is quick because it passes the (new, empty) topic over; later ones rebuild the world from it.
        """
        self._release()
        self._drain = drain
        self._starts += 1
        again = ["--port", self.url.rpartition(":")[2]] if self.url else ["--fresh"]
        with self._file("out").open("wb") as out, self._file("errors").open("wb") as errors:
            self._process = subprocess.Popen(
                [*self._command, *again, "--drain", str(drain)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=errors,
                cwd=SOURCE,
                env=self.machine.environment if self.machine else None,
            )

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
        assert self._process is not None
        try:
            code = self._process.wait(self._drain + 30)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise GameFailed(f"the game did not end within {error.timeout:g} s of SIGTERM", "Try again.") from error
        self._release()
        named = UNDELIVERED.search(self.errors())
        left, ids = (int(named[1]), named[2].split()) if named else (0, [])
        self.exit_reports.append(ExitReport(code, left, frozenset(ids)))

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._release()

    def errors(self) -> str:
        """What it wrote to stderr since its last start."""
        return self._file("errors").read_text(errors="replace").strip()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def _release(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}-{self._starts}.txt"


class GameProcess(ServedProcess):
    """`python -m streaming_lab.game`; its outbox is in `folder`, too, on its machine's disk if it has one."""

    def __init__(
        self,
        connection: Connection,
        topic: str,
        way: str,
        folder: Path,
        options: Sequence[str] = (),
        machines: Path | None = None,
    ) -> None:
        command = [sys.executable, "-m", "streaming_lab.game", "--exit-with-parent"]
        command += ["--bootstrap", addresses(connection), "--topic", topic, "--way", way]
        settings = log_class(way).settings_in(folder)
        command += [*arguments(way, settings), *options]
        disk = Path(settings.get("path", folder / "nothing"))
        super().__init__(folder, command, Machine(machines, disk, folder / "machine") if machines else None)


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
