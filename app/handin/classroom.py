"""A class of hand-ins: each in a process of its own with a limit of time, resumable; and what two of them share."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streaming_lab import settings
from streaming_lab.errors import LabError
from streaming_lab.handin.check import Check, Shared, conclude, found
from streaming_lab.handin.examine import Examined, examine
from streaming_lab.handin.unpack import MOST_FILES, is_hand_in
from streaming_lab.report.code_state import tree_hashes
from streaming_lab.report.record import write_text

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
HAND_IN_LIMIT = 120.0  # seconds for one hand-in
# Imported once for all hand-ins: what the checks, the page and the charts use; the first one skips what nobody needs.
FORK_PRELOAD = ["streaming_lab.handin.examine", "streaming_lab.report.render.page", "streaming_lab.analysis.charts"]
FORK_PRELOAD += ["streaming_lab.analysis.deliveries", "altair", "vl_convert", "confluent_kafka", "jinja2.ext"]


def find_hand_ins(places: Sequence[Path]) -> tuple[list[tuple[str, Path]], list[str]]:
    """(name, place) of each hand-in, and lines about files that are none; raises `LabError` for a place that is not."""
    found_places: list[tuple[str, Path]] = []
    lines = []
    for place in places:
        if not place.exists():
            raise LabError(f"there is no {place}", "Name a folder build/, a zip, or a folder of either.")
        if place.is_file() or is_hand_in(place):
            found_places.append((place.name if place.is_file() else str(place), place))
            continue
        for one in sorted(place.iterdir()):
            if one.name.startswith("."):
                continue
            if one.is_dir() or one.suffix.lower() in ARCHIVES:
                found_places.append((one.name, one))
            else:
                lines.append(f"{one.name} is no hand-in: neither a folder nor an archive")
    if not found_places:
        raise LabError(
            f"no hand-in in {', '.join(map(str, places))}", "A hand-in is a zip or a folder with a run.json."
        )
    names = [name for name, _ in found_places]
    unique = [(name if names.count(name) == 1 else str(place), place) for name, place in found_places]
    return list(dict(unique).items()), lines


@dataclass
class _Running:
    """A hand-in under way: its process, the pipe for its row, and its last moment."""

    name: str
    key: str
    process: Any
    pipe: Connection
    deadline: float


def examine_class(
    hand_ins: Sequence[tuple[str, Path]],
    kept: Path,
    *,
    processes: int,
    limit: float = HAND_IN_LIMIT,
    done: Callable[[Examined], None] = lambda row: None,
) -> list[Examined]:
    """The rows of all hand-ins in their order; rows that `kept` has of the same files and code are not made again.

    However it ends, no process of a hand-in is left.
    """
    kept.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Examined] = {}
    open_places = []
    code = json.dumps(tree_hashes())
    for name, place in hand_ins:
        key = row_key(name, place, code)
        if row := stored_row(kept, key):
            rows[name] = row
            done(row)
        else:
            open_places.append((name, place, key))
    with TemporaryDirectory(prefix="lab-class-") as work:
        for key, row in examine_open(open_places, Path(work), processes, limit):
            rows[row.name] = row
            write_text(kept / f"{key}.json", json.dumps(row.to_json()))
            done(row)
    return [rows[name] for name, _ in hand_ins]


def examine_open(
    places: Sequence[tuple[str, Path, str]], work: Path, processes: int, limit: float
) -> Iterator[tuple[str, Examined]]:
    """(key, row) of each hand-in as it is done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(FORK_PRELOAD)
    waiting, running = list(reversed(places)), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                name, place, key = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=examine_to, args=(theirs, name, str(place), str(work), limit), daemon=True
                )
                process.start()
                theirs.close()
                running.append(_Running(name, key, process, ours, time.monotonic() + limit))
            wait([one.pipe for one in running], timeout=0.5)
            for one in [one for one in running if one.pipe.poll() or not one.process.is_alive() or is_late(one)]:
                running.remove(one)
                yield one.key, row_of(one, limit)
    finally:
        for one in running:
            one.process.kill()
            one.process.join(5)
            one.pipe.close()


def is_late(one: _Running) -> bool:
    """Has the hand-in had its time?"""
    return time.monotonic() > one.deadline


def row_of(one: _Running, limit: float) -> Examined:
    """The row that a process sent; the reason where it sent none: it was late, or it died."""
    row = None
    with suppress(EOFError, OSError):
        if one.pipe.poll():
            row = Examined.from_json(json.loads(one.pipe.recv_bytes(64 << 20)))
    late = row is None and is_late(one)
    one.process.join(0 if late else 5)
    one.process.kill()
    one.process.join(5)
    one.pipe.close()
    if row is not None:
        return row
    why = f"it took longer than {limit:g} s" if late else f"its check died (exit code {one.process.exitcode})"
    return Examined(one.name, broken=why)


def examine_to(pipe: Connection, name: str, place: str, work: str, limit: float) -> None:
    """Examine a hand-in in this process and send its row; the process ends by itself, also without its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which kills
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(int(limit) + 10)
    pipe.send_bytes(json.dumps(examine(Path(place), name, Path(work)).to_json()).encode())
    pipe.close()


def row_key(name: str, place: Path, code: str) -> str:
    """The identity of a hand-in (names, sizes and times of its files) and of the `code` that checks it."""
    files = [place] if place.is_file() else sorted(islice(place.rglob("*"), MOST_FILES))
    parts = [name, str(place.resolve()), settings.CLASS_KEY.get(), code]
    for path in files:
        stat = path.lstat()
        parts.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def stored_row(kept: Path, key: str) -> Examined | None:
    """The row that an earlier call has made of the same files, or None."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Examined.from_json(json.loads((kept / f"{key}.json").read_text(encoding="utf-8")))
    return None


def find_shared(
    rows: Sequence[Examined], earlier: Mapping[str, Mapping[str, Sequence[str]]] | None = None
) -> list[Shared]:
    """(what, value, names) of each mark that several hand-ins have, or one of them and an `earlier` one."""
    holders: dict[tuple[str, str], list[str]] = {}
    marks = [(f"{name} (earlier)", found_marks) for name, found_marks in (earlier or {}).items()]
    for name, own in [*marks, *((row.name, row.marks) for row in rows)]:
        for what, values in own.items():
            for value in dict.fromkeys(values):
                holders.setdefault((what, value), []).append(name)
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    current = {row.name for row in rows}
    for (what, value), names in holders.items():
        if len(names) > 1 and current & set(names):
            groups.setdefault((what, tuple(names)), []).append(value)
    return [
        (what, values[0] if len(values) == 1 else f"{values[0]} and {len(values) - 1} more", names)
        for (what, names), values in groups.items()
    ]


def with_shared(rows: Sequence[Examined], shared: Sequence[Shared]) -> list[Examined]:
    """The rows with a check `shared`: contradicts for those that share what two runs cannot share."""
    made = []
    for row in rows:
        findings = [
            found(what, value, f"one run alone: {', '.join(names)}")
            for what, value, names in shared
            if row.name in names
        ]
        check: Check = conclude("shared", "run id, cluster id, event ids and times are this run's alone", findings)
        made.append(row if row.broken else replace(row, checks=(*row.checks, check)))
    return made


def default_processes() -> int:
    """As many as this process may use at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
