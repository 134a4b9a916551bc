"""A hosted game from outside: probed before any cluster starts, then started in a process and folder of its own."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streaming_lab.client.connection import Connection, connection_line
from streaming_lab.errors import LabError
from streaming_lab.faults.game_process import Child, ServedProcess, Spawned
from streaming_lab.own_game.journal import JOURNAL_FILE, Story, read_journal
from streaming_lab.own_game.masks import masked_text
from streaming_lab.own_game.routes import Route
from streaming_lab.own_game.source import GameSource, find_source
from streaming_lab.paths import SOURCE, lab_home

IMPORT_TIMEOUT = 20.0  # seconds that a game may take to be imported
COPIED = 16 << 20  # bytes of a file beside the game that its scratch folder gets as a copy; a larger one is linked


@dataclass(frozen=True)
class FoundGame:
    """A game that can be imported, and its routes."""

    source: GameSource
    routes: tuple[Route, ...]


def host_command(source: GameSource, scratch: Path, *options: str) -> list[str]:
    """The command line of a game's process; -P: neither the current folder nor a script's hides a library."""
    return [
        *(sys.executable, "-P", "-m", "streaming_lab.own_game.host", source.text),
        *("--scratch", str(scratch), *options),
    ]


def probe_game(text: str, timeout: float = IMPORT_TIMEOUT) -> FoundGame:
    """Import the game in a process of its own, without a broker, and find its routes.

    Raises `LabError` for a file that is not there, can't be imported, needs a package, blocks, exits, or has no app.
    """
    source = find_source(text)
    with tempfile.TemporaryDirectory(prefix="lab-game-", ignore_cleanup_errors=True) as folder:
        scratch = lay_out_scratch(source, Path(folder, "scratch"))
        command = host_command(source, scratch, "--probe", "--stuck-after", str(timeout))
        found, ran = ask_host(command, timeout + 60)  # the process ends itself before
    if found is None and (stuck := re.search(r"^Timeout \(", ran.stderr, re.MULTILINE)):
        place = _stuck_at(ran.stderr[stuck.start() :], source)
        raise LabError(
            f"{source.name} is not imported after {timeout:g} s: it waits at {place}",
            'Put what waits into a function, or under `if __name__ == "__main__":`.',
        )
    if found is None:
        last = next(iter(ran.stderr.strip().splitlines()[-1:]), "no word")
        raise LabError(
            f"{source.name} ended its process while it was imported (exit code {ran.returncode}): {last}",
            "Does it start with `flask --app` in its own folder?",
        )
    routes = tuple(Route.from_json(raw) for raw in found["routes"])
    if not routes:
        raise LabError(f"{source.name} has a Flask app without routes", "Is it the right app? -p game FILE:the_app")
    return FoundGame(source, routes)


def ask_host(command: list[str], timeout: float) -> "tuple[dict[str, Any] | None, subprocess.CompletedProcess[str]]":
    """The host's answer, None without one, and how its process ended; raises the `LabError` that it tells."""
    ran = subprocess.run(
        command,
        cwd=SOURCE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    answer = ran.stdout.strip().splitlines()
    found = json.loads(answer[-1]) if answer else None
    if found is not None and "problem" in found:
        raise LabError(found["problem"], found["cure"])
    return found, ran


def _stuck_at(said: str, source: GameSource) -> str:
    """The game's own line in faulthandler's dump, innermost first."""
    lines = re.findall(r'File "([^"]+)", line (\d+)', said)
    own = [f"{Path(file).name}:{line}" for file, line in lines if Path(file).is_relative_to(source.root)]
    return own[0] if own else "a place outside its own files"


def lay_out_scratch(source: GameSource, scratch: Path) -> Path:
    """The game's working folder: what lies beside the game, as copies (large files and folders: links).

    The game's imports come from its own folder; what it writes into its working folder goes with that.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    for beside in sorted(source.root.iterdir()):
        target = scratch / beside.name
        if beside.name.startswith(".") or beside.name == "__pycache__" or target.exists():
            continue
        if beside.is_file() and beside.stat().st_size <= COPIED:
            shutil.copyfile(beside, target)
        else:
            target.symlink_to(beside)
    return scratch


class HostedGame(ServedProcess):
    """A person's game in a process of its own, on the lab's cluster; `prefix` begins its topics' names there.

    The connection, which may hold a password, reaches the process through its standard input alone.
    """

    def __init__(self, connection: Connection, source: GameSource, folder: Path, prefix: str) -> None:
        self.source = source
        self.scratch = lay_out_scratch(source, folder / "scratch")
        self._connection = connection_line(connection)
        super().__init__(folder, host_command(source, self.scratch, "--prefix", prefix))

    def _start(self, command: Sequence[str]) -> Child:
        child = super()._start(command)
        assert isinstance(child, Spawned)
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: `await_ready` tells why
            child.stdin.write(self._connection.encode())
            child.stdin.flush()
        return child

    def printed(self) -> list[str]:
        """The lines that the game wrote to stdout and stderr over all its starts, without secrets."""
        files = sorted(self.folder.glob("errors-*.txt"))
        text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
        return [masked_text(line) for line in text.splitlines() if line.strip()]

    def story(self) -> Story:
        """What the game's process has noted of its requests and sends so far, over all its starts."""
        return read_journal(self.scratch / JOURNAL_FILE)


@contextmanager
def game_in_folder(connection: Connection, source: GameSource, run: str) -> Iterator[HostedGame]:
    """A hosted game, not started, in a folder of its own in the lab's home, which goes when the block ends."""
    games = lab_home() / "games"
    games.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="game-", dir=games, ignore_cleanup_errors=True) as folder:
        yield HostedGame(connection, source, Path(folder), f"game-{run}-")
