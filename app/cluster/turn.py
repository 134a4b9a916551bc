"""One at a time, between processes: two starts at the same moment end with one cluster."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from app.cluster.base import ClusterError


@contextlib.contextmanager
def turn(file: Path, timeout: float) -> Iterator[None]:
    """Hold `file`'s lock, which does not outlive its holder; raises `ClusterError` after `timeout` seconds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while not _taken(handle):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"another process has been starting a cluster for {timeout:.0f} s (lock {file})",
                    "See `python3 scripts/cluster.py status`.",
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:  # native Windows, as far as it goes
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return False
    return True
