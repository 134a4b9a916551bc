"""What the tests need of the machine beside Python: a peer that is missing is a named skip, and in CI a failure."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from streaming_lab.reader.decode import native


def missing(what: str) -> NoReturn:
    """Skip the test that needs `what`; fail it in CI, which has everything."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


def needs(program: str, *others: str) -> str:
    """The path of this program, or of the first of the `others` that do as well; `missing` where there is none."""
    return next(filter(None, map(shutil.which, (program, *others))), None) or missing(program)


CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_CHROME = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def needs_chromium() -> str:
    """The path of the system's Chromium or Chrome."""
    return str(MAC_CHROME) if MAC_CHROME.exists() else needs(*CHROMIUM)


def needs_compiler() -> None:
    """A C compiler, whatever its name."""
    if not any(map(shutil.which, ("gcc", "clang", "cc"))):
        missing("a C compiler")


def needs_native() -> None:
    """The native core, built from the source that is here."""
    if not native.core_available():
        missing(f"the native core ({native.core_status()})")
