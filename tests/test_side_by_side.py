"""Experiments side by side: each lane in its order on a cluster of its own, errors where a result is asked for."""

import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from streaming_lab.errors import LabError
from streaming_lab.faults import plan, side_by_side
from streaming_lab.faults.load import Load
from streaming_lab.faults.plan import Fault
from streaming_lab.faults.side_by_side import Lanes

HEARD = threading.Event()
A, B, C = Fault("a, first"), Fault("b"), Fault("c")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What ran on which cluster, both stand-ins; fault `b` fails, and `c` waits until `HEARD` is set."""
    found = list[tuple[str, str]]()
    HEARD.clear()

    @contextmanager
    def attach(name: str, instance: str) -> Any:
        yield SimpleNamespace(name=instance[7], close=lambda wait: found.append((instance[7], "closed")))

    def run_experiment(fault: Fault, kafka: Any, variants: Any, load: Load, say: Any) -> Any:
        say("the crowds play")
        found.append((kafka.name, fault.name))
        if fault == B:
            raise LabError("b broke", "Mend it.")
        if fault == C:
            HEARD.wait(10)
        return (fault, len(variants))

    monkeypatch.setattr(side_by_side, "attach", attach)
    monkeypatch.setattr(side_by_side, "run_experiment", run_experiment)
    monkeypatch.setattr(side_by_side, "SAY_INTERVAL", 0.01)
    return found


def test_each_lane_runs_in_order_on_a_cluster_of_its_own(ran: list[tuple[str, str]]) -> None:
    """Two repetitions of each; the lane's cluster is closed before `close` returns."""
    lanes = Lanes([(A,), (plan.BROKER_DOWN,)], Load(), times=2)
    assert lanes.result(plan.BROKER_DOWN) == [(plan.BROKER_DOWN, len(plan.DEFAULT_VARIANTS) + 1)] * 2
    assert lanes.result(A) == [(A, len(plan.DEFAULT_VARIANTS))] * 2
    lanes.close()
    assert [name for place, name in ran if place == "1"] == [A.name, A.name, "closed"]
    assert [name for place, name in ran if place == "2"] == [plan.BROKER_DOWN.name, plan.BROKER_DOWN.name, "closed"]


def test_an_error_ends_its_lane_only(ran: list[tuple[str, str]]) -> None:
    """Who asks for the fault, or for one behind it, gets the error; what was over before and other lanes are fine."""
    lanes = Lanes([(A, B, plan.GAMES_KILLED), (plan.NO_FAULT,)], Load())
    assert lanes.result(A)
    for fault in (B, plan.GAMES_KILLED):
        with pytest.raises(LabError, match="b broke"):
            lanes.result(fault)
    assert lanes.result(plan.NO_FAULT)
    assert plan.GAMES_KILLED.name not in [name for _, name in ran]


def test_who_waits_hears_what_is_done(ran: list[tuple[str, str]]) -> None:
    """The awaited lane first, each with what it does just now, then how many are over."""
    said = list[str]()

    def say(doing: str) -> None:
        said.append(doing)
        if "c: the crowds play; 1 of 2 over" in doing:
            HEARD.set()

    lanes = Lanes([(A,), (C,)], Load(), say=say)
    lanes.result(C)
    assert said[-1] == "c: the crowds play; 1 of 2 over"


def test_every_fault_has_its_lane() -> None:
    """The chapter's experiments are all of the plan's, each once."""
    assert sorted(fault.name for lane in plan.LANES for fault in lane) == sorted(fault.name for fault in plan.FAULTS)
