"""Whatever breaks at whatever moment: a 200 of confirmed and outbox is for good. More of them: scripts/faults.py."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from clusters import games_below, now, pids
from waiting import eventually

from streaming_lab.cluster import Cluster
from streaming_lab.cluster.embedded.client import attach_embedded
from streaming_lab.faults import soak
from streaming_lab.faults.load import Load
from streaming_lab.faults.plan import FAULT_ACTIONS, NO_FAULT, TARGETS
from streaming_lab.faults.soak import MOST_STEPS, find_violations, make_schedule, possible_targets
from streaming_lab.paths import PROJECT

SEEDS = range(1, 11)
SOME = (1, 3, 9)  # in every full check; the others are for the long one


@pytest.mark.slow
@pytest.mark.parametrize("seed", [pytest.param(seed, marks=() if seed in SOME else pytest.mark.long) for seed in SEEDS])
def test_no_promise_is_broken(breakable: Cluster, seed: int) -> None:
    """Nothing lost or doubled, nobody's order broken, replay = the game that ran = a game that starts afterwards."""
    one = make_schedule(seed)
    assert find_violations(one, breakable) == [], f"again: python3 scripts/faults.py --seed {seed}   ({one})"


def test_a_seed_is_a_schedule() -> None:
    """The same seed gives the same steps, clients and moves; another one others."""
    assert [make_schedule(seed) for seed in SEEDS] == [make_schedule(seed) for seed in SEEDS]
    assert len({str(make_schedule(seed)).partition(":")[2] for seed in SEEDS}) == len(SEEDS)


def test_schedules_do_only_what_can_be_done() -> None:
    """Every step fits the state before it, moments rise, and in a hundred seeds all happens that can happen here."""
    done = set()
    for seed in range(100):
        states, moments = dict.fromkeys(TARGETS, "up"), [0.0]
        for step in make_schedule(seed).fault.steps:
            verb, target = step.action.split()
            states[target] = TARGETS[target][states[target]][verb]
            moments.append(step.at)
            done.add(step.action)
        assert moments == sorted(moments)
        assert 2 <= len(moments) - 1 <= MOST_STEPS
    assert done == {action for action in FAULT_ACTIONS if action.split()[1] in possible_targets()}


def test_evidence_of_a_broken_promise_is_kept(
    breakable: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forced violation: what was said and answered, outbox, topics and the broker's log survive in a named place."""
    monkeypatch.setattr(soak, "attach", lambda *_, **__: attach_embedded(instance="breakable"))
    monkeypatch.setattr(
        soak, "make_schedule", lambda seed: replace(make_schedule(seed), fault=NO_FAULT, load=Load(8, 40.0, 2))
    )
    monkeypatch.setattr(soak, "broken_promises", lambda _: ["1 event lost"])
    before = {path.name for path in soak.evidence_folder(3).parent.glob("*")}  # of kernels that other tests killed
    assert soak.main(["--seed", "3"]) == 1
    there = soak.evidence_folder(3)
    assert f"  BROKEN: 1 event lost\n  evidence: {there}\n  failed" in capsys.readouterr().out
    found = {re.sub(r"[0-9]{20}|[0-9a-f]{8}", "*", path.relative_to(there).as_posix()) for path in there.rglob("*")}
    topics = ("faults-*-confirmed", "faults-*-outbox")
    assert found >= {f"{topic}/{name}-1.txt" for topic in topics for name in ("out", "errors")}
    assert found >= {f"broker-1/{topic}-{number}/*.log" for topic in topics for number in range(3)}
    assert found >= {"problems.txt", "asked-outbox.csv", "events-confirmed.csv", "broker-1/kafka.log"}
    assert found >= {"faults-*-outbox/outbox.sqlite"}
    assert sum(path.stat().st_size for path in there.rglob("*")) < 8 << 20
    assert {path.name for path in there.parent.iterdir()} - before == {"failed-3"}


@pytest.mark.long
def test_many_schedules(minutes: float) -> None:
    """As many seeds that nobody tried before as there is time for, by the command that people use."""
    began, first = time.monotonic(), time.time_ns() // 1_000_000_000
    while time.monotonic() - began < 60 * minutes:
        command = [sys.executable, "scripts/faults.py", "--schedules", "10", "--first", str(first)]
        ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr
        first += 10


@pytest.mark.slow
def test_an_interrupted_long_run_leaves_nothing(tmp_path: Path) -> None:
    """In the middle of a schedule, Ctrl-C as a terminal sends it: exit code, and no JVM, game or folder is left."""
    command = [sys.executable, "scripts/faults.py", "--schedules", "3"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    home = {**os.environ, "LAB_HOME": str(tmp_path)}
    with subprocess.Popen(command, cwd=PROJECT, env=home, start_new_session=True, **output) as process:
        try:
            assert eventually(lambda: games_below(process.pid), 120)
            started = [*games_below(process.pid), *pids(now(tmp_path, "schedules"))]
            os.killpg(process.pid, signal.SIGINT)
            said = process.communicate(timeout=120)[0].decode()
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in said) == (130, False), said
    assert eventually(lambda: not any(map(psutil.pid_exists, started)), 30)
    assert eventually(lambda: not [*(tmp_path / "faults").iterdir(), *(tmp_path / "run").iterdir()], 30)


def test_the_long_run_names_what_was_broken(
    breakable: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schedule that breaks a promise: its seed, the command that repeats it, exit code 1."""
    monkeypatch.setattr(soak, "attach", lambda *_, **__: attach_embedded(instance="breakable"))
    monkeypatch.setattr(soak, "find_violations", lambda one, _: ["1 event lost"] if one.seed == 4 else [])
    assert soak.main(["--schedules", "3", "--first", "3"]) == 1
    told = capsys.readouterr().out
    assert "  BROKEN: 1 event lost\n" in told
    assert told.endswith(
        "2 of 3 schedules kept every promise\nagain: python3 scripts/faults.py --seed 4   (failed: 4)\n"
    )


def test_what_this_machine_cannot_make_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a compiler for the games' machines: one line says so, and schedules have none of these faults."""
    monkeypatch.setattr(soak, "find_compiler", lambda: None)
    monkeypatch.setattr(soak, "attach", lambda *_, **__: nullcontext())
    monkeypatch.setattr(soak, "find_violations", lambda *_: [])
    assert soak.main(["--schedules", "1"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "not here, since it needs Linux and a C compiler: faults of clock, disk, power"
    assert not any(make_schedule(seed).fault.needs_machines for seed in range(50))
