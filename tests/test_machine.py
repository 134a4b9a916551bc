"""A game's own machine: what its power cut leaves, its full disk refuses, and that an outbox needs its fsync."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from streaming_lab.faults.machine import SECTOR, Machine


def run_on(machine: Machine, program: str, *arguments: object) -> str:
    """What a program prints before it kills itself."""
    command = [sys.executable, "-c", f"{program}\nos.kill(os.getpid(), 9)", *map(str, arguments)]
    done = subprocess.run(command, env=machine.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    return done.stdout


WRITER = """
import os, sys
for name in (sys.argv[1], sys.argv[2]):
    file = os.open(name, os.O_RDWR | os.O_CREAT)
    os.write(file, b"s" * 1024)
    os.fsync(file)
    os.pwrite(file, b"w" * 2048, 0)
"""


def test_a_power_cut_leaves_what_was_synced_and_some_sectors(machine_library: Path, tmp_path: Path) -> None:
    """Each sector of the disk's file is the synced or the written one: by seed none, some or all. Other files stay."""
    machine = Machine(machine_library, tmp_path / "disk", tmp_path / "machine")
    seen = set[bytes]()
    for seed in (0, 1, 5, 7):
        run_on(machine, WRITER, tmp_path / "disk.db", tmp_path / "other.db")
        machine.lose_power(random.Random(seed))
        left = (tmp_path / "disk.db").read_bytes()
        sectors = [left[at : at + SECTOR] for at in range(0, len(left), SECTOR)]
        assert len(left) in (1024, 2048)
        assert all(one in (b"s" * SECTOR, b"w" * SECTOR) for one in sectors[:2])
        assert all(one in (bytes(SECTOR), b"w" * SECTOR) for one in sectors[2:])
        seen.add(left)
        assert (tmp_path / "other.db").read_bytes() == b"w" * 2048
    assert {b"s" * 1024, b"w" * 2048} < seen


def test_a_full_disk_takes_nothing_until_it_is_empty(machine_library: Path, tmp_path: Path) -> None:
    """Only for the files of the disk; reading goes on."""
    program = """
import os, sys
for name in sys.argv[1:]:
    try:
        os.write(os.open(name, os.O_WRONLY | os.O_CREAT), b"x")
        print("taken")
    except OSError as error:
        print(error.errno)
sys.stdout.flush()
"""
    machine = Machine(machine_library, tmp_path / "disk", tmp_path / "machine")
    files = (tmp_path / "disk.db", tmp_path / "other.db")
    machine.fill_disk()
    assert run_on(machine, program, *files).split() == ["28", "taken"]
    machine.fill_disk(False)
    assert run_on(machine, program, *files).split() == ["taken", "taken"]


OUTBOX = """
import os, sys
from pathlib import Path
from streaming_lab.delivery import outbox_store
path, number, synchronous = sys.argv[1:]
store = outbox_store.OutboxStore(Path(path), "events", 1 << 20)
store._database.execute(f"PRAGMA synchronous={synchronous}")
for row in range(30):
    store.commit([(f"{number}-{row}", "ann", b"x" * 300)], [])
"""

ROWS = """
import os, sys
from pathlib import Path
from streaming_lab.delivery.outbox_store import rows_in
print(*[row[0] for row in rows_in(Path(sys.argv[1]))], flush=True)
"""


@pytest.mark.parametrize(("synchronous", "kept"), [("FULL", True), ("OFF", False)])
def test_an_outbox_survives_power_cuts_by_its_fsync(
    machine_library: Path, tmp_path: Path, synchronous: str, kept: bool
) -> None:
    """Each committed row is there after every cut; without the fsync, the control, some are lost or the file breaks."""
    path = tmp_path / "outbox.sqlite"
    machine = Machine(machine_library, path, tmp_path / "machine")
    survived = True
    for seed in range(3):
        try:
            run_on(machine, OUTBOX, path, seed, synchronous)
            machine.lose_power(random.Random(seed))
            found = run_on(machine, ROWS, path).split()
        except AssertionError:
            found = []
        wanted = [f"{cut}-{row}" for cut in range(seed + 1) for row in range(30)]
        survived = survived and found == wanted
    assert survived is kept
