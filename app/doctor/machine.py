"""Checks of the machine with nothing but Python: version, disk, memory, limits, clock, files that hide a library."""

import importlib.util
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from streaming_lab import settings
from streaming_lab.doctor.symptom import Symptom
from streaming_lab.paths import PROJECT, build_folder, cache_folder, lab_home, space_of

SUPPORTED_PYTHON = ((3, 11), (3, 14))
SETUP_BYTES = 0.8e9  # that the environment and Kafka's jars take
RUN_BYTES = 0.2e9  # for a run's data and report
BROKER_BYTES = 350e6  # of memory that one broker takes
_OPEN_FILES = 512
_ADDRESS_SPACE = 4e9  # bytes that a JVM reserves, most of them never used
_HIDEABLE = (
    "kafka",
    "flask",
    "requests",
    "pandas",
    "numpy",
    "pyarrow",
    "papermill",
    "select",
    "json",
    "queue",
    "types",
)


def check_python() -> Iterator[Symptom]:
    """The Python that runs this, and its venv module."""
    low, high = SUPPORTED_PYTHON
    here = sys.version_info[:2]
    if not low <= here <= high:
        wanted = f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
        what = f"Python {here[0]}.{here[1]} runs this; the lab needs {wanted}"
        yield Symptom(
            "python",
            "warning",
            what,
            "another one is looked for, or downloaded",
            f"Install Python {high[0]}.{high[1]}.",
        )
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing and not (PROJECT / ".venv").is_dir():
        cure = "Debian and Ubuntu: sudo apt install python3-venv"
        what = f"this Python has no module {missing[0]}"
        yield Symptom("python", "stands in the way", what, "the first run makes an environment with it", cure)


def check_variables() -> Iterator[Symptom]:
    """The LAB_ variables; `LabError` names a wrong one."""
    for setting in settings.SETTINGS:
        setting.get()
    for line in settings.complaints(os.environ):
        what, _, hint = line.partition("; ")
        yield Symptom("settings", "warning", what, "what was meant by it does not happen", f"Correct the name; {hint}")
    port = os.environ.get("KAFKA_PORT", "")
    if port and not port.isdigit():
        what = f"KAFKA_PORT is {port!r}, which is no port"
        why = "Kubernetes sets it for a service called kafka; `-p cluster compose` would take it for the port"
        yield Symptom("settings", "warning", what, why, "env -u KAFKA_PORT before the command")


def check_disk() -> Iterator[Symptom]:
    """Free space, and the right to write, in each folder of the lab."""
    cure = "python3 scripts/clean.py frees what can be made again; or set LAB_HOME, LAB_CACHE, LAB_BUILD elsewhere"
    folders = {"project": PROJECT, "LAB_HOME": lab_home(), "LAB_CACHE": cache_folder(), "LAB_BUILD": build_folder()}
    seen = set()
    for name, folder in {**folders, "temporary": Path(tempfile.gettempdir())}.items():
        there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
        if there in seen:
            continue
        seen.add(there)
        if not os.access(there, os.W_OK):
            what = f"{there} can't be written ({name})"
            yield Symptom("disk", "stands in the way", what, "the lab keeps files there", cure)
        free, needed = space_of(folder)[0], RUN_BYTES
        if name == "project" and not (PROJECT / ".venv").is_dir():
            needed = SETUP_BYTES
        if free < needed:
            what = f"{free / 1e6:,.0f} MB are free on the disk of {there} ({name}), {needed / 1e6:,.0f} MB are needed"
            yield Symptom("disk", "stands in the way", what, "a broker ends when its disk is full", cure)


def check_memory() -> Iterator[Symptom]:
    """Memory that is free now, and a container's limit."""
    for what, size in (("memory that is free", _available()), ("the container's memory limit", _limit())):
        if size is not None and size < 2 * BROKER_BYTES:
            severe = size < BROKER_BYTES
            yield Symptom(
                "memory",
                "stands in the way" if severe else "warning",
                f"{what}: {size / 1e6:,.0f} MB",
                f"a broker takes about {BROKER_BYTES / 1e6:.0f} MB, a chapter as much again",
                "Close something, or give the container or WSL more memory.",
            )


def _available() -> float | None:
    """Bytes of memory that processes can get; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024.0 if found else None


def _limit() -> float | None:
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return float(Path(file).read_text())
        except (OSError, ValueError):  # "max", or another system
            continue
    return None


def check_limits() -> Iterator[Symptom]:
    """The limits of this shell (ulimit): open files, address space."""
    files, space = resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_AS)[0]
    if files != resource.RLIM_INFINITY and files < _OPEN_FILES:
        what, why = f"this shell may open {files} files", "a broker alone opens some two hundred"
        yield Symptom("limits", "stands in the way", what, why, "ulimit -n 4096")
    if space != resource.RLIM_INFINITY and space < _ADDRESS_SPACE:
        what = f"this shell's address space is limited to {space / 1e6:,.0f} MB"
        yield Symptom("limits", "stands in the way", what, "Java reserves more than it uses", "ulimit -v unlimited")


def check_clock() -> Iterator[Symptom]:
    """A clock that is behind the project's own files."""
    newest = max(file.stat().st_mtime for file in (PROJECT / "requirements.txt", PROJECT / "README.md"))
    if time.time() < newest - 3600:
        now = time.strftime("%d %B %Y, %H:%M", time.localtime())
        what = f"the clock says {now}, and the project's files are younger"
        why = "certificates count as not yet valid, and a report's times are wrong"
        yield Symptom("clock", "warning", what, why, "sudo hwclock -s (WSL), or switch on the system's time service")


def check_hiding_files() -> Iterator[Symptom]:
    """Files that hide a library: beside the chapters, in this folder, on PYTHONPATH."""
    folders = [Path.cwd(), PROJECT / "notebooks", *map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(":")))]
    for folder in dict.fromkeys(folders):
        for name in _HIDEABLE:
            for file in (folder / f"{name}.py", folder / name / "__init__.py"):
                if file.is_file():
                    what = f"{file} has the name of a library"
                    why = f"programs that start in {folder} import it in place of the library {name}"
                    yield Symptom("hiding files", "warning", what, why, f"mv {file.name} my_{file.name}")
