"""Unpacks a hand-in, a folder or a zip, into a private folder: known names only, bounded, and no links."""

import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from streaming_lab.errors import LabError
from streaming_lab.report.run_folder import FRAMES

# What zipfile raises for bytes that are no zip, an unknown codec, a password.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)
MOST_FILES = 2000  # entries of a hand-in, wanted or not
LARGEST_FILE, LARGEST_HANDIN = 64 << 20, 256 << 20  # bytes, counted while they are written
PIECE = 1 << 20
WANTED = re.compile(
    rf"report\.html|run\.json|requirements\.txt|SHA256SUMS|kept/\w+\.json|(?:{'|'.join(FRAMES)})\.parquet"
    r"|[^./\\][^/\\]{0,155}\.ipynb"
)


class BadHandIn(LabError):
    """A hand-in that can't be looked at: nothing there, not a zip, too large, a path that leads out of it."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, "Ask for the folder build/ of a report, or for what scripts/submit.py packs.")


@dataclass(frozen=True)
class Unpacked:
    """A hand-in as files under known names in `folder`; `left_out` names entries that the lab does not know."""

    folder: Path
    left_out: tuple[str, ...]

    def path(self, name: str) -> Path | None:
        """The file of that name, or None."""
        found = self.folder / name
        return found if found.is_file() else None


@contextmanager
def unpacked(place: Path, work: Path | None = None) -> Iterator[Unpacked]:
    """The hand-in at `place` in a folder (in `work`) that goes with the block; raises `BadHandIn`."""
    with TemporaryDirectory(prefix="lab-hand-in-", dir=work) as name:
        folder = Path(name)
        try:
            take = take_zip if place.is_file() else take_folder
            left_out = tuple(take(place, folder))
        except (*BROKEN_ZIP, OSError) as error:
            raise BadHandIn(f"{place.name} can't be read: {error}") from error
        yield Unpacked(folder, left_out)


def take_zip(place: Path, folder: Path) -> list[str]:
    """Write the wanted files of a zip; its own headers are not believed. Returns the names of the others."""
    with zipfile.ZipFile(place) as archive:
        entries = archive.infolist()
        check_count(len(entries))
        for entry in entries:
            check_entry_name(entry.filename)
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise BadHandIn(f"{entry.filename[:100]!r} is a link")
        files = [entry for entry in entries if not entry.is_dir()]
        root = find_root([entry.filename for entry in files])
        left_out, taken, room = [], set[str](), LARGEST_HANDIN
        for entry in files:
            name = entry.filename.removeprefix(root)
            if not entry.filename.startswith(root) or not WANTED.fullmatch(name):
                left_out.append(entry.filename)
                continue
            if name in taken:
                raise BadHandIn(f"{name!r} is twice in the zip")
            taken.add(name)
            with archive.open(entry) as source:
                room -= copy_bounded(source, folder / name, room)
    return left_out


def take_folder(place: Path, folder: Path) -> list[str]:
    """Copy the wanted files of a folder; links and devices are not followed. Returns the names of the others."""
    found = list(walk(place))
    check_count(len(found))
    root = find_root(found)
    left_out, room = [], LARGEST_HANDIN
    for full in found:
        name = full.removeprefix(root)
        if not full.startswith(root) or not WANTED.fullmatch(name):
            left_out.append(full)
            continue
        descriptor = os.open(place / full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as source:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadHandIn(f"{full!r} is no plain file")
            room -= copy_bounded(source, folder / name, room)
    return left_out


def walk(place: Path) -> Iterator[str]:
    """The files below a folder by their names there, three levels deep; earlier runs and hidden ones are left out."""
    for level, folders, files in os.walk(place, followlinks=False):
        inside = Path(level).relative_to(place)
        folders[:] = [name for name in folders if not name.startswith(".") and name != "runs" and len(inside.parts) < 2]
        for name in files:
            path = Path(level, name)
            if path.is_symlink() and WANTED.fullmatch((inside / name).as_posix()):
                raise BadHandIn(f"{(inside / name).as_posix()!r} is a link")
            if not name.startswith("."):
                yield (inside / name).as_posix()


def find_root(names: list[str]) -> str:
    """The folder inside a hand-in that holds run.json, as `build/`; empty where that is the hand-in itself."""
    records = sorted(
        (name for name in names if PurePosixPath(name).name == "run.json"), key=lambda name: name.count("/")
    )
    if not records:
        raise BadHandIn("there is no run.json in it")
    root = records[0].removesuffix("run.json")
    if len([name for name in records if name.count("/") == records[0].count("/")]) > 1:
        raise BadHandIn(f"there is more than one run.json in it: {', '.join(records[:3])}")
    return root


def check_count(count: int) -> None:
    """Raise `BadHandIn` for more files than a report has by far."""
    if count > MOST_FILES:
        raise BadHandIn(f"it has {count:,} entries; {MOST_FILES:,} are looked at")


def check_entry_name(name: str) -> None:
    """Raise `BadHandIn` for an entry that leads out of its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]) or "\0" in name:
        raise BadHandIn(f"{name[:100]!r} leads out of the hand-in")


def copy_bounded(source: IO[bytes], target: Path, room: int) -> int:
    """Copy at most `room` bytes, and of one file at most `LARGEST_FILE`; returns their number."""
    target.parent.mkdir(exist_ok=True)
    size = 0
    with target.open("wb") as file:
        while piece := source.read(PIECE):
            size += len(piece)
            if size > LARGEST_FILE:
                raise BadHandIn(f"{target.name} has more than {LARGEST_FILE >> 20} MB")
            if size > room:
                raise BadHandIn(f"its files have more than {LARGEST_HANDIN >> 20} MB together")
            file.write(piece)
    return size


def is_hand_in(place: Path) -> bool:
    """Is this a folder with a report at its top or one level below?"""
    return (place / "run.json").exists() or (place / "build" / "run.json").exists()
