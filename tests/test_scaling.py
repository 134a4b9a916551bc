"""Experiments on three brokers: each on real ones, small, and the judges of their promises on cases that break them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import psutil
import pytest
from waiting import eventually

from streaming_lab.analysis import outgrow
from streaming_lab.analysis.deliveries import Mark
from streaming_lab.analysis.ledger import close_ledger
from streaming_lab.child import ChildProgram
from streaming_lab.client import topics
from streaming_lab.cluster import run_topics
from streaming_lab.cluster.base import Cluster
from streaming_lab.cluster.embedded.client import EmbeddedCluster
from streaming_lab.scaling import commits, groups, keys, leader_kill
from streaming_lab.scaling.clients import task_connection
from streaming_lab.scaling.commits import CommitCount
from streaming_lab.scaling.committing import AFTER, BEFORE, TRANSACTION, UPSERT
from streaming_lab.scaling.sender import Sender

LARGEST = 450e6  # bytes of a broker's memory: a heap of 256 MB, and what a JVM needs beside it


@pytest.fixture(scope="module")
def trio(own_home: Any) -> Iterator[EmbeddedCluster]:
    """Three brokers for the experiments of this file; each leaves them running."""
    from streaming_lab.cluster import attach

    with attach("embedded:trio", instance="scaling") as cluster:
        assert isinstance(cluster, EmbeddedCluster)
        yield cluster


def in_sync(kafka: Cluster, topic: str) -> tuple[int, ...]:
    """The in-sync replicas of a topic's only partition."""
    return topics.describe_topic(kafka.connection, topic, 20.0).partitions[0].isr


@pytest.mark.slow
def test_each_of_three_brokers_is_killed_restarted_paused_and_resumed(trio: EmbeddedCluster) -> None:
    """By its number; afterwards all three are in sync, and none has taken more memory than it may."""
    assert (trio.name, trio.copies, len(trio.describe().brokers)) == ("embedded:trio", 3, 3)
    topics.create_topic(trio.connection, "kept", replication_factor=trio.copies, timeout=30.0)
    for broker in (1, 2, 3):
        trio.kill(broker)
        assert trio.state.brokers[broker - 1].status == "killed"
        trio.restart(broker)
        trio.pause(broker)
        assert trio.state.brokers[broker - 1].status == "paused"
        trio.resume(broker)
    assert eventually(lambda: in_sync(trio, "kept") == (1, 2, 3), 60)
    memory = [psutil.Process(one.process.pid).memory_info().rss for one in trio.state.brokers if one.process]
    assert len(memory) == 3
    assert max(memory) < LARGEST


@pytest.mark.slow
def test_two_of_three_must_have_a_record(trio: EmbeddedCluster) -> None:
    """In a run's topic without config of its own: with two brokers paused acks=all waits, and is then acknowledged."""
    topic = run_topics.create_run_topic(trio, "two-of-three")
    leader = topics.describe_topic(trio.connection, topic).partitions[0].leader
    followers = [one for one in (1, 2, 3) if one != leader]
    with Sender(trio.connection, topic, "sure", acks="all", rate=20) as sender:
        assert eventually(lambda: sender.acknowledged > 3, 30)
        for broker in followers:
            trio.pause(broker)
        sent = len(sender.answers)
        assert eventually(lambda: len(sender.answers) > sent + 10, 30)
        unanswered = [one for one in sender.answers[sent + 1 :] if one.answered is None]
        for broker in followers:
            trio.resume(broker)
    assert len(unanswered) >= 10
    assert {one.status for one in sender.answers} == {200}


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_killed_leader_takes_only_what_its_followers_never_had(trio: EmbeddedCluster, freeze: bool) -> None:
    """acks=all loses nothing; acks=1 loses its tail where the followers were frozen, each event with its offset."""
    kill = leader_kill.kill_leader(trio, freeze=freeze, answers=15)
    assert leader_kill.broken_replication_promises(kill) == []
    tail = leader_kill.lost_tail(kill)
    assert set(tail["acks"]) <= {"1"}
    if freeze:
        assert not tail.empty
        assert set(tail["event_id"]) == set(acknowledged(kill, "1")) - set(kill.topic.events["event_id"])
        assert (tail["now"] != tail["event_id"]).all()
    assert 0 < kill.leaderless < 30
    states = leader_kill.broker_spans(kill)
    assert {kill.before, kill.after} <= set(states[states["state"] == "leads"]["broker"])
    figure = outgrow.leader_chart(states, kill.answers, kill.lost, kill.moments)
    assert f"broker {kill.before}, then broker {kill.after}" in figure.reading
    assert "acks=1" in outgrow.acks_table(leader_kill.acks_numbers([kill]))._repr_html_()


def acknowledged(kill: leader_kill.LeaderKill, acks: str) -> list[str]:
    told = kill.answers[(kill.answers["acks"] == acks) & (kill.answers["status"] == 200)]
    return list(told["request_id"])


@pytest.mark.slow
def test_keys_keep_order_and_no_key_does_not(trio: EmbeddedCluster) -> None:
    """On one partition and on several; a hot key fills its own."""
    came = keys.spread_keys(trio, events=400, players=20, partition_counts=(1, 6))
    numbers = keys.order_and_balance(came)
    assert keys.broken_order_promises(numbers) == []
    many = numbers[numbers["partitions"] == 6].set_index("keying")
    assert many.loc[keys.NO_KEY, "late"] > 0
    assert many.loc[keys.HOT, "share"] > 2.5
    assert len(came) == 400 * 3 * 2
    assert "hot" in outgrow.order_table(numbers)._repr_html_()
    assert "6 partitions" in outgrow.balance_chart(came).title


@pytest.mark.slow
def test_a_group_hands_a_killed_members_partitions_on(trio: EmbeddedCluster) -> None:
    """Nobody's events are skipped, and each partition ends with B or C."""
    run = groups.share_topic(trio, groups.Pace(rate=120, work=0.002, batch=10, steady=60))
    assert groups.broken_group_promises(run) == []
    last = run.spans.sort_values("end").groupby("partition").tail(1)
    assert sorted(last["member"]) == ["B", "B", "B", "C", "C", "C"]
    assert run.unmissed > groups.SESSION_TIMEOUT / 2
    assert len(outgrow.group_chart(run.spans, run.lag, run.moments).wide) > 1000


@pytest.mark.slow
def test_the_order_of_work_and_commit_decides_what_a_crash_does(trio: EmbeddedCluster) -> None:
    """Lost, repeated, or neither; an independent reader with each isolation sees the transaction."""
    found = commits.crash_between(trio, events=200, batch=20, crash=3)
    assert commits.broken_commit_promises(found) == []
    lost = dict(zip(found["kind"] + found["seen_as"], found["lost"], strict=True))
    assert lost[BEFORE] > 0
    assert max(lost.values()) <= 20
    assert "at most once" in outgrow.effects_table(found)._repr_html_()
    assert "lost" in outgrow.effects_chart(found).reading


@pytest.mark.slow
def test_a_member_ends_with_its_starter(trio: EmbeddedCluster) -> None:
    """A starter that is killed leaves no consumer: its closed pipe ends the member."""
    topics.create_topic(trio.connection, "orphans", replication_factor=1, timeout=30.0)
    task = {"connection": task_connection(trio.connection), "topic": "orphans", "group": "orphans"}
    task |= {"session": 3.0, "work": 0.0, "batch": 10}
    code = (
        "import sys, time\nfrom streaming_lab.child import ChildProgram\n"
        f"member = ChildProgram('streaming_lab.scaling.group_member', {task!r})\n"
        "print(member._process.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=os.getcwd()) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    assert eventually(lambda: not psutil.pid_exists(pid), 30)


# The judges, on cases that break a promise.


def test_a_child_that_fails_tells_its_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    """A task that no program takes ends the child with its traceback, and `wait` with its code."""
    with ChildProgram("streaming_lab.scaling.group_member", {}) as child:
        assert child.wait() == 1
    assert "KeyError" in capfd.readouterr().err


def broken(kind: str, lost: int, repeated: int, seen_as: str = "") -> list[str]:
    count = CommitCount(kind, seen_as, 10, 10 - lost + repeated, lost, repeated)
    return commits.broken_commit_promises(pd.DataFrame([count]))


@pytest.mark.parametrize(
    ("kind", "lost", "repeated", "seen_as", "found"),
    [
        (BEFORE, 3, 0, "", []),
        (BEFORE, 0, 0, "", [f"{BEFORE}: the crash lost nothing"]),
        (BEFORE, 3, 1, "", [f"{BEFORE} : 1 effects too many"]),
        (AFTER, 0, 4, "", []),
        (AFTER, 1, 4, "", [f"{AFTER}: 1 events had no effect"]),
        (AFTER, 0, 0, "", [f"{AFTER} : the crash repeated nothing"]),
        (UPSERT, 0, 0, "", []),
        (UPSERT, 0, 2, "", [f"{UPSERT} : 2 effects too many"]),
        (TRANSACTION, 0, 0, commits.AS_READ["read_committed"], []),
        (TRANSACTION, 0, 1, commits.AS_READ["read_committed"], ["effects too many"]),
        (TRANSACTION, 0, 5, commits.AS_READ["read_uncommitted"], []),
    ],
)
def test_the_judge_of_commits_names_what_is_wrong(
    kind: str, lost: int, repeated: int, seen_as: str, found: list[str]
) -> None:
    """At most once repeats nothing, at least once loses nothing, exactly once neither."""
    problems = broken(kind, lost, repeated, seen_as)
    assert len(problems) == len(found)
    assert all(wanted in problem for wanted, problem in zip(found, problems, strict=True))


def group_run(**changes: Any) -> groups.GroupRun:
    lag = pd.DataFrame({"seconds": 1.0, "partition": range(6), "lag": 0})
    spans = pd.DataFrame({"member": ["A"] * 6, "partition": range(6), "begin": 0.0, "end": 1.0})
    run = groups.GroupRun(spans, lag, (Mark("A killed", 0.5, 0.5),), 100, 0, 10, 0, 3.2, 20)
    return replace(run, **changes)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ""),
        ({"lost": 2}, "2 events were handled by no member"),
        ({"repeated": 21}, "21 events were handled again"),
        ({"lag": pd.DataFrame({"seconds": 1.0, "partition": range(6), "lag": 1})}, "did not catch up"),
    ],
)
def test_the_judge_of_groups_names_what_is_wrong(changes: dict[str, Any], found: str) -> None:
    """Skipped events, more repetitions than a batch, and a lag that stays."""
    assert found in "".join(groups.broken_group_promises(group_run(**changes)))
    assert bool(groups.broken_group_promises(group_run(**changes))) == bool(found)


def test_late_events_and_second_homes_are_counted() -> None:
    """Three events of one player, the second one late, on two partitions: worked out by hand."""
    came = pd.DataFrame(
        {"keying": keys.EVEN, "partitions": 2, "partition": [0, 1, 0], "player": "p", "sequence": [0, 2, 1]}
    )
    (row,) = keys.order_and_balance(came).to_dict("records")
    assert (row["late"], row["homes"], row["used"], row["share"]) == (1, 2, 2, 2 / 1.5)
    assert len(keys.broken_order_promises(pd.DataFrame([row]))) == 2


def a_kill(lost: str = "") -> leader_kill.LeaderKill:
    """Two acknowledged events, of acks=all and acks=1, of which one may be missing in the topic."""
    told = pd.DataFrame(
        {
            "request_id": ["all-0", "one-0"],
            "player": "p",
            "status": pd.array([200, 200], dtype="Int64"),
            "partition": pd.array([0, 0], dtype="Int64"),
            "offset": pd.array([0, 1], dtype="Int64"),
            "sent": [0.0, 0.1],
            "answered": [0.2, 0.3],
            "acks": ["all", "1"],
        }
    )
    rows = pd.DataFrame({"event_id": told["request_id"], "player": "p", "partition": 0, "offset": [0, 1]})
    rows = rows[rows["event_id"] != lost]
    rejects = pd.DataFrame({"partition": [], "offset": [], "reason": [], "raw": []})
    topic: Any = type("Read", (), {"events": rows, "rejects": rejects})()
    seen = (leader_kill.Leadership(0.0, 1, (1, 2, 3)), leader_kill.Leadership(0.25, 2, (2, 3)))
    moments = (Mark("kill broker 1", 0.2, 0.21),)
    return leader_kill.LeaderKill("leader killed", told, topic, close_ledger(told, topic), seen, moments, 1, 2)


@pytest.mark.parametrize(("lost", "found"), [("", ""), ("one-0", ""), ("all-0", "lost after acks=all: all-0")])
def test_the_judge_of_acks_forgives_only_acks_1(lost: str, found: str) -> None:
    """An event that acks=all confirmed must be there."""
    problems = leader_kill.broken_replication_promises(a_kill(lost))
    assert found in "".join(problems)
    assert bool(problems) == bool(found)


def test_a_lost_event_is_named_with_its_offset_and_what_is_there() -> None:
    """The acknowledgement's offset, and nothing at it."""
    assert leader_kill.lost_tail(a_kill("one-0")).to_dict("records") == [
        {"event_id": "one-0", "acks": "1", "offset": 1, "now": ""}
    ]
    assert a_kill().leaderless == pytest.approx(0.05)


def test_brokers_over_time_have_no_gap() -> None:
    """Each broker has a state from the first send to the last answer."""
    spans = leader_kill.broker_spans(a_kill())
    assert [tuple(row) for row in spans[spans["broker"] == 1][["state", "begin", "end"]].to_numpy()] == [
        ("leads", 0.0, 0.25),
        ("not in sync", 0.25, 0.3),
    ]
