"""The frame of every script: numbers out of range are refused, and a signal ends it by its clean-up."""

import argparse
import ast
import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streaming_lab import cli
from streaming_lab.cli import DOCTOR, positive, run, whole
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT

IGNORING = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")  # as under nohup; the command comes behind it
PROGRAM = """
import time
from streaming_lab.cli import run

def main():
    try:
        print("runs", flush=True)
        while True:  # a signal just before a long sleep would be seen after it
            time.sleep(0.05)
    finally:
        print("cleaned up", flush=True)

raise SystemExit(run(main))
"""
SOURCES = [path for room in ("app", "scripts") for path in sorted((PROJECT / room).rglob("*.py"))]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole(1), "1", 1),
        (whole(0, 9), "9", 9),
        (whole(0), "1_000", 1000),
        (positive, "0.5", 0.5),
        (positive, "1e3", 1000),
    ],
)
def test_a_number_within_its_limits(kind: Callable[[str], float], text: str, value: float) -> None:
    """As Python writes it."""
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (whole(1), "0", "'0' is not a whole number of at least 1"),
        (whole(1), "1.5", "'1.5' is not a whole number of at least 1"),
        (whole(0, 65535), "65536", "'65536' is not a whole number from 0 to 65535"),
        (whole(0), "-1", "'-1' is not a whole number of at least 0"),
        (positive, "0", "'0' is not a positive number up to 1e+09"),
        (positive, "-1", "'-1' is not a positive number up to 1e+09"),
        (positive, "inf", "'inf' is not a positive number up to 1e+09"),
        (positive, "nan", "'nan' is not a positive number up to 1e+09"),
        (positive, "ten", "'ten' is not a positive number up to 1e+09"),
    ],
)
def test_any_other_is_refused(kind: Callable[[str], float], text: str, said: str) -> None:
    """The message has the typed text and the accepted range."""
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        kind(text)
    assert str(caught.value) == said


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_option_takes_just_any_number(path: Path) -> None:
    """`type=int` would let zero rounds and port 99999 through, to end as a traceback somewhere else."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))) if isinstance(node, ast.Call)]
    kinds = [word.value for call in calls for word in call.keywords if word.arg == "type"]
    assert [ast.unparse(kind) for kind in kinds if ast.unparse(kind) in ("int", "float")] == []


def test_an_error_is_shown_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """A `LabError` may carry a record's bytes: escaped, and its lines stay lines."""

    def main() -> int:
        raise LabError("topic '\x1b]0;x\x07' is no topic", "a cure")

    assert (cli.run(main), capsys.readouterr().err) == (2, "topic '\\x1b]0;x\\x07' is no topic\na cure\n")


@pytest.mark.parametrize(
    ("number", "under"), [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGTERM, IGNORING), (signal.SIGHUP, ())]
)
def test_a_signal_ends_a_script_by_way_of_its_cleaning_up(number: int, under: tuple[str, ...]) -> None:
    """SIGINT, SIGHUP, SIGTERM, and SIGTERM where SIGINT is ignored: one word, exit code 130."""
    command = [*under, sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            process.send_signal(number)
            said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, ("cleaned up\n", "interrupted\n"))


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(errno.EROFS, "Read-only file system", "/x/y"), 2), (OSError(errno.EBADF, "bad"), None)]
)
def test_a_disk_that_takes_nothing_is_told_with_the_doctor(
    error: OSError, code: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A read-only checkout and a full disk are no bugs; any other OSError keeps its traceback."""

    def main() -> int:
        raise error

    if code is None:
        with pytest.raises(OSError, match="bad"):
            run(main)
        return
    assert run(main) == code
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "cannot write /x/y: Read-only file system"
    assert "LAB_HOME, LAB_BUILD and LAB_CACHE" in second
    assert third == DOCTOR
