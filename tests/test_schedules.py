"""Whatever breaks at whatever moment: a 200 of confirmed and outbox is for good. More of them: scripts/faults.py."""

from collections.abc import Iterator

import pytest

from app.cluster import Cluster
from app.cluster.embedded import attach
from app.faults import cli
from app.faults.schedules import BROKER, GAMES, MOST_STEPS, schedule, violations

SEEDS = range(1, 11)


@pytest.fixture(scope="module")
def breakable() -> Iterator[Cluster]:
    """A broker that only these tests use, to kill and to freeze."""
    with attach(instance="schedules") as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_is_broken(breakable: Cluster, seed: int) -> None:
    """Nothing lost or doubled, nobody's order broken, replay = the game that ran = a game that starts afterwards."""
    one = schedule(seed)
    assert violations(one, breakable) == [], f"again: python3 scripts/faults.py --seed {seed}   ({one})"


def test_a_seed_is_a_schedule() -> None:
    """The same seed gives the same steps, clients and moves; another one others."""
    assert [schedule(seed) for seed in SEEDS] == [schedule(seed) for seed in SEEDS]
    assert len({str(schedule(seed)).partition(":")[2] for seed in SEEDS}) == len(SEEDS)


def test_schedules_do_only_what_can_be_done() -> None:
    """Every step fits the state that the one before left, moments rise, and in a hundred seeds everything happens."""
    done = set()
    for seed in range(100):
        states, moments = {"broker": "up", "games": "up"}, [0.0]
        for step in schedule(seed).fault.steps:
            what = step.action.split()[1]
            states[what] = {"broker": BROKER, "games": GAMES}[what][states[what]][step.action]
            moments.append(step.at)
            done.add(step.action)
        assert moments == sorted(moments)
        assert 2 <= len(moments) - 1 <= MOST_STEPS
    assert done == {action for table in (BROKER, GAMES) for actions in table.values() for action in actions}


def test_the_long_run_names_what_was_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schedule that breaks a promise: its seed, the command that repeats it, exit code 1."""
    monkeypatch.setattr(cli, "attach", lambda *_, **__: attach(instance="schedules"))
    monkeypatch.setattr(cli, "violations", lambda one, _: ["1 event lost"] if one.seed == 4 else [])
    assert cli.main(["--schedules", "3", "--first", "3"]) == 1
    told = capsys.readouterr().out
    assert "  BROKEN: 1 event lost\n" in told
    assert told.endswith(
        "2 of 3 schedules kept every promise\nagain: python3 scripts/faults.py --seed 4   (failed: 4)\n"
    )
