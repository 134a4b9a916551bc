"""Reads the lock, and compares it with what the running Python has, with nothing but the standard library."""

import contextlib
import importlib.util
import os
import re
import sys
import tempfile

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILE = os.path.join(PROJECT, "requirements.txt")  # what a run needs
CHECK_FILE = os.path.join(PROJECT, "requirements-check.txt")  # what only the checks need
SCALE_FILE = os.path.join(PROJECT, "requirements-scale.txt")  # what only the engine `dask` needs
UV = re.compile(r"^uv==.*\\\n(?:\s+--hash=.*\n)+", re.MULTILINE)


def held(path=FILE):
    """Tell whether the running environment has every version that a lock names for this platform.

    Only names of folders are read: 20 ms.
    """
    found = installed()
    wanted = [entry for entry in locked(path) if entry[0] != "uv"]  # the set-up brings its own
    if not found or any(name not in found for name, _, marker in wanted if not marker):
        return False  # the usual case, a bare Python: answered without evaluating one marker
    if not importlib.util.find_spec("packaging"):
        return False
    from packaging.markers import Marker

    return all(
        found.get(name) == version for name, version, marker in wanted if not marker or Marker(marker).evaluate()
    )


def installed():
    """Return name -> version of what is on `sys.path`, from the names of the metadata folders; the first one wins."""
    found = {}
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for entry in os.listdir(folder or "."):
                match = re.match(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info$", entry)
                if match:
                    found.setdefault(plain(match.group(1)), match.group(2))
    return found


def locked(path=FILE):
    """Yield (name, version, marker or '') of every package in a lock."""
    with open(path, encoding="utf8") as file:
        for line in file:
            match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)(?: *; *([^\\]+))?", line)
            if match:
                yield plain(match.group(1)), match.group(2), (match.group(3) or "").strip()


def plain(name):
    """Return a distribution's name as PyPA normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@contextlib.contextmanager
def uv_alone():
    """Yield the path of a requirements file with uv's own entry of the lock, hashes included."""
    with temporary(UV.search(read_lock()).group(0).rstrip().rstrip("\\") + "\n") as path:
        yield path


@contextlib.contextmanager
def without_uv():
    """Yield the path of the lock without uv, which no run needs."""
    with temporary(UV.sub("", read_lock())) as path:
        yield path


@contextlib.contextmanager
def temporary(text):
    """Yield the path of a requirements file with that text."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "requirements.txt")
        with open(path, "w", encoding="utf8") as file:
            file.write(text)
        yield path


def read_lock():
    """Return the text of the lock."""
    with open(FILE, encoding="utf8") as file:
        return file.read()
