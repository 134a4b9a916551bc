"""run.json (what ran, on what, with what result), and `save_result`, which hands a notebook's result to its report."""

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from streaming_lab import settings
from streaming_lab.errors import LabError
from streaming_lab.paths import DISK_FULL_ERRNOS, build_folder

FORMAT = 3  # of run.json; 2 had no exercises, 1 no run_id, code and changed
SCHEMA = Path(__file__).with_name("run.schema.json")  # every key of run.json, with its meaning


@dataclass(frozen=True)
class Cell:
    """One code cell of a run: `number` is chapter.cell as on the page; a pending cell was not reached."""

    id: str
    number: str
    status: Literal["passed", "failed", "pending"]
    seconds: float | None


@dataclass(frozen=True)
class Failure:
    """The reason why a chapter stopped; `cell` and `number` are empty when no cell ran at that time."""

    kind: Literal["error", "kernel death", "time-out", "interrupt", "set-up"]
    problem: str
    cell: str = ""
    number: str = ""


@dataclass(frozen=True)
class ChapterRecord:
    """One chapter of a run; a skipped chapter could not run, and `failure` says why.

    `exercises` has the state of each exercise (done, not yet, unfilled, not run) by the id of its check.
    """

    name: str
    number: int
    title: str
    status: Literal["passed", "failed", "skipped"]
    seconds: float
    cells: tuple[Cell, ...] = ()
    failure: Failure | None = None
    exercises: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """The whole run, as in `run.json`; times are UTC, hashes SHA-256."""

    status: Literal["passed", "failed"]
    reason: str
    exit_code: int
    command: str
    started: datetime
    ended: datetime
    seconds: float
    chapters: tuple[ChapterRecord, ...]
    ledger: Mapping[str, Any] | None
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: str | None
    dirty: bool | None
    hashes: Mapping[str, str]
    cluster: Mapping[str, Any] | None = None
    ranges: Mapping[str, Any] | None = None
    losses: Mapping[str, Any] | None = None
    decoder: str | None = None
    machine: str = ""
    run_id: str = ""
    changed: tuple[str, ...] | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    anyway: tuple[str, ...] = ()
    format: int = field(default=FORMAT)

    def to_json(self) -> str:
        """This record as indented JSON, keys in the order above."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, default=plain_value) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Run":
        """The record that `to_json` wrote."""
        raw = json.loads(text)
        raw["started"], raw["ended"] = (datetime.fromisoformat(raw[name]) for name in ("started", "ended"))
        raw["chapters"] = tuple(
            ChapterRecord(
                **{
                    **chapter,
                    "cells": tuple(Cell(**cell) for cell in chapter["cells"]),
                    "failure": Failure(**chapter["failure"]) if chapter["failure"] else None,
                }
            )
            for chapter in raw["chapters"]
        )
        return cls(**raw)


def save_result(name: str, value: Any) -> None:
    """Hand `value` to the report that runs this notebook; does nothing when the notebook runs on its own.

    A DataFrame becomes `<name>.parquet` beside the page; anything else JSON that the page and `run.json` read.
    """
    folder = os.environ.get(settings.BUILD.name)
    if not folder:
        return
    if hasattr(value, "to_parquet"):
        target = Path(folder) / f"{name}.parquet"
        write_atomically(target, lambda path: value.to_parquet(path, index=False))
    else:
        text = value.to_json() if hasattr(value, "to_json") else value
        if not isinstance(text, str):
            text = json.dumps(text, indent=2, ensure_ascii=False, default=plain_value)
        write_text(Path(folder) / "kept" / f"{name}.json", text)


def load_frame(name: str) -> Any:
    """The DataFrame that a chapter of this run saved under `name`, otherwise that of the last report."""
    import pandas as pd

    own = build_folder()
    places = [own, own.parent] if own.name.startswith(".run-") else [own]
    for place in places:
        if (place / f"{name}.parquet").exists():
            return pd.read_parquet(place / f"{name}.parquet")
    raise LabError(f"no chapter has kept {name}", "Run chapter 03 first, or both: python3 scripts/report.py")


def without_home(text: str) -> str:
    """`text` with ~ in place of the person's home folder."""
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text) if len(home) > 1 else text


def show_progress(doing: str) -> None:
    """Tell the report that runs this notebook what its cell does just now; nothing when the notebook runs on its own.

    What a person sees is no result: a full disk stops nothing here.
    """
    if folder := os.environ.get(settings.BUILD.name):
        with suppress(OSError):
            write_text(Path(folder) / DOING, doing)


def read_progress(folder: Path) -> str:
    """What the running cell does, as its notebook told last; empty where it told nothing."""
    try:
        return (folder / DOING).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


DOING = ".doing"  # the file in the build folder with what the running cell does; it goes with the cell


def load_result(folder: Path, name: str) -> Any:
    """The result that a notebook of this run saved under `name`, or None."""
    try:
        return json.loads((folder / "kept" / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def has_result(folder: Path, name: str) -> bool:
    """Did a notebook of this run save a result or a frame under `name`?"""
    return (folder / "kept" / f"{name}.json").exists() or (folder / f"{name}.parquet").exists()


def write_text(target: Path, text: str) -> None:
    """Write `text` so that a reader sees the old file or the new one, never half a file."""
    write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))


def write_atomically(target: Path, write: Any) -> None:
    """Call `write(path)` with a temporary file beside `target`, then rename it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"
    try:
        write(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def describe_full_disk(error: OSError, folder: Path) -> str:
    """The reason of a failed write; for a full disk with the folder and the free space there."""
    reason = error.strerror or str(error)
    if error.errno not in DISK_FULL_ERRNOS:
        return reason
    while not folder.exists():
        folder = folder.parent
    return f"{reason} in {folder} ({shutil.disk_usage(folder).free / 1e6:.1f} MB free)"


def plain_value(value: Any) -> Any:
    """A JSON value for a time, path, numpy scalar, dataclass or set."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
