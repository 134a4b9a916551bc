"""The folders of runs: a run is written beside the last report, takes its place when it ends, and keeps earlier ones.

build/              the last report that ended: page, record, notebooks, tables
build/.run-ID       the run under way; after kill -9 the next run moves the folder to build/runs/ID-unfinished
build/runs/ID       earlier reports, the newest three and always the newest that passed
build/runs/ID-...   runs that did not end: interrupted, unfinished, without a cluster; the newest three
"""

import json
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from streaming_lab.errors import LabError

KEPT_RUNS = 3
# The frames that chapters save as parquet files.
FRAMES = (
    "requests",
    "events",
    "rejects",
    "batches",
    "deliveries",
    "asked",
    "appended",
    "refused",
    "acks",
    "keys",
    "effects",
)
RESULTS = (
    "report.html",
    "report.pdf",
    "run.json",
    "submission.zip",
    "kernel.log",
    "kept",
    *(f"{frame}.parquet" for frame in FRAMES),
)
RUN_NAME = re.compile(r"\d{8}T\d{6}Z(-[\w-]+)?")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class RunFolder:
    """The folder `work` of a run that will take the place of the report in `build`."""

    build: Path
    work: Path

    @property
    def run_id(self) -> str:
        """The time and the process of the run, as 20261124T221402Z-4711."""
        return self.work.name.removeprefix(".run-")

    def publish(self) -> Path:
        """Move the earlier report to build/runs and this one into its place; returns the place."""
        with signals_ignored():
            finish_publishing(self.build, self.work.rename(self.build / f".done-{self.run_id}"))
        return self.build

    def set_aside(self, why: str) -> Path:
        """Keep a run that did not end apart, as build/runs/ID-why; returns that folder."""
        return set_run_aside(self.build, self.work, f"{self.run_id}-{why}")


@contextmanager
def open_run_folder(build: Path, command: str, moment: datetime, say: Callable[[str], None]) -> Iterator[RunFolder]:
    """A new folder for a run, alone in `build`; what is neither published nor set aside is so at the end.

    Raises `LabError` if another report runs in `build`, or if `build` can't be written.
    """
    with lock_build(build, command):
        for line in settle_earlier_runs(build):
            say(line)
        folder = RunFolder(build, build / f".run-{moment:%Y%m%dT%H%M%SZ}-{os.getpid()}")
        folder.work.mkdir()
        try:
            yield folder
        finally:
            if folder.work.exists() and (kept := folder.set_aside("unfinished")).exists():
                say(f"This run did not end; its files: {kept}")


@contextmanager
def lock_build(build: Path, command: str) -> Iterator[None]:
    """Hold the lock of a build folder; a `LabError` names the report that holds it."""
    note = f"{command} (pid {os.getpid()}, since {datetime.now(UTC):%H:%M:%S} UTC)"
    path = build / ".report.lock"

    def sign(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note.encode(), 0)

    try:
        build.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0, on_acquired=sign).acquire()
    except Timeout as error:
        holder = path.read_text(errors="replace") if path.exists() else "another process"
        cure = "Wait for its end, or write this report to another folder: LAB_BUILD=build/second"
        raise LabError(f"a report is written to {build} at this moment by {holder}", cure) from error
    except OSError as error:
        cure = "Set LAB_BUILD to a folder that you may write to, with some space left."
        raise LabError(f"{build} can't be written: {error.strerror or error}", cure) from error
    with lock:
        yield


def settle_earlier_runs(build: Path) -> list[str]:
    """Finish what an earlier run could not, as after kill -9: its publishing, or its setting aside. Returns lines."""
    for folder in sorted([*build.glob(".done-*"), *build.glob(".new-*")]):
        finish_publishing(build, folder)
    lines = []
    for folder in sorted(build.glob(".run-*")):
        kept = set_run_aside(build, folder, f"{folder.name.removeprefix('.run-')}-unfinished")
        if kept.exists():
            lines.append(f"An earlier run did not end; its files: {kept}")
        if (kept / ".topics").exists():
            from streaming_lab.cluster import run_topics  # only when there is something to tell

            lines += run_topics.describe_left_topics(kept)
    return lines


def finish_publishing(build: Path, folder: Path) -> None:
    """Two steps, each of which can be repeated: .done-ID archives the earlier report, .new-ID moves the new one in."""
    if folder.name.startswith(".done-"):
        archive_report(build)
        folder = folder.rename(build / folder.name.replace(".done-", ".new-"))
    for path in sorted(folder.iterdir()):
        path.replace(build / path.name)
    folder.rmdir()
    prune_runs(build)


def archive_report(build: Path) -> None:
    """Move the report in `build` to build/runs, its record last: a folder without a record is not complete."""
    paths = report_files(build)
    if not paths:
        return
    started = datetime.fromtimestamp(paths[0].stat().st_mtime, UTC)
    with suppress(KeyError, TypeError, ValueError):  # a record of another version, or damaged
        started = datetime.fromisoformat(read_record(build)["started"])
    name = f"{started:%Y%m%dT%H%M%SZ}"
    target = build / "runs" / name
    while (target / "run.json").exists():
        target = target.with_name(f"{target.name}-again")
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(paths, key=lambda path: path.name == "run.json"):
        path.replace(target / path.name)


def report_files(build: Path) -> list[Path]:
    """The files of the report in `build`: the usual names, the notebooks, and each file that the record has."""
    hashed = [str(name) for name in read_record(build).get("hashes") or ()]
    hashed = [name.removeprefix("build/") for name in hashed if name.startswith("build/")]
    names = [*RESULTS, *(name for name in hashed if name and Path(name).name == name)]
    names += [path.name for path in sorted(build.glob("[0-9]*-*.ipynb"))]
    return [build / name for name in dict.fromkeys(names) if (build / name).exists()]


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the run in `folder`, or nothing."""
    with suppress(OSError, ValueError):
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else {}
    return {}


def set_run_aside(build: Path, folder: Path, name: str) -> Path:
    """Move the folder of a run that did not end to build/runs; one without a page or notebook is removed."""
    for path in folder.glob(".kernel-*.json"):  # the keys of kernels that have ended
        path.unlink(missing_ok=True)
    target = build / "runs" / name
    if not any(path.stat().st_size for path in folder.glob("*") if path.name != "kept"):
        shutil.rmtree(folder, ignore_errors=True)
        return target
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)
    prune_runs(build)
    return target


def prune_runs(build: Path) -> None:
    """Remove all but the newest runs of each kind, and never the newest report that passed."""
    runs = sorted(path for path in build.glob("runs/*") if RUN_NAME.fullmatch(path.name) and path.is_dir())
    ended = [path for path in runs if re.fullmatch(r"\d{8}T\d{6}Z(-again)*", path.name)]
    others = [path for path in runs if path not in ended]
    keep = {*ended[-KEPT_RUNS:], *others[-KEPT_RUNS:]}
    if read_record(build).get("status") != "passed":
        keep |= {*[path for path in ended if read_record(path).get("status") == "passed"][-1:]}
    for path in runs:
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore Ctrl-C and its like for the few renames at the end of a run that is over."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
