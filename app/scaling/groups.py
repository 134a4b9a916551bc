"""A consumer group at work: two members, then three, then one is killed; who has which partition, and the lag."""

import time
import uuid
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pandas as pd

from streaming_lab.analysis.deliveries import Mark
from streaming_lab.child import ChildProgram
from streaming_lab.cluster import Cluster
from streaming_lab.errors import LabError
from streaming_lab.scaling.clients import task_connection
from streaming_lab.scaling.sender import Sender, await_answers, await_step, create_experiment_topic

GROUP_PARTITIONS = 6
SESSION_TIMEOUT = 3.0  # seconds until a silent member counts as dead
LAG_STEP = 0.1  # seconds between two points of the lag's curve


@dataclass(frozen=True)
class Pace:
    """`rate` events a second come in; a member takes `work` seconds for one and commits after `batch`.

    By default two members together handle about 200 a second and three handle 300, of 220 that come.
    """

    rate: float = 220.0
    work: float = 0.009
    batch: int = 20
    steady: int = 440  # events between two steps of the experiment


@dataclass(frozen=True, eq=False)
class GroupRun:
    """What became of a group; times are seconds since the first member was started.

    spans: member, partition, begin, end (who had which partition when). lag: seconds, partition, lag (events that were
    acknowledged and not committed yet). lost, repeated: events that no member handled, and handlings beyond the first.
    unmissed: seconds from the kill to the moment at which the others had all partitions.
    """

    spans: pd.DataFrame
    lag: pd.DataFrame
    moments: tuple[Mark, ...]
    events: int
    lost: int
    repeated: int
    refused: int
    unmissed: float
    batch: int


def share_topic(kafka: Cluster, pace: Pace | None = None) -> GroupRun:
    """Two members share a topic under load, a third joins, the first is killed, the load ends, the lag goes to 0."""
    pace, name = pace or Pace(), f"group-{uuid.uuid4().hex[:8]}"
    create_experiment_topic(kafka, name, GROUP_PARTITIONS)
    task = {"connection": task_connection(kafka.connection), "topic": name, "group": name, "session": SESSION_TIMEOUT}
    task |= {"work": pace.work, "batch": pace.batch}
    began, moments = time.monotonic(), list[Mark]()

    def mark(action: str, begin: float) -> None:
        moments.append(Mark(action, begin - began, time.monotonic() - began))

    with ExitStack() as stack:
        members: dict[str, ChildProgram] = {}

        def join(*names: str) -> None:
            begin = time.monotonic()
            for one in names:
                members[one] = stack.enter_context(ChildProgram("streaming_lab.scaling.group_member", task))
            _settle(members)
            mark(f"{' and '.join(names)} joined", begin)

        join("A", "B")
        sender = stack.enter_context(
            Sender(kafka.connection, name, "work", acks="all", rate=pace.rate, partitions=GROUP_PARTITIONS)
        )
        await_answers([sender], pace.steady)
        join("C")
        await_answers([sender], pace.steady)
        killed = time.monotonic()
        members["A"].kill()
        mark("A killed", killed)
        _settle({one: member for one, member in members.items() if one != "A"})
        unmissed = time.monotonic() - killed
        mark("B and C have all", time.monotonic())
        await_answers([sender], pace.steady)
        sender.stop()
        mark("load ends", time.monotonic())
        sent = {(one.partition, one.offset): one for one in sender.answers if one.status == 200}
        ends = Counter(partition for partition, _ in sent)
        await_step(lambda: not _missing(members, ends), lambda: f"the group to commit {_missing(members, ends)}")
        end = time.monotonic()
        for member in members.values():
            member.ask_to_end()
        for one, member in members.items():
            if one != "A" and (code := member.wait()):
                raise LabError(f"member {one} ended with exit code {code}", "Its errors are above, or in kernel.log.")
    handled = Counter(
        (int(line.values[0]), int(line.values[1])) for member in members.values() for line in member.of("handled")
    )
    return GroupRun(
        spans=_spans(members, began, killed, end),
        lag=_lag(members, [(one.partition or 0, one.answered or 0.0) for one in sent.values()], began, end),
        moments=tuple(moments),
        events=len(sent),
        lost=sum(place not in handled for place in sent),
        repeated=handled.total() - len(handled),
        refused=sum(len(member.of("refused")) for member in members.values()),
        unmissed=unmissed,
        batch=pace.batch,
    )


def held_by(member: ChildProgram) -> set[int]:
    """The partitions that a member has now, by its own reports."""
    held = set[int]()
    for line in member.reports:
        if line.kind == "assigned":
            held |= set(line.values)
        elif line.kind == "revoked":
            held -= set(line.values)
    return held


def _settle(members: dict[str, ChildProgram]) -> None:
    """Wait until the members have all partitions between them, each its even share."""

    def settled() -> bool:
        if ended := [name for name, member in members.items() if not member.running]:
            raise LabError(f"member {ended[0]} ended", "Its errors are above, or in kernel.log.")
        shares = [held_by(member) for member in members.values()]
        return set().union(*shares) == set(range(GROUP_PARTITIONS)) and {len(share) for share in shares} == {
            GROUP_PARTITIONS // len(members)
        }

    await_step(settled, lambda: f"{len(members)} members to share {GROUP_PARTITIONS} partitions")


def _committed(members: dict[str, ChildProgram]) -> dict[int, int]:
    reached: dict[int, int] = {}
    for line in (line for member in members.values() for line in member.of("committed")):
        for partition, offset in line.values:
            reached[partition] = max(reached.get(partition, 0), offset)
    return reached


def _missing(members: dict[str, ChildProgram], ends: Counter[Any]) -> dict[int, int]:
    """Events per partition that are not committed yet."""
    reached = _committed(members)
    return {partition: left for partition, end in ends.items() if (left := end - reached.get(partition, 0)) > 0}


def _spans(members: dict[str, ChildProgram], began: float, killed: float, end: float) -> pd.DataFrame:
    rows = []
    for name, member in members.items():
        since: dict[int, float] = {}
        for line in member.reports:
            if line.kind == "assigned":
                since |= dict.fromkeys(line.values, line.at)
            elif line.kind == "revoked":
                rows += [(name, one, since.pop(one) - began, line.at - began) for one in line.values if one in since]
        last = killed if name == "A" else end
        rows += [(name, one, begin - began, last - began) for one, begin in since.items() if begin < last]
    found = pd.DataFrame(rows, columns=["member", "partition", "begin", "end"])
    found["end"] = found["end"].clip(upper=end - began)
    return found[found["begin"] < found["end"]].sort_values(["partition", "begin"], ignore_index=True)


def _lag(members: dict[str, ChildProgram], arrivals: list[tuple[int, float]], began: float, end: float) -> pd.DataFrame:
    """The lag on a grid of moments: what had been acknowledged by then, less what the group had committed by then."""
    moments = [began + LAG_STEP * step for step in range(int((end - began) / LAG_STEP) + 1)] + [end]
    commits = sorted(
        (line.at, partition, offset)
        for member in members.values()
        for line in member.of("committed")
        for partition, offset in line.values
    )
    arrivals = sorted(arrivals, key=lambda arrival: arrival[1])
    arrived, reached, rows = Counter[int](), Counter[int](), []
    first, second = iter([*arrivals, (0, float("inf"))]), iter([*commits, (float("inf"), 0, 0)])
    arrival, commit = next(first), next(second)
    for moment in moments:
        while arrival[1] <= moment:
            arrived[arrival[0]] += 1
            arrival = next(first)
        while commit[0] <= moment:
            reached[commit[1]] = max(reached[commit[1]], commit[2])
            commit = next(second)
        rows += [(moment - began, one, max(0, arrived[one] - reached[one])) for one in range(GROUP_PARTITIONS)]
    return pd.DataFrame(rows, columns=["seconds", "partition", "lag"])


def broken_group_promises(run: GroupRun) -> list[str]:
    """A sentence for each promise of a group that commits after its work; empty when all were kept."""
    found = []
    if run.lost:
        found.append(f"{run.lost} events were handled by no member")
    if run.repeated > run.batch * (1 + run.refused):
        found.append(f"{run.repeated} events were handled again; a member repeats at most its last {run.batch}")
    if run.lag["lag"].iloc[-GROUP_PARTITIONS:].sum():
        found.append("the group did not catch up")
    return found
