"""Frees the disk: what the lab left or can make again, in its own folders only, and never what a living cluster uses.

Standard library only, so that it also runs in a broken environment.
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
from streaming_lab.cli import command_parser
from streaming_lab.paths import PROJECT, build_folder, cache_folder, lab_home
from streaming_lab.processes import Place, locate

TOOLS = (".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")
SOURCES = ("app", "scripts", "tests", "notebooks")
REPORT = ("report.html", "report.pdf", "run.json", "kernel.log", "kept", "*.parquet", "[0-9]*-*.ipynb", ".report.lock")
HALF_WRITTEN = (".report.html.*", ".run.json.*", ".*.parquet.*", "kept/.*.json.*")


@dataclass(frozen=True)
class Heap:
    """Files and folders of one kind that may be removed."""

    what: str
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """The bytes that their removal frees on the disk."""
        return sum(freed_by(path) for path in self.paths)


def main(arguments: Sequence[str] | None = None) -> int:
    """Lists what can be removed and its size, asks, and removes it; 1 when something could not be removed."""
    options = _options(arguments)
    heaps = [heap for heap in find_heaps(options.all) if heap.paths]
    for line in describe_kept():
        _say(line)
    if not heaps:
        _say("Nothing to remove.")
        return 0
    for heap in heaps:
        _say(f"{format_size(heap.size):>10}  {heap.what}: {shorten_paths(heap.paths)}")
    total = format_size(sum(heap.size for heap in heaps))
    _say(f"{total:>10}  in all")
    if not options.yes and not ask_consent():
        _say("Nothing was removed. (Without a question: --yes)")
        return 0
    failed = [path for heap in heaps for path in heap.paths if not remove(path)]
    _say(f"Could not remove {shorten_paths(failed)}" if failed else f"Freed {total}.")
    return 1 if failed else 0


def find_heaps(everything: bool) -> list[Heap]:
    """Everything that may be removed now; `everything` adds the last report, the outboxes and the environment."""
    home, build, idle = lab_home(), build_folder(), not is_in_use(lab_home())
    heaps = [Heap("clusters that have ended", tuple(ended_clusters(home)))]
    heaps.append(Heap("what building the native core left", below(PROJECT / "build", ("lib*", "temp*", "bdist*"))))
    heaps.append(Heap("built native cores", tuple(find_native_cores(everything and idle))))
    heaps.append(Heap("caches of Python and the checks", tuple(find_tool_caches())))
    if idle:
        heaps.append(Heap("half-written results", (*below(build, HALF_WRITTEN), *ended_runs(build))))
        heaps.append(Heap("fault experiments", below(home, ("faults/*",))))
    if idle and not has_shared_cache():
        heaps.append(Heap("Kafka's jars, start-up caches, environments of benchmarks", below(cache_folder(), ("*",))))
    if everything and idle:
        report = dict.fromkeys((*below(build, (*REPORT, "runs")), *notebooks_of_report(build)))
        heaps.append(Heap("the last report and its data, and earlier ones", tuple(report)))
        heaps.append(Heap("data of clusters that were started with --keep", below(home, ("kept/*",))))
        heaps.append(Heap("outboxes, with what they have not delivered", below(home, ("outbox/*",))))
        heaps.append(Heap("the kernel's description for JupyterLab", below(home, ("jupyter",))))
        own = (".venv", ".venv.lock", "*.egg-info", ".lab/python")
        heaps.append(Heap("the project's own environment", below(PROJECT, own)))
    return heaps


def notebooks_of_report(build: Path) -> list[Path]:
    """The notebooks of the last report by its record, whatever their names."""
    names = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((build / "run.json").read_text(encoding="utf-8"))
        names = [f"{one['name']}.ipynb" for one in record["chapters"]]
    return [build / name for name in names if Path(name).name == name and (build / name).is_file()]


def ended_runs(build: Path) -> Iterator[Path]:
    """Folders of runs that were killed: their names end in a pid that is not in use."""
    return (
        path
        for path in sorted(build.glob(".run-*"))
        if not (pid := path.name.rpartition("-")[2]).isdecimal() or not pid_exists(int(pid))
    )


def describe_kept() -> list[str]:
    """What stays, and why, a line each."""
    lines = []
    if pids := find_cluster_pids(lab_home()):
        lines.append(
            f"A cluster runs (pid {', '.join(map(str, sorted(pids)))}): all that it may use stays, and the report. "
            "End it: python3 scripts/cluster.py stop"
        )
    for place in filter(None, map(find_remote_place, lab_home().glob("cluster*.json"))):
        lines.append(
            f"A cluster runs on {place}, which is not this machine or container: all that it may use stays. End it "
            "there, or when that is gone: python3 scripts/cluster.py forget"
        )
    if has_shared_cache():
        lines.append(f"{cache_folder()} stays: {settings.CACHE.name} says that others may use it, too.")
    return lines


def ended_clusters(home: Path) -> Iterator[Path]:
    """State files, run folders and logs of clusters whose processes have all ended."""
    alive = [file for file in home.glob("cluster*.json") if pids_in_use(file) or find_remote_place(file)]
    texts = [file.read_text(errors="replace") for file in alive]
    yield from (file for file in sorted(home.glob("cluster*.json")) if file not in alive)
    for folder in sorted(home.glob("run/*")):
        if not pid_of_run(folder) and not any(folder.name in text for text in texts):
            yield folder
    if not is_in_use(home):
        yield from below(home, ("supervisor.log", "keeper.log", "cluster*.lock", "*.tmp"))


def is_in_use(home: Path) -> bool:
    """Whether a cluster of this lab home runs, here or elsewhere."""
    return bool(find_cluster_pids(home) or any(map(find_remote_place, home.glob("cluster*.json"))))


def find_remote_place(file: Path) -> Place | None:
    """The other machine or container that a state file names."""
    try:
        place = Place(**json.loads(file.read_bytes())["place"])
        return place if all(type(one) is str for one in vars(place).values()) and locate(place) == "elsewhere" else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def find_cluster_pids(home: Path) -> set[int]:
    """The pids of all clusters that run in this lab home; a pid that is in use counts, whatever its process is."""
    starting: set[int] = set().union(*(pid_of_run(folder) for folder in home.glob("run/*")))
    return starting.union(*(pids_in_use(file) for file in home.glob("cluster*.json")))


def pid_of_run(run: Path) -> set[int]:
    """The pid in a run folder's name, if it is in use and the folder is not one that `LAB_KEEP` kept."""
    number = run.name.rpartition("-")[2]
    return {int(number)} if number.isdecimal() and pid_exists(int(number)) and not (run / "kept").exists() else set()


def pids_in_use(file: Path) -> set[int]:
    """The pids in the state file of a cluster, of any version, that are in use."""
    try:
        return set(filter(pid_exists, _pids(json.loads(file.read_bytes()))))
    except (OSError, ValueError, RecursionError):
        return set()


def _pids(data: Any) -> Iterator[int]:
    if isinstance(data, dict):
        for name, inner in data.items():
            if name == "pid" and type(inner) is int and inner > 0:
                yield inner
            elif name not in ("users", "leases"):
                yield from _pids(inner)
    elif isinstance(data, list):
        for inner in data:
            yield from _pids(inner)


def pid_exists(pid: int) -> bool:
    """Whether a process has this pid, of this user or another."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def find_native_cores(everything: bool) -> Iterator[Path]:
    """Native cores for a Python other than this one and `.venv`'s; with `everything` all of them."""
    tags = {sys.implementation.cache_tag}
    with suppress(OSError):
        text = (PROJECT / ".venv" / "pyvenv.cfg").read_text()
        tags |= {f"cpython-3{minor}" for minor in re.findall(r"^version(?:_info)? *= *3\.(\d+)", text, re.MULTILINE)}
    for path in below(PROJECT / "app", ("**/*.so", "**/*.pyd", "**/*.so.sha256", "**/*.pyd.sha256")):
        if everything or not any(f".{tag}-" in path.name for tag in tags):
            yield path


def find_tool_caches() -> Iterator[Path]:
    """Byte code, and the caches of ruff, mypy, pytest and hypothesis."""
    yield from below(PROJECT, TOOLS)
    for folder in SOURCES:
        yield from below(PROJECT / folder, ("**/__pycache__", "**/.ipynb_checkpoints"))


def has_shared_cache() -> bool:
    """Whether the cache lies outside the project, where other labs may use it."""
    return settings.CACHE.get() is not None and PROJECT not in cache_folder().resolve().parents


def below(folder: Path, patterns: Iterable[str]) -> tuple[Path, ...]:
    """The paths in a folder that match the patterns, each once."""
    return tuple(dict.fromkeys(path for pattern in patterns for path in sorted(folder.glob(pattern))))


def freed_by(path: Path) -> int:
    """Bytes on the disk below a path: links are not followed, and a file with another hard link frees nothing."""
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
    """Removes a file, a link (never its target), or a folder with its content; True when it is gone."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return not os.path.lexists(path)
    return True


def ask_consent() -> bool:
    """Asks the person; no answer means no."""
    sys.stdout.write("Remove all this? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stdout.write("\n")
    return answer.strip().lower() in ("y", "yes")


def format_size(size: int) -> str:
    """A size in MB with one decimal."""
    return f"{size / 1e6:.1f} MB"


def shorten_paths(paths: Sequence[Path]) -> str:
    """The first three paths, relative to the project where possible, and the number of the others."""
    names = [str(path.relative_to(PROJECT) if PROJECT in path.parents else path) for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser(
        "clean.py", "Free the disk of what the lab can make again; it says what and how much, and asks."
    )
    parser.add_argument("--all", action="store_true", help="also the last report, the outboxes, and .venv")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(arguments)
