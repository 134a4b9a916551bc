"""Experiments with faults: what they count, that broken promises are found, and that nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import games_below
from waiting import eventually, within

from streaming_lab.analysis.answer_kinds import ANSWERS
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection
from streaming_lab.cluster import Cluster
from streaming_lab.cluster.base import BROKER_VERBS
from streaming_lab.delivery.ways import DELIVERING
from streaming_lab.errors import LabError
from streaming_lab.faults import plan
from streaming_lab.faults.experiment import Experiment, run_experiment
from streaming_lab.faults.game_process import GameFailed, GameProcess, GameTemplate
from streaming_lab.faults.load import Crowds, Load
from streaming_lab.faults.plan import Fault, Step, Variant
from streaming_lab.faults.results import assert_kept, broken_promises, counts, lost_events, timeline

LOAD = Load(requests=80, rate=40.0, players=6)
CONFIRMED, OUTBOX, BUFFERED = (Variant(way, way) for way in ("confirmed", "outbox", "buffered"))


@pytest.fixture(scope="module")
def calm(breakable: Cluster) -> Experiment:
    """A real experiment in which nothing happens, to break afterwards."""
    return run_experiment(plan.NO_FAULT, breakable, (CONFIRMED, OUTBOX, BUFFERED), LOAD)


@pytest.fixture
def topic(kafka: Connection) -> str:
    """A topic of this test's own."""
    name = f"faults-{uuid.uuid4().hex[:8]}"
    topics.create_topic(kafka, name, partitions=2)
    return name


def children() -> list[int]:
    """The games, and their template, that this process has started and that have not ended."""
    found = [(one.pid, one.cmdline()) for one in psutil.Process().children(recursive=True) if one.is_running()]
    return [pid for pid, command in found if "streaming_lab.game.template" in command]


def ended(pid: int, within: float = 30.0) -> bool:
    """Has the process ended, at the latest `within` seconds from now?"""
    deadline = time.monotonic() + within
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_calm_experiment_counts_everything_once(calm: Experiment) -> None:
    """Every request has one answer, every 200 one row, nothing is lost, doubled or left."""
    table = counts(calm).set_index("variant")
    assert (table[list(ANSWERS)].sum(axis=1) == LOAD.requests).all()
    assert (table["in topic"] == table["200"]).all()
    assert table[["lost", "duplicates", "left", "named", "again"]].to_numpy().sum() == 0
    assert len(timeline(calm)) == 3 * LOAD.requests
    assert broken_promises(calm) == []


@pytest.mark.slow
def test_fire_and_forget_loses_and_confirmed_says_so(breakable: Cluster) -> None:
    """Broker gone after the first second: all 200 and few rows; confirmed: 200s and rows agree, the rest is 503."""
    gone = Fault("gone", (Step(1.0, "kill broker"), Step(5.5, "restart broker")))
    variants = (plan.DEFAULT_VARIANTS[0], CONFIRMED)
    experiment = run_experiment(gone, breakable, variants, Load(requests=100, rate=20.0, players=20))
    forgot, confirmed = counts(experiment).to_dict("records")
    assert forgot["503 refused"] + forgot["503 unknown"] + forgot["no answer"] == 0
    assert forgot["lost"] == forgot["200"] - forgot["in topic"] > 0
    assert confirmed["in topic"] == confirmed["200"] + confirmed["unpromised"]
    assert confirmed["503 unknown"] > 0
    assert len(lost_events(experiment)) == forgot["lost"]
    assert_kept(experiment)


@pytest.mark.slow
def test_a_retry_after_unknown_is_one_event(breakable: Cluster) -> None:
    """Broker paused for longer than the wait, the client asks again with the same id: one event, answered 200."""
    asking = Variant("asking", "confirmed", retries=60)
    experiment = run_experiment(plan.BROKER_PAUSED, breakable, (asking,), LOAD)
    (row,) = counts(experiment).to_dict("records")
    assert row["again"] > 0
    assert (row["503 refused"], row["503 unknown"], row["lost"], row["left"]) == (0, 0, 0, 0)
    assert row["in topic"] == row["200"]
    assert_kept(experiment)


Tamper = Callable[[Any], dict[str, Any]]

TAMPERINGS: dict[str, tuple[int, Tamper, str]] = {
    "a row goes missing": (0, lambda r: {"topic": without_first(r.topic)}, "not the world of a game that starts on it"),
    "two rows change places": (0, lambda r: {"topic": swapped(r.topic)}, ": request "),
    "a delivery is undecided": (
        0,
        lambda r: {"exit_reports": (replace(r.exit_reports[-1], left=2),)},
        "2 events undecided",
    ),
    "a row waits in the outbox": (1, lambda r: {"waiting": 1}, "1 rows are still in the outbox"),
    "the old game knew more": (1, lambda r: {"seen": {**r.seen, "player-01": (False, "crows")}}, "game that ran"),
}


def without_first(topic: Any) -> Any:
    """The topic without its first purchase."""
    events = topic.events
    return replace(topic, events=events.drop(events.index[events["event_type"] == "purchased_sword"][0]))


def swapped(topic: Any) -> Any:
    """The topic with the first and last event of the busiest player in each other's place."""
    events = topic.events.copy()
    rows = events.index[events["player"] == events["player"].mode()[0]]
    events.loc[[rows[0], rows[-1]], "offset"] = events.loc[[rows[-1], rows[0]], "offset"].to_numpy()
    return replace(topic, events=events)


@pytest.mark.parametrize("what", TAMPERINGS)
def test_a_broken_promise_is_found(calm: Experiment, what: str) -> None:
    """The check can fail: an experiment with one thing changed is named for it, and only for its variant."""
    index, tamper, problem = TAMPERINGS[what]
    results = list(calm.results)
    results[index] = replace(results[index], **tamper(results[index]))
    found = broken_promises(replace(calm, results=tuple(results)))
    assert any(problem in line for line in found), found
    assert all(line.startswith(f"no fault, {results[index].variant.name}: ") for line in found)


def test_a_step_that_fails_leaves_nothing_behind(breakable: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the middle: no game is left, and the broker, killed before, runs again."""
    monkeypatch.setattr(GameProcess, "pause", lambda game: game.no_such_method())
    fault = Fault("failing", (Step(0.1, "kill broker"), Step(0.2, "pause games")))
    with pytest.raises(AttributeError, match="no_such_method"):
        run_experiment(fault, breakable, (CONFIRMED,), LOAD)
    assert children() == []
    assert topics.topic_names(breakable.connection)


PROGRAM = """
import sys
from streaming_lab.cluster.base import BROKER_VERBS
from streaming_lab.cluster.embedded.client import attach_embedded
from streaming_lab.faults import plan
from streaming_lab.faults.load import Load
from streaming_lab.faults.experiment import run_experiment
with attach_embedded(instance="breakable") as cluster:
    print("begins", flush=True)
    run_experiment(plan.NO_FAULT, cluster, plan.DEFAULT_VARIANTS[2:3], Load(requests=100_000, rate=20.0))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_or_a_kill_leaves_no_game(breakable: Cluster, number: int) -> None:
    """The process that runs an experiment is interrupted, or killed: the game ends with it."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(plan.__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert eventually(lambda: games_below(process.pid), 60)
            (game,) = games_below(process.pid)
            os.kill(process.pid, number)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert ended(game)


def test_requests_that_come_together_are_all_answered(tmp_path: Path) -> None:
    """After Ctrl-C a request that was cut off is sent with the next one; the template forgot the second of two."""
    with GameTemplate() as template:
        pid = template.ask(start=["--help"], out=str(tmp_path / "out"), errors=str(tmp_path / "errors"))
        together = "".join(f'{{"id": "{name}", "poll": {pid}}}\n' for name in "abc")
        template._socket.settimeout(20)
        template._socket.sendall(together.encode())
        found = b""
        while found.count(b"\n") < 3:
            found += template._socket.recv(4096)
        assert [json.loads(line)["id"] for line in found.splitlines()] == ["a", "b", "c"]


def test_a_game_comes_back_at_its_address(kafka: Connection, topic: str, tmp_path: Path) -> None:
    """Killed and launched again: the same url, and an exit report only of the end that was asked for."""
    with GameTemplate() as template:
        game = GameProcess(template, kafka, topic, "confirmed", tmp_path)
        game.launch(5.0)
        game.await_ready()
        url = game.url
        game.kill()
        game.launch(5.0)
        game.await_ready()
        game.begin_stop()
        game.await_end()
        assert (game.url, game.running, [(end.code, end.left) for end in game.exit_reports]) == (url, False, [(0, 0)])


def test_a_game_that_cannot_start_says_why(kafka: Connection, topic: str, tmp_path: Path) -> None:
    """After the deadline the error has what the game said."""
    with GameTemplate() as template:
        game = GameProcess(template, kafka, topic[:-1], "confirmed", tmp_path)
        game.launch(1.0)
        with pytest.raises(GameFailed, match=r"(?s)not ready after 5 s: .*does not exist"):
            game.await_ready(timeout=5.0)
        assert not game.running


def test_a_template_leaves_no_game(kafka: Connection, topic: str, tmp_path: Path) -> None:
    """The games end with their template, also a paused one; whoever asks afterwards gets one clear error."""
    with GameTemplate() as template:
        game = GameProcess(template, kafka, topic, "confirmed", tmp_path)
        game.launch(5.0)
        game.await_ready()
        game.pause()
        started = children()
    assert len(started) == 2
    assert all(map(ended, started))
    with pytest.raises(GameFailed, match="template"):
        game.resume()


def test_an_action_that_does_not_exist_is_refused() -> None:
    """A step says which actions there are when it is made, not when its moment comes."""
    with pytest.raises(
        LabError, match=r"no fault has an action 'freeze broker'\nUse one of: .*kill broker, kill games, "
    ):
        Step(1.0, "freeze broker")


def test_every_verb_is_in_the_faults() -> None:
    """The broker's actions are the cluster's verbs, and a game process has a method for each of its own."""
    assert {verb for verbs in plan.BROKER_MOVES.values() for verb in verbs} == set(BROKER_VERBS)
    own = {verb for verbs in plan.GAME_MOVES.values() for verb in verbs}
    assert [verb for verb in own - {"start", "stop"} if not callable(getattr(GameProcess, verb, None))] == []


def test_every_way_takes_part() -> None:
    """Each way to deliver has a game in the chapter's experiments; a good client asks one of them."""
    assert [one.way for one in plan.DEFAULT_VARIANTS if not one.retries] == list(DELIVERING)
    assert [one.name for one in plan.DEFAULT_VARIANTS if one.retries] == ["confirmed, asked again"]


def test_a_crowd_that_is_left_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the crowds ends them, however many requests they had left."""
    with within(10), Crowds(Load(requests=100_000, rate=10.0), "run") as crowds:
        crowds.begin([CONFIRMED], ["http://127.0.0.1:9"])
        crowds.pause(0.2)
    assert len(crowds.result(1.0)[0]) < 100
