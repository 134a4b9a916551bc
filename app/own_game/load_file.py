"""A file of `ab` and `curl` lines, run as they stand, but for the address and without a shell."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from streaming_lab.errors import LabError
from streaming_lab.game.players import DTYPES
from streaming_lab.own_game.journal import ServedRequest

PROGRAMS = {
    name: f"Debian and Ubuntu: sudo apt install {package}"
    for name, package in (("ab", "apache2-utils"), ("curl", "curl"))
}
LINE_LIMIT = 300.0  # seconds for one line
_EXEC = re.compile(r"^(?:sudo\s+)?docker(?:-compose|\s+compose)?\s+exec\s+(?:-\S+\s+)*\S+\s+")
_ADDRESS = re.compile(r"^(?:https?://[^/?#]+|(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::\d+)?(?=[/?#]|$))")


@dataclass(frozen=True)
class LoadLine:
    """One line of the file: its number, and the words of its command."""

    number: int
    words: tuple[str, ...]

    def against(self, url: str) -> list[str]:
        """The command with the game's address in place of its own."""
        return [_ADDRESS.sub(url, word) if _ADDRESS.match(word) else word for word in self.words]


def read_load(file: str) -> list[LoadLine]:
    """The commands of a load file; raises `LabError` for any other line, and for a missing program."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"load = {file}: {getattr(error, 'strerror', None) or error}", "Name a text file.") from error
    joined = re.sub(r"\\\n", lambda _: " ", text)
    lines = [one for number, line in enumerate(joined.splitlines(), 1) if (one := _line(number, line, file))]
    if not lines:
        raise LabError(f"load = {file} has no line with ab or curl", "Such as: ab -n 10 http://localhost:5000/")
    for program in sorted({line.words[0] for line in lines}):
        if shutil.which(program) is None:
            raise LabError(f"load = {file} needs {program}, which is not installed", PROGRAMS[program])
    return lines


def _line(number: int, line: str, file: str) -> LoadLine | None:
    line = _EXEC.sub("", line.strip())
    if not line or line.startswith("#"):
        return None
    try:
        words = tuple(shlex.split(line, comments=True))
    except ValueError as error:
        raise LabError(f"load = {file}, line {number}: {error}", "Close its quotes.") from error
    shell = [word for word in words if re.fullmatch(r"[|;&<>]+|.*;", word) or "$(" in word]
    if words[0] not in PROGRAMS or shell:
        what = f"{shell[0]} needs a shell" if shell else f"{words[0]} is neither ab nor curl"
        raise LabError(f"load = {file}, line {number}: {what}", "Keep the lines with ab and curl, one command a line.")
    if not any(_ADDRESS.match(word) for word in words[1:]):
        raise LabError(f"load = {file}, line {number}: no address of the game", "Such as http://localhost:5000/.")
    return LoadLine(number, words)


def run_load(lines: Sequence[LoadLine], file: str, url: str, check: Callable[[], None] = lambda: None) -> pd.DataFrame:
    """Run the lines one after the other, in the file's folder; a row each: line, command, exit code, its last words."""
    found = []
    for line in lines:
        check()
        try:
            ran = subprocess.run(
                line.against(url),
                cwd=Path(file).resolve().parent,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LINE_LIMIT,
            )
            code, said = ran.returncode, ran.stderr if ran.returncode else ""
        except subprocess.TimeoutExpired:
            code, said = None, f"did not end within {LINE_LIMIT:g} s"
        last = next(iter(said.strip().splitlines()[-1:]), "")
        found.append((line.number, shlex.join(line.words), code, last))
    return pd.DataFrame(found, columns=["line", "command", "exit code", "last words"])


def served_as_asked(requests: Sequence[ServedRequest]) -> pd.DataFrame:
    """The requests as the game's process answered them, in the columns of a crowd; the player is the Host header.

    What a client saw can't be told so: an answer that was lost on its way counts as given.
    """
    rows = [
        (
            one.request_id,
            one.host,
            number,
            f"{one.method} {one.rule}",
            pd.Timestamp(one.began, unit="s", tz="UTC"),
            one.status,
            one.milliseconds,
            one.error or None,
            None,
            1,
        )
        for number, one in enumerate(requests)
    ]
    return pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES)
