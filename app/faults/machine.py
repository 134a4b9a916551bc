"""A machine of a game's own, made by a preloaded library: a clock that can be set, a disk that fills, a power cut."""

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from streaming_lab.errors import LabError

_SOURCE = Path(__file__).with_name("machine.c")
SECTOR = 512  # bytes that a disk writes whole or not at all
CLOCK_STEP = 300.0  # seconds of one step; Kafka refuses records from more than an hour ahead


def find_compiler() -> str | None:
    """The C compiler, where a preloaded library can make a machine: on Linux."""
    return (shutil.which("gcc") or shutil.which("cc")) if sys.platform == "linux" else None


@contextmanager
def compiled_library() -> Iterator[Path | None]:
    """The library in a folder of its own, for as long as the block runs; None where there is no compiler for it."""
    compiler = find_compiler()
    if compiler is None:
        yield None
        return
    with TemporaryDirectory(prefix="machine-") as folder:
        library = Path(folder) / "machine.so"
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread", "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(
                f"{_SOURCE} could not be compiled: {done.stderr[-1000:]}", "Is the C library's header there?"
            )
        yield library


class Machine:
    """A process's clock, disk (the files whose paths begin with `disk`) and power; `folder` holds what steers it."""

    def __init__(self, library: Path, disk: Path, folder: Path) -> None:
        self._disk, self._durable, self._control = disk, folder / "durable", folder / "control"
        self._durable.mkdir(parents=True, exist_ok=True)
        self._library = library
        self.offset, self._full = 0.0, False
        self._control.write_bytes(struct.pack("dd", 0.0, 0.0))

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a process runs on this machine."""
        names = {"MACHINE_CONTROL": self._control, "MACHINE_DISK": self._disk, "MACHINE_DURABLE": self._durable}
        return {**os.environ, "LD_PRELOAD": str(self._library), **{name: str(path) for name, path in names.items()}}

    def set_clock(self, offset: float) -> None:
        """Set the wall clock to so many seconds beside the real one."""
        self.offset = offset
        self._steer()

    def fill_disk(self, full: bool = True) -> None:
        """From now on no write finds room, or each does again."""
        self._full = full
        self._steer()

    def lose_power(self, dice: random.Random) -> None:
        """Leave on the disk what was synced and, by chance, some sectors of what was written since.

        The process must have been killed. SQLite's index of its log is never synced, and gone.
        """
        for synced in self._durable.iterdir():
            if synced.suffix != ".new":
                written = self._disk.with_name(synced.name)
                now = written.read_bytes() if written.exists() else b""
                written.write_bytes(_survivors(synced.read_bytes(), now, dice))
        self._disk.with_name(f"{self._disk.name}-shm").unlink(missing_ok=True)

    def _steer(self) -> None:
        with self._control.open("r+b") as file:  # in place: the processes have mapped it
            file.write(struct.pack("dd", self.offset, self._full))


def _survivors(synced: bytes, written: bytes, dice: random.Random) -> bytes:
    chance = dice.choice((0.0, 0.5, 1.0))
    size = len(written) if dice.random() < chance else len(synced)
    kept = bytearray(synced[:size].ljust(size, b"\0"))
    for at in range(0, size, SECTOR):
        sector = written[at : min(at + SECTOR, size)]
        if sector != synced[at : at + len(sector)] and dice.random() < chance:
            kept[at : at + len(sector)] = sector
    return bytes(kept)
