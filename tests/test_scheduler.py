"""A Dask scheduler that the lab did not start: its workers read slices, each of its troubles is an error in time."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from operator import add
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import NamedTemporaryFile

import pytest
import sliced
from test_slices import kill_three
from topics_of import values
from waiting import eventually

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, SOURCE
from streaming_lab.slices.executors import open_executor
from streaming_lab.slices.plan import SlicePlan, plan_slices
from streaming_lab.slices.run import run_slices
from streaming_lab.slices.work import OtherCode, SliceFailed, code_of_this_process

pytestmark = pytest.mark.slow


@contextmanager
def dask(said: str, times: int, *command: str, source: Path = SOURCE) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """One of Dask's programs, once it has said a line so often: the process, and what follows these words there."""
    found = os.pathsep.join([str(source), str(Path(__file__).parent)])  # the lab, and the functions of these tests
    environment = {**os.environ, "PYTHONPATH": found, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10"}
    with NamedTemporaryFile() as log, ExitStack() as stack:
        program = [sys.executable, "-m", "dask", *command]
        process = stack.enter_context(subprocess.Popen(program, stderr=log, cwd=source.parent, env=environment))
        stack.callback(process.kill)
        assert eventually(lambda: len(words(log.name, said)) >= times, 60), Path(log.name).read_text(encoding="utf8")
        yield process, words(log.name, said)[0]


def words(log: str, said: str) -> list[str]:
    """What follows a word and a colon, in each line of a log that has them."""
    return re.findall(rf"{said}:\s+(\S+)", Path(log).read_text(encoding="utf8"))


@contextmanager
def scheduler() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`dask scheduler`, its process and its address."""
    place = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    with dask("Scheduler at", 1, "scheduler", *place) as found:
        yield found


@contextmanager
def workers_of(address: str, source: Path = SOURCE) -> Iterator[None]:
    """Two workers that the scheduler knows, in processes of their own; one that ends is replaced."""
    with dask("Registered to", 2, "worker", address, "--nworkers", "2", "--nthreads", "1", source=source):
        yield


@pytest.fixture(scope="module")
def workers() -> Iterator[str]:
    """The address of a scheduler with two workers, each in a process of its own."""
    with scheduler() as (_, address), workers_of(address):
        yield address


@pytest.fixture
def numbers(kafka: Connection) -> SlicePlan:
    """Slices of 3,000 numbers."""
    return plan_slices(addresses(kafka), values(kafka, *(b'{"n": 1}' for _ in range(3000))), offsets=500)


def test_workers_of_a_scheduler_read_the_slices_and_stay(kafka: Connection, numbers: SlicePlan, workers: str) -> None:
    """Two executors, one after the other: closing one leaves the scheduler and its workers to the next."""
    for _ in range(2):
        with open_executor("dask", workers) as executor:
            found = run_slices(addresses(kafka), numbers.slices, sliced.frames, sliced.joined, executor)
        assert (len(found.part), found.rows, found.slices) == (3000, 3000, 6)
        assert str(os.getpid()) not in {one.rpartition(":")[2] for one in found.processes}


def test_killed_workers_of_a_scheduler_change_no_number(
    kafka: Connection, numbers: SlicePlan, workers: str, tmp_path: Path
) -> None:
    """Three of its workers end while they work on a slice: the others, and those that replace them, read it again."""
    with open_executor("dask", workers) as executor, ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_three, tmp_path)
        extra = {0: (str(tmp_path),)}
        found = run_slices(addresses(kafka), numbers.slices, sliced.slowly, add, executor, extra=extra)
        assert len(killed.result(1)) == 3
    assert (found.part, found.rows) == (3000, 3000)


def test_a_scheduler_that_dies_in_mid_run_is_told_in_time(
    kafka: Connection, numbers: SlicePlan, tmp_path: Path
) -> None:
    """Killed while workers are at work: one error that names it, within half a minute."""
    with scheduler() as (process, address), workers_of(address), ThreadPoolExecutor(1) as pool:
        began, extra = time.monotonic(), {0: (str(tmp_path),)}
        with open_executor("dask", address) as executor:
            pool.submit(lambda: eventually(lambda: any(tmp_path.iterdir()), 60) and process.kill())
            with pytest.raises(SliceFailed, match=f"the Dask scheduler {address} is gone"):
                run_slices(addresses(kafka), numbers.slices, sliced.slowly, add, executor, extra=extra)
        assert time.monotonic() - began < 30


def test_workers_of_another_checkout_are_refused(kafka: Connection, numbers: SlicePlan, tmp_path: Path) -> None:
    """The same lab with one more comment in one module: refused before anything is read, by both names."""
    copytree(PROJECT / "app", tmp_path / "app", ignore=ignore_patterns("__pycache__"))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "streaming_lab").symlink_to(tmp_path / "app")
    with (tmp_path / "app" / "wording.py").open("a") as module:
        module.write("# one more comment\n")
    with (
        scheduler() as (_, address),
        workers_of(address, tmp_path / "src"),
        open_executor("dask", address) as executor,
        pytest.raises(OtherCode, match=f"has other code than this process: .*, not {code_of_this_process()[:16]}"),
    ):
        run_slices(addresses(kafka), numbers.slices, sliced.frames, sliced.joined, executor)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:{free}", "no Dask scheduler answers at tcp://127.0.0.1:"),
        ("tcp://127.0.0.1", "no Dask scheduler answers at tcp://127.0.0.1: "),
        ("tcp://nowhere.invalid:8786", "no Dask scheduler answers at tcp://nowhere.invalid:8786"),
        ("carrier://pigeon:1", "no Dask scheduler answers at carrier://pigeon:1"),
    ],
)
def test_no_scheduler_is_one_error_in_seconds(address: str, said: str) -> None:
    """A port that nobody serves, an address without a port, a name that nobody has, another protocol."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        free = holder.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(LabError, match=re.escape(said)) as told:
        open_executor("dask", address.format(free=free))
    assert time.monotonic() - began < 5
    assert told.value.cure.startswith("Start one (dask scheduler)")


def test_a_server_that_is_no_scheduler_is_told(kafka: Connection) -> None:
    """Kafka's own address."""
    began = time.monotonic()
    with pytest.raises(LabError, match="no Dask scheduler answers at tcp://127"):
        open_executor("dask", f"tcp://{addresses(kafka).split(',')[0]}")
    assert time.monotonic() - began < 30


def test_a_scheduler_without_workers_is_told(kafka: Connection, numbers: SlicePlan) -> None:
    """One error with the command that starts some."""
    with (
        scheduler() as (_, address),
        open_executor("dask", address) as executor,
        pytest.raises(LabError, match=f"the Dask scheduler {address} has no workers"),
    ):
        run_slices(addresses(kafka), numbers.slices, sliced.frames, sliced.joined, executor)
