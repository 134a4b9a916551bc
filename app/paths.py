"""The folders of the project and of everything that the lab makes."""

import errno
import hashlib
import shutil
from pathlib import Path

from streaming_lab import settings
from streaming_lab.errors import LabError

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the person's share of it
BROKER_SPACE = 4e6  # bytes: with less free space a broker does not start
PROJECT = Path(__file__).resolve().parent.parent
NOT_CODE = (".pyc", ".so", ".pyd", ".sha256")  # what an interpreter or a compiler left in a folder of code
SOURCE = PROJECT / "src"  # where this package is imported from: src/streaming_lab is a link to app/


def lab_home() -> Path:
    """The folder of running clusters, their state and logs: `LAB_HOME`, otherwise `.lab` in the project."""
    return settings.HOME.get() or PROJECT / ".lab"


def cache_folder() -> Path:
    """The folder of Kafka's jars and start-up caches: `LAB_CACHE`, otherwise `.lab/cache` in the project."""
    return settings.CACHE.get() or PROJECT / ".lab" / "cache"


def build_folder() -> Path:
    """The folder of a run's results: `LAB_BUILD`, otherwise `build` in the project."""
    return settings.BUILD.get() or PROJECT / "build"


def folder_error(folder: Path, error: Exception) -> LabError:
    """The error for a folder of the lab in which nothing can be written: a full disk, a read-only one, no folder.

    `error` is what failed there; one that is a `LabError` is returned unless the disk is full.
    """
    full = describe_missing_space(folder)
    if not full and isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        full = f"the disk of {folder} is full, or your quota of it"
    if full:
        then = f"\n{error.problem}" if isinstance(error, LabError) else ""
        return LabError(
            f"{full}{then}",
            "Free some space (python3 scripts/clean.py offers what the lab can make again), or set LAB_HOME to a "
            "folder on another disk.",
        )
    if isinstance(error, LabError):
        return error
    said = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
    return LabError(f"cannot write in {folder}: {said}", "Set LAB_HOME to a folder where you may write.")


def describe_missing_space(folder: Path) -> str:
    """The space on a folder's disk, if too little is left for a broker; otherwise nothing."""
    free, size = space_of(folder)
    return (
        f"the disk of {folder} is full: {free / 1e6:.1f} MB of {size / 1e6:.1f} MB are free"
        if free < BROKER_SPACE
        else ""
    )


def space_of(folder: Path) -> tuple[float, float]:
    """Free and total bytes of the disk on which a folder is, or would be made."""
    for place in (folder, *folder.absolute().parents):
        try:
            found = shutil.disk_usage(place)
            return found.free, found.total
        except OSError:
            continue
    return float("inf"), float("inf")


def tree_hash(folder: Path) -> str:
    """The SHA-256 of a folder's code, hidden and compiled files left out."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part in ("__pycache__", "build") for part in name.parts)
        if not hidden and path.suffix not in NOT_CODE and path.is_file():
            found.update(f"{name.as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()
