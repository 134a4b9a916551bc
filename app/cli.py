"""How every script ends, and how it reads its numbers: the exit code tells the truth."""

import argparse
import signal
import sys
from collections.abc import Callable
from types import FrameType

from streaming_lab import __version__, settings
from streaming_lab.errors import LabError

VERSION = f"streaming-lab {__version__}"
LONGEST = 1e9  # seconds, thirty years; Python's locks do not wait longer than 292


def run(main: Callable[[], int]) -> int:
    """Call `main`; a `LabError` becomes two plain lines and 2, Ctrl-C and SIGTERM 130; a bug keeps its traceback.

    Before that it checks the settings, and answers `--version`.
    """
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"{VERSION}\n")
        return 0
    signal.signal(signal.SIGTERM, _interrupt)  # by default nothing that `main` has started would be ended
    try:
        settings.check()
        return main()
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does here now; also where Ctrl-C is ignored, as under nohup or in a script's background.

    There Python has no handler for SIGINT, and a SIGINT that is raised in place of SIGTERM would do nothing at all.
    """
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """For argparse: a whole number from `low` up, to `high` if there is one."""

    def number(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = low - 1
        if found < low or (high is not None and found > high):
            limits = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {limits}")
        return found

    return number


def positive(text: str) -> float:
    """For argparse: a number of seconds, or of anything else, above zero."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number up to {LONGEST:.0e}")
    return found
