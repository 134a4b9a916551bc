"""Reads the lock, and compares it with what the running Python has, with nothing but the standard library."""

import contextlib
import importlib.util
import os
import re
import sys
import tempfile

FILE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "requirements.txt")


def held():
    """Tell whether the running environment has every version that the lock names for this platform.

    Only names of folders are read: 20 ms.
    """
    found = installed()
    wanted = list(locked())
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


def locked():
    """Yield (name, version, marker or '') of every package in the lock."""
    with open(FILE, encoding="utf8") as file:
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
    with open(FILE, encoding="utf8") as file:
        entry = re.search(r"^uv==.*\\\n(?:\s+--hash=.*\n)+", file.read(), re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "uv.txt")
        with open(path, "w", encoding="utf8") as file:
            file.write(entry.group(0).rstrip().rstrip("\\") + "\n")
        yield path
