"""Finds or downloads a supported Python, with nothing but the standard library of Python 3.8 and later.

The search looks at the project's `.venv`; at `python3.14`, `python3.13` and so on in each folder of the PATH; at what
an earlier run downloaded to `.lab/python`; at pyenv's versions; at what uv finds. Only then does uv download a Python:
an installed uv, else the lock's own, which pip installs.
"""

import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import requirements_lock

SUPPORTED = ((3, 11), (3, 14))
NEWEST_FIRST = [f"3.{minor}" for minor in range(SUPPORTED[1][1], SUPPORTED[0][1] - 1, -1)]
RANGE = ">={}.{},<{}.{}".format(*SUPPORTED[0], SUPPORTED[1][0], SUPPORTED[1][1] + 1)
FETCHED = "3.13"  # the version to download: not the newest, so that packages have had time to support it
SEARCH_TIMEOUT = 60.0  # seconds for the whole search
PROBE_TIMEOUT = 10.0  # seconds for one Python to tell its version
DOWNLOAD_TIMEOUT = 300.0  # seconds for each step of a download

QUESTION = """
import importlib.util, sys
print(sys.version_info[0], sys.version_info[1], int(all(map(importlib.util.find_spec, ("venv", "ensurepip")))))
"""


def supported(version):
    """Tell whether the lock was compiled for `version` (major, minor)."""
    return SUPPORTED[0] <= tuple(version) <= SUPPORTED[1]


def describe_supported():
    """Return the supported versions in words: 3.11 to 3.14."""
    return "{}.{} to {}.{}".format(*SUPPORTED[0], *SUPPORTED[1])


def find(project):
    """Return the path of the first supported Python, or None; a Python with the venv module before one without."""
    deadline, spare = time.monotonic() + SEARCH_TIMEOUT, None
    for path in candidates(project):
        if time.monotonic() > deadline:
            break
        major, minor, complete = ask(path)
        if supported((major, minor)):
            if complete:
                return path
            spare = spare or path
    return spare


def candidates(project):
    """Yield the paths that may be a supported Python, the preferred ones first."""
    yield from glob.glob(os.path.join(project, ".venv", "bin", "python"))
    for version in NEWEST_FIRST:
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            yield from glob.glob(os.path.join(glob.escape(folder), "python" + version))
    yield from downloaded(project)
    pyenv = os.environ.get("PYENV_ROOT") or os.path.join(os.path.expanduser("~"), ".pyenv")
    yield from newest_first(glob.glob(os.path.join(glob.escape(pyenv), "versions", "3.*", "bin", "python3")))
    uv = existing_uv()
    if uv:
        command = [uv, "python", "find", "--no-python-downloads", "--system", RANGE]
        yield from output(command, PROBE_TIMEOUT).splitlines()[-1:]


def downloaded(project):
    """Return the Pythons that earlier runs downloaded."""
    folder = os.path.join(glob.escape(project), ".lab", "python")
    return newest_first(glob.glob(os.path.join(folder, "cpython-3.*", "bin", "python3")))


def newest_first(paths):
    """Sort paths by the version in their folder's name, the newest first; unsupported versions are left out."""
    found = [(tuple(map(int, re.findall(r"\d+", re.findall(r"3\.[\d.]*", path)[-1]))), path) for path in paths]
    return [path for version, path in sorted(found, reverse=True) if supported(version[:2])]


def existing_uv():
    """Return the uv on the PATH, or where its installer puts it, or None."""
    home = os.path.expanduser("~")
    return shutil.which("uv") or next(filter(os.path.exists, [home + "/.local/bin/uv", home + "/.cargo/bin/uv"]), None)


def ask(path):
    """Return (major, minor, can make a virtual environment); (0, 0, 0) for a file that does not run."""
    try:
        major, minor, complete = map(int, output([path, "-Ic", QUESTION], PROBE_TIMEOUT).split())
    except ValueError:
        return 0, 0, 0
    return major, minor, complete


def download(project):
    """Let uv install a Python into `.lab/python`; return its path, or None where network or machine do not allow it."""
    environment = dict(os.environ)
    environment.update(UV_PYTHON_INSTALL_DIR=os.path.join(project, ".lab", "python"), UV_PYTHON_INSTALL_BIN="0")
    with uv_of_any_kind() as uv:
        if uv:
            output([uv, "--quiet", "python", "install", FETCHED], DOWNLOAD_TIMEOUT, environment)
    return next(iter(downloaded(project)), None)


@contextlib.contextmanager
def uv_of_any_kind():
    """Yield the path of a uv: the installed one, else the lock's in a temporary environment, else None."""
    uv = existing_uv()
    if uv:
        yield uv
        return
    with tempfile.TemporaryDirectory() as folder, requirements_lock.uv_alone() as requirement:
        output([sys.executable, "-m", "venv", folder], DOWNLOAD_TIMEOUT)
        pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        output([*pip, "--require-hashes", "-r", requirement], DOWNLOAD_TIMEOUT)
        uv = os.path.join(folder, "bin", "uv")
        yield uv if os.path.exists(uv) else None


def output(command, timeout, environment=None):
    """Return what a command prints; an empty text where it fails, is missing, or takes over `timeout` seconds."""
    try:
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=timeout,
            check=False,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout if run.returncode == 0 else ""
