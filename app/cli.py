"""The frame of every script: `run` turns errors and signals into exit codes; `whole` and `positive` read numbers."""

import argparse
import errno
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from streaming_lab import __version__, settings
from streaming_lab.errors import LabError
from streaming_lab.paths import DISK_FULL_ERRNOS

VERSION = f"streaming-lab {__version__}"
DISK_ERRORS = (*DISK_FULL_ERRNOS, errno.EROFS)
DISK_CURE = "Free some space there, or set LAB_HOME, LAB_BUILD and LAB_CACHE to folders on another disk."
DOCTOR = "What else may stand in the way on this machine: python3 scripts/doctor.py"
LONGEST = 1e9  # seconds, thirty years; Python's locks do not wait longer than 292


def run(main: Callable[[], int]) -> int:
    """Check the settings, call `main` and return the exit code.

    A `LabError`, a full disk and a read-only one become two plain lines and 2, Ctrl-C, SIGTERM and SIGHUP become 130;
    a bug keeps its traceback.
    `--version` is answered here.
    """
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"{VERSION}\n")
        return 0
    signal.signal(signal.SIGTERM, _interrupt)  # Python's default ends the process without its `finally` blocks
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it: a closed terminal ends nothing there
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        settings.check()
        return main()
    except LabError as error:
        write_error(str(error))
        if error.at_start:
            write_error(DOCTOR)
        return 2
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        where = f" {error.filename}" if error.filename else ""
        write_error(f"cannot write{where}: {error.strerror}\n{DISK_CURE}\n{DOCTOR}")
        return 2
    except KeyboardInterrupt:
        write_error("interrupted")
        return 130


def write_error(text: str) -> None:
    """Write lines to stderr; a terminal that was closed can't take them."""
    with suppress(OSError):
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()


def printable(text: str) -> str:
    """`text` with each control character but the line's end escaped: a record's escape sequence steers no terminal."""
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does at this moment; also where Ctrl-C is ignored, as under nohup or in a script's background.

    There Python has no handler for SIGINT, and a SIGINT raised in place of SIGTERM would do nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


def command_parser(prog: str, description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of a script, with --version; the help keeps its lines and ends with the settings, or with `epilog`."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=settings.help_text() if epilog is None else epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `low`, and of at most `high` if given."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            limits = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {limits}")
        return value

    return number


def positive(text: str) -> float:
    """An argparse type: a number above zero, such as seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number up to {LONGEST:.0e}")
    return value
