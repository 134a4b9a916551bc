"""Frees the disk: what the lab left or can make again, in its own folders only, and never what a living cluster uses.

Standard library only: it also runs where the environment is broken.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streaming_lab import settings
from streaming_lab.cli import VERSION
from streaming_lab.paths import PROJECT, build_folder, cache_folder, lab_home

TOOLS = (".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")
SOURCES = ("app", "scripts", "tests", "notebooks")
REPORT = ("report.html", "run.json", "kernel.log", "kept", "*.parquet", "[0-9]*-*.ipynb")
HALF_WRITTEN = (".report.html.*", ".run.json.*", ".*.parquet.*", "kept/.*.json.*")


@dataclass(frozen=True)
class Heap:
    """Files and folders of one kind that may go."""

    what: str
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """The bytes on the disk that their removal frees."""
        return sum(freed_by(path) for path in self.paths)


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what would go and how much that is, ask, and remove it; 1 when something could not be removed."""
    options = _options(arguments)
    heaps = [heap for heap in find(options.all) if heap.paths]
    for line in notes():
        _say(line)
    if not heaps:
        _say("Nothing to remove.")
        return 0
    for heap in heaps:
        _say(f"{megabytes(heap.size):>10}  {heap.what}: {shortened(heap.paths)}")
    total = megabytes(sum(heap.size for heap in heaps))
    _say(f"{total:>10}  in all")
    if not options.yes and not agreed():
        _say("Nothing was removed. (Without a question: --yes)")
        return 0
    failed = [path for heap in heaps for path in heap.paths if not remove(path)]
    _say(f"Could not remove {shortened(failed)}" if failed else f"Freed {total}.")
    return 1 if failed else 0


def find(everything: bool) -> list[Heap]:
    """What may go now; `everything` adds the last report, the outboxes and the project's own environment."""
    home, build, idle = lab_home(), build_folder(), not living(lab_home())
    heaps = [Heap("clusters that have ended", tuple(ended(home)))]
    heaps.append(Heap("what building the native core left", below(PROJECT / "build", ("lib*", "temp*", "bdist*"))))
    heaps.append(Heap("built native cores", tuple(native_cores(everything and idle))))
    heaps.append(Heap("caches of Python and the checks", tuple(tool_caches())))
    if idle:
        heaps.append(Heap("half-written results", below(build, HALF_WRITTEN)))
        heaps.append(Heap("fault experiments", below(home, ("faults/*",))))
    if idle and not shared_cache():
        heaps.append(Heap("Kafka's jars, start-up caches, environments of benchmarks", below(cache_folder(), ("*",))))
    if everything and idle:
        heaps.append(Heap("the last report and its data", below(build, REPORT)))
        heaps.append(Heap("outboxes, with what they have not delivered", below(home, ("outbox/*",))))
        heaps.append(Heap("the kernel's description for JupyterLab", below(home, ("jupyter",))))
        own = (".venv", ".venv.lock", "*.egg-info", ".lab/python")
        heaps.append(Heap("the project's own environment", below(PROJECT, own)))
    return heaps


def notes() -> list[str]:
    """What stays, and why."""
    lines = []
    if pids := living(lab_home()):
        lines.append(
            f"A cluster runs (pid {', '.join(map(str, sorted(pids)))}): all that it may use stays, and the report. "
            "End it: python3 scripts/cluster.py stop"
        )
    if shared_cache():
        lines.append(f"{cache_folder()} stays: {settings.CACHE.name} says that others may use it, too.")
    return lines


def ended(home: Path) -> Iterator[Path]:
    """State files, run folders and logs of clusters none of whose processes is there."""
    alive = [file for file in home.glob("cluster*.json") if processes(file)]
    texts = [file.read_text(errors="replace") for file in alive]
    yield from (file for file in sorted(home.glob("cluster*.json")) if file not in alive)
    for folder in sorted(home.glob("run/*")):
        if not supervisor(folder) and not any(folder.name in text for text in texts):
            yield folder
    if not living(home):
        yield from below(home, ("supervisor.log", "keeper.log", "cluster*.lock", "*.tmp"))


def living(home: Path) -> set[int]:
    """The processes of all clusters that run in this lab home; in doubt a process counts as one."""
    starting: set[int] = set().union(*(supervisor(folder) for folder in home.glob("run/*")))
    return starting.union(*(processes(file) for file in home.glob("cluster*.json")))


def supervisor(run: Path) -> set[int]:
    """The pid in a run folder's name, if it is in use; a folder that was kept has seen its cluster's end."""
    number = run.name.rpartition("-")[2]
    return {int(number)} if number.isdecimal() and exists(int(number)) and not (run / "kept").exists() else set()


def processes(file: Path) -> set[int]:
    """The pids in a cluster's state file, of whatever version, that are in use."""
    try:
        return set(filter(exists, _pids(json.loads(file.read_bytes()))))
    except (OSError, ValueError):
        return set()


def _pids(data: Any) -> Iterator[int]:
    if isinstance(data, dict):
        for name, inner in data.items():
            if name == "pid" and isinstance(inner, int):
                yield inner
            elif name not in ("users", "leases"):
                yield from _pids(inner)
    elif isinstance(data, list):
        for inner in data:
            yield from _pids(inner)


def exists(pid: int) -> bool:
    """Is there a process with this pid, whoever's it is?"""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def native_cores(everything: bool) -> Iterator[Path]:
    """Built cores for a Python that neither runs this nor made `.venv`; with `everything` all of them."""
    tags = {sys.implementation.cache_tag}
    with suppress(OSError):
        text = (PROJECT / ".venv" / "pyvenv.cfg").read_text()
        tags |= {f"cpython-3{minor}" for minor in re.findall(r"^version(?:_info)? *= *3\.(\d+)", text, re.MULTILINE)}
    for path in below(PROJECT / "app", ("**/*.so", "**/*.pyd", "**/*.so.sha256", "**/*.pyd.sha256")):
        if everything or not any(f".{tag}-" in path.name for tag in tags):
            yield path


def tool_caches() -> Iterator[Path]:
    """Byte code, and what ruff, mypy, pytest and hypothesis remember."""
    yield from below(PROJECT, TOOLS)
    for room in SOURCES:
        yield from below(PROJECT / room, ("**/__pycache__", "**/.ipynb_checkpoints"))


def shared_cache() -> bool:
    """Is the cache one outside the project, that other people's labs may use?"""
    return settings.CACHE.get() is not None and PROJECT not in cache_folder().resolve().parents


def below(folder: Path, patterns: Iterable[str]) -> tuple[Path, ...]:
    """What is there of these patterns, each path once."""
    return tuple(dict.fromkeys(path for pattern in patterns for path in sorted(folder.glob(pattern))))


def freed_by(path: Path) -> int:
    """Bytes on the disk below a path: links are not followed, and a file that has another name frees nothing."""
    paths = [path]
    if path.is_dir() and not path.is_symlink():
        paths += [Path(folder, name) for folder, folders, files in os.walk(path) for name in (*folders, *files)]
    total = 0
    for one in paths:
        with suppress(OSError):
            status = one.lstat()
            total += 512 * status.st_blocks if one.is_dir() or status.st_nlink == 1 else 0
    return total


def remove(path: Path) -> bool:
    """Remove a file, a link (never what it points to), or a folder with all that it holds; True when it is gone."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return not os.path.lexists(path)
    return True


def agreed() -> bool:
    """The person's answer; no answer is a no."""
    sys.stdout.write("Remove all this? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stdout.write("\n")
    return answer.strip().lower() in ("y", "yes")


def megabytes(size: int) -> str:
    """A size as a person reads it."""
    return f"{size / 1e6:.1f} MB"


def shortened(paths: Sequence[Path]) -> str:
    """The first paths, relative to the project, and how many more there are."""
    names = [str(path.relative_to(PROJECT) if PROJECT in path.parents else path) for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "clean.py",
        description="Free the disk of what the lab can make again; it says what and how much, and asks.",
        epilog=settings.help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--all", action="store_true", help="also the last report, the outboxes, and .venv")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(arguments)
