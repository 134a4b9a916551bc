"""A topic in slices is the topic: whoever reads them, and whatever befalls the workers."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import add
from pathlib import Path

import pandas as pd
import pytest
import sliced
from kafka import KafkaAdminClient, TopicPartition
from topics_of import abort, new_topic, producer, values, write
from waiting import eventually

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster import Cluster
from streaming_lab.errors import LabError
from streaming_lab.paths import SOURCE
from streaming_lab.reader import read_topic
from streaming_lab.slices import executors, on_dask, run, work
from streaming_lab.slices.executors import Executor, MachineProcesses, ThisProcess, open_executor
from streaming_lab.slices.plan import plan_slices
from streaming_lab.slices.run import SliceChanged, run_slices
from streaming_lab.slices.work import OtherCode, SliceFailed

DASK = pytest.param("dask", marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find the functions of these tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture(scope="module")
def numbers(kafka: Connection) -> str:
    """A topic of 9,000 numbers on three partitions, with a reject and a tombstone on each."""
    rows: list[bytes | None] = [json.dumps({"n": n, "name": f"player-{n % 7}"}).encode() for n in range(9000)]
    return values(kafka, *rows, b"no JSON", b"[1]", b"\xff", None, None, None, partitions=3)


@pytest.fixture(params=["pandas", "processes", DASK])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Every way to have slices read."""
    with open_executor(request.param, workers=2) as found:
        yield found


def test_slices_together_are_the_topic(kafka: Connection, numbers: str, executor: Executor) -> None:
    """Row by row what `read_topic` gives, in its order and types, and the same batches however the range is cut."""
    plan = plan_slices(addresses(kafka), numbers, offsets=700)
    assert len(plan.slices) == 15
    found = run_slices(addresses(kafka), plan.slices, sliced.frames, sliced.joined, executor)
    topic = read_topic(kafka, numbers)
    pd.testing.assert_frame_equal(found.part, topic.events)
    assert (found.rows, found.rejects, found.tombstones, found.slices) == (9000, 3, 3, 15)
    whole = plan_slices(addresses(kafka), numbers, offsets=10_000)
    assert found.digest == run_slices(addresses(kafka), whole.slices, sliced.count, add, ThisProcess()).digest != 0


def test_a_value_that_the_sample_did_not_show_widens_the_slices_that_have_one(kafka: Connection) -> None:
    """A late column and a late fraction: read again in a wider plan, nothing lost; other slices are read once."""
    rows = [{"a": n} for n in range(3000)] + [{"a": 0.5, "b": "x"}] + [{"a": n} for n in range(99)]
    topic = values(kafka, *(json.dumps(row).encode() for row in rows))
    plan = plan_slices(addresses(kafka), topic, offsets=310)
    with MachineProcesses(2) as executor:
        found = run_slices(addresses(kafka), plan.slices, sliced.frames, sliced.joined, executor)
    assert (found.rows, found.part["a"].sum(), found.part["b"].dropna().tolist()) == (
        3100,
        3000 * 2999 / 2 + 0.5 + 99 * 49,
        ["x"],
    )
    assert found.part["offset"].tolist() == list(range(3100))


@pytest.mark.parametrize("engine", ["processes", DASK])
def test_workers_killed_in_mid_run_change_no_number(
    kafka: Connection, numbers: str, engine: str, tmp_path: Path
) -> None:
    """Three kills of a process that works on a slice: each such slice is read again, and the sum is the same."""
    plan = plan_slices(addresses(kafka), numbers, offsets=1600)
    with open_executor(engine, workers=2) as executor, ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_three, tmp_path)
        extra = dict.fromkeys(range(3), (str(tmp_path),))
        found = run_slices(addresses(kafka), plan.slices, sliced.slowly, add, executor, extra=extra)
        assert len(killed.result(1)) == 3
    assert (found.part, found.rows, found.slices) == (9000, 9000, 6)


def kill_three(folder: Path) -> set[int]:
    """SIGKILL to three processes that work on a slice, one after another."""
    killed: set[int] = set()
    for _ in range(3):
        assert eventually(lambda: at_work(folder) - killed, 60)
        pid = min(at_work(folder) - killed)
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    return killed


def at_work(folder: Path) -> set[int]:
    """The processes that work on a slice."""
    return {int(path.name) for path in folder.iterdir()}


@pytest.mark.parametrize("engine", ["processes", DASK])
def test_a_slice_that_ends_every_worker_is_given_up(
    kafka: Connection, numbers: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No endless repetition: the error names the slice."""
    monkeypatch.setattr(executors, "ALLOWED_DEATHS", 2)
    monkeypatch.setattr(on_dask, "ALLOWED_DEATHS", 1)
    plan = plan_slices(addresses(kafka), numbers, offsets=5000)
    with (
        open_executor(engine, workers=1) as executor,
        pytest.raises(SliceFailed, match=r"partition \d.*worker end"),
    ):
        run_slices(addresses(kafka), plan.slices, sliced.deadly, add, executor)


def test_a_second_reading_with_other_batches_is_an_error_that_names_the_slice(kafka: Connection) -> None:
    """The topic is made anew with the same name and offsets; where brokers tell no topic id, the digest tells."""
    topic = values(kafka, *(b'{"n": 1}' for _ in range(20)))
    plan = plan_slices(addresses(kafka), topic, offsets=10)
    first = run_slices(addresses(kafka), plan.slices, sliced.count, add, ThisProcess())
    topics.delete_topics(kafka, [topic])
    assert eventually(lambda: topics.create_topic(kafka, topic))
    write(kafka, topic, {0: [(None, b'{"n": 2}')] * 20})
    with pytest.raises(SliceFailed, match=r"offsets \[0, 10\): the topic was deleted, and made again"):
        run_slices(addresses(kafka), plan.slices, sliced.count, add, ThisProcess())
    nameless = [replace(piece, topic_id="") for piece in plan.slices]
    with pytest.raises(SliceChanged, match=r"offsets \[0, 10\): a second reading found other batches"):
        run_slices(addresses(kafka), nameless, sliced.count, add, ThisProcess(), digests=first.digests)


@pytest.mark.parametrize("engine", ["processes", DASK])
def test_workers_with_other_code_are_refused(
    kafka: Connection, numbers: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's code is another one than the workers' by then."""
    plan = plan_slices(addresses(kafka), numbers)
    for module in (run, on_dask):
        monkeypatch.setattr(module, "code_of_this_process", lambda: "0123 Python 3.11")
    with (
        open_executor(engine, workers=1) as executor,
        pytest.raises(OtherCode, match="has other code than"),
    ):
        run_slices(addresses(kafka), plan.slices, sliced.frames, add, executor)


def test_retention_that_passed_the_start_is_told(kafka: Connection, numbers: str) -> None:
    """Records deleted between planning and reading: no shorter sum, but an error with the offsets."""
    topic = values(kafka, *(b'{"n": 1}' for _ in range(30)))
    plan = plan_slices(addresses(kafka), topic, offsets=10)
    admin = KafkaAdminClient(**kafka)
    admin.delete_records({TopicPartition(topic, 0): 15})
    admin.close()
    with (
        MachineProcesses(1) as executor,
        pytest.raises(SliceFailed, match=r"\[0, 10\): .*0 to 10 were deleted"),
    ):
        run_slices(addresses(kafka), plan.slices, sliced.frames, sliced.joined, executor)


@pytest.mark.slow
def test_a_frozen_broker_is_told_in_time(breakable: Cluster) -> None:
    """A broker that stops answering after the plan: an error with the slice when the read's time is over, no wait."""
    kafka = breakable.connection
    topic = values(kafka, *(b'{"n": 1}' for _ in range(30)))
    plan = plan_slices(addresses(kafka), topic, offsets=10)
    breakable.pause()
    try:
        with pytest.raises(SliceFailed, match=r"partition 0, offsets \[0, 10\): "):
            run_slices(addresses(kafka), plan.slices, sliced.count, add, ThisProcess(), timeout=4)
    finally:
        breakable.resume()
    assert run_slices(addresses(kafka), plan.slices, sliced.count, add, ThisProcess()).part == 30


def test_a_tail_without_visible_records_ends(kafka: Connection, executor: Executor) -> None:
    """The last offsets are an aborted transaction and its marker: slices of nothing but these end, and count them."""
    topic = values(kafka, *(b'{"n": 1}' for _ in range(10)))
    abort(kafka, topic, 12)
    plan = plan_slices(addresses(kafka), topic, isolation="read_committed", offsets=4)
    found = run_slices(addresses(kafka), plan.slices, sliced.count, add, executor)
    assert (found.part, found.aborted, plan.ranges) == (10, 12, {0: (0, 23)})


def test_the_end_of_committed_reads_is_the_last_stable_offset(kafka: Connection) -> None:
    """An open transaction is no part of the plan, so no worker waits for its end."""
    topic = new_topic(kafka)
    out = producer(kafka, transactional_id=topic)
    write(kafka, topic, {0: [(None, b'{"n": 1}')] * 5})
    out.init_transactions(20)
    out.begin_transaction()
    write(kafka, topic, {0: [(None, b'{"n": 2}')] * 5}, out)
    plan = plan_slices(addresses(kafka), topic, isolation="read_committed")
    out.abort_transaction(20)
    assert plan.ranges == {0: (0, 5)}


def test_a_bug_in_the_function_is_told_with_its_slice(kafka: Connection, numbers: str) -> None:
    """The error says which slice, which exception, and how to see it here."""
    plan = plan_slices(addresses(kafka), numbers)
    with MachineProcesses(2) as executor, pytest.raises(SliceFailed, match="the function raised KeyError: 'swords'"):
        run_slices(addresses(kafka), plan.slices, sliced.broken, add, executor)


def test_a_function_that_no_other_process_finds_is_refused(kafka: Connection, numbers: str) -> None:
    """A lambda has no name to be found by."""
    plan = plan_slices(addresses(kafka), numbers)
    with MachineProcesses(1) as executor, pytest.raises(LabError, match="cannot be sent to another process"):
        run_slices(addresses(kafka), plan.slices, lambda frame: 1, add, executor)


def test_a_topic_beyond_the_budget_is_refused_before_it_is_read(kafka: Connection, numbers: str) -> None:
    """What, how much, and which option helps."""
    plan = plan_slices(addresses(kafka), numbers)
    plan.refuse_beyond(2 << 20)
    with pytest.raises(LabError, match=r"as one DataFrame \(9,006 offsets") as told:
        plan.refuse_beyond(1 << 18)
    assert "-p engine" in told.value.cure
    assert "LAB_MEMORY" in told.value.cure


def test_a_plan_holds_no_secret_and_an_unread_engine_is_none(kafka: Connection, numbers: str) -> None:
    """Slices have no connection in them, and a scheduler is Dask's alone."""
    (piece, *_) = plan_slices(addresses(kafka), numbers).slices
    assert addresses(kafka) not in repr(piece)
    for engine, scheduler, said in (("spark", "", "no engine 'spark'"), ("pandas", "tcp://h:1", "is Dask's")):
        with pytest.raises(LabError, match=said):
            open_executor(engine, scheduler)


def test_code_has_one_name_on_all_workers() -> None:
    """Hash, Python, pandas and pyarrow: what decides what a frame is."""
    assert [word for word in work.code_of_this_process().split() if word.isalpha()] == ["Python", "pandas", "pyarrow"]


def test_who_does_not_ask_for_dask_neither_has_nor_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packages are in no other lock, nothing imports it before it is asked for, and its absence is one error."""
    project = Path(__file__).resolve().parent.parent
    lock = (project / "requirements.txt").read_text(encoding="utf8")
    assert not re.search(r"^(dask|distributed)==", lock, re.MULTILINE)
    program = "import sys, streaming_lab.scaling.sliced_tables; print({'dask', 'distributed'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=SOURCE, check=True)
    assert ran.stdout == "set()\n"
    monkeypatch.setattr(on_dask, "dask_is_there", lambda: False)
    with pytest.raises(LabError, match="the engine dask is not installed"):
        open_executor("dask")
