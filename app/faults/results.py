"""The results of an experiment in numbers, and each guarantee held against them."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pandas as pd

from streaming_lab.analysis.answer_kinds import ANSWERS, LOST, REFUSED, answer_kind
from streaming_lab.analysis.deliveries import stall
from streaming_lab.analysis.replay import events_in_order, replay_events, world_differences
from streaming_lab.faults.experiment import Experiment, Result
from streaming_lab.faults.game_process import snapshot_of_world
from streaming_lab.game.events import EVENT_TYPES, Event
from streaming_lab.game.rules import Command, RuleBroken, World, decide

KEPT_RESULTS = 64  # whose answers and counts are made once: chapter 04 has 31, and asks for each of them six times


@lru_cache(maxsize=KEPT_RESULTS)
def answers(result: Result) -> "pd.Series[str]":
    """The kind of each request's (last) answer, one of `ANSWERS`, in the order of `asked`."""
    asked = result.asked
    kinds = [_kind(status, answer) for status, answer in zip(asked["status"], asked["answer"], strict=True)]
    return pd.Series(kinds, index=asked.index, dtype="str")


def _kind(status: Any, answer: Any) -> str:
    code = None if pd.isna(status) else int(status)
    return answer_kind(code, json.loads(answer)["value"] if code == 503 else None)


def answered_at(experiment: Experiment, result: Result) -> "pd.Series[float]":
    """When each request had its last answer, in seconds since the experiment began."""
    sent = (result.asked["sent_at"] - pd.Timestamp(experiment.began)).dt.total_seconds()
    return sent + result.asked["latency_ms"] / 1000


def timeline(experiment: Experiment) -> pd.DataFrame:
    """Every request: variant, seconds (of its last answer), answer (a kind; a 200 whose event is lost is `LOST`)."""
    return pd.concat([_timeline(experiment, result) for result in experiment.results], ignore_index=True)


def _timeline(experiment: Experiment, result: Result) -> pd.DataFrame:
    lost = result.asked["request_id"].isin(result.ledger.event_ids("lost"))
    return pd.DataFrame(
        {
            "variant": result.variant.name,
            "seconds": answered_at(experiment, result),
            "answer": answers(result).mask(lost, LOST),
        }
    )


def counts(*experiments: Experiment) -> pd.DataFrame:
    """A row for each experiment and variant, in events or requests; `stall` in seconds.

    lost: answered 200 and not in the topic. unpromised: in the topic, answered 503 or not at all. duplicates: rows
    beyond the first of an event; left: the same after de-duplication by event id, counted as rows that belong to no
    request of their own. named: events that the game itself named as undelivered when it was stopped. again: requests
    that were asked more than once. stall: the longest time without any 200.
    """
    return pd.DataFrame([_counts(one, result) for one in experiments for result in one.results])


@lru_cache(maxsize=KEPT_RESULTS)
def _counts(experiment: Experiment, result: Result) -> dict[str, Any]:
    kinds, events = answers(result).value_counts(), result.topic.events
    distinct = events.drop_duplicates("event_id")
    return {
        "fault": experiment.fault.name,
        "variant": result.variant.name,
        "safe": result.variant.log.safe,
        "requests": len(result.asked),
        **{name: int(kinds.get(name, 0)) for name in ANSWERS},
        "in topic": len(distinct),
        "lost": result.ledger.lost,
        "unpromised": result.ledger.unconfirmed,
        "duplicates": result.ledger.duplicates,
        "left": len(distinct) - int(result.asked["request_id"].isin(events["event_id"]).sum()),
        "named": sum(exit_report.left for exit_report in result.exit_reports),
        "again": int((result.asked["attempts"] > 1).sum()),
        "stall": stall(_timeline(experiment, result)),
    }


# The guarantees: each way's own, and those that hold for every way.


def broken_promises(experiment: Experiment) -> list[str]:
    """Every promise that an experiment broke, a sentence each; empty when all were kept."""
    return [
        f"{experiment.fault.name}, {result.variant.name}: {problem}"
        for result in experiment.results
        for problem in problems_of(experiment, result)
    ]


def problems_of(experiment: Experiment, result: Result) -> Iterator[str]:
    """The broken promises of one variant."""
    yield from _for_every_way(result)
    if result.variant.log.safe:
        yield from _for_safe_ways(result)
    if result.variant.log.names_unsent and not experiment.fault.does("kill games", "cut power"):
        yield from _for_a_queue(result)
    if result.variant.retries:
        yield from _for_good_clients(result)


def _for_every_way(result: Result) -> Iterator[str]:
    found = result.ledger.gaps
    for gap in ("unknown", "refused but present", "unread", "rejected"):
        if (found["gap"] == gap).any():
            yield f"in the topic, but {gap}: {result.ledger.named(gap)}"
    read = result.topic
    offsets = sum(end - start for start, end in read.ranges.values())
    if offsets != len(read.events) + len(read.rejects) + len(read.tombstones):
        yield f"{offsets} offsets, but {len(read.events)} rows, {len(read.rejects)} rejects and no more"
    if not world_differences(replay_events(result.topic.events), result.restarted).empty:
        yield "the topic's replay is not the world of a game that starts on it"
    refused = set(result.asked["request_id"][answers(result) == REFUSED])
    present = sorted(refused & set(result.topic.events["event_id"]))
    if present and not result.variant.retries:  # who asks again may have been heard the first time
        yield f"answered 503 refused, and in the topic: {', '.join(present[:5])}"


def _for_a_queue(result: Result) -> Iterator[str]:
    named = set[str]().union(*(exit_report.named for exit_report in result.exit_reports))
    silent = sorted(set(result.ledger.event_ids("lost")) - named)
    if silent:
        yield f"{len(silent)} events lost that the game did not name when it was stopped: {', '.join(silent[:5])}"


def _for_safe_ways(result: Result) -> Iterator[str]:
    if result.ledger.lost:
        yield f"{result.ledger.lost} events lost after a 200: {result.ledger.named('lost')}"
    if result.waiting:
        yield f"{result.waiting} rows are still in the outbox"
    if result.exit_reports[-1].left:
        yield f"{result.exit_reports[-1].left} events undecided at the end, although the broker was back"
    if result.seen is not None and result.seen != snapshot_of_world(result.restarted, result.seen):
        yield "the world of the game that ran is not that of one that starts on its topic"
    yield from disorder(result)


def disorder(result: Result) -> Iterator[str]:
    """Players whose events are not in the order of their requests, or tell what the rules forbid."""
    sequence = dict(zip(result.asked["request_id"], result.asked["sequence"], strict=True))
    world, latest = World(), dict[str, int]()
    for event in events_in_order(result.topic.events):
        number = sequence.get(event.event_id, -1)
        if number <= latest.get(event.player, -1):
            yield f"{event.player}: request {number} after request {latest[event.player]}"
        latest[event.player] = number
        if impossible(world, event):
            yield f"{event.player}: request {number} ({event.event_type}) was against the rules of the world before it"
        world.move(event)


def impossible(world: World, event: Event) -> bool:
    """Would the rules have forbidden what the event says, in the world before it?"""
    action = EVENT_TYPES[event.event_type].action
    try:
        decide(world, Command(action, event.player, event.event_id, event.at, event.fields.get("guild")))
    except RuleBroken:
        return True
    return False


def _for_good_clients(result: Result) -> Iterator[str]:
    open_ends = result.asked[result.asked["status"].isna() | (result.asked["status"] >= 500)]
    if len(open_ends):
        yield f"{len(open_ends)} requests without an answer for good: {', '.join(open_ends['request_id'][:5])}"
    if result.ledger.unconfirmed:
        yield f"{result.ledger.unconfirmed} events in the topic whose requests were never answered 2xx"


def assert_kept(*experiments: Experiment) -> None:
    """Raise AssertionError with every broken promise, when there is one."""
    problems = [problem for experiment in experiments for problem in broken_promises(experiment)]
    assert not problems, "promises were broken:\n" + "\n".join(problems)


def lost_events(*experiments: Experiment) -> pd.DataFrame:
    """Every event that was answered 200 and is not in its topic: fault, variant, event_id, player, action, detail."""
    found = []
    for experiment in experiments:
        for result in experiment.results:
            gaps = result.ledger.gaps
            lost = gaps[gaps["gap"] == "lost"].merge(
                result.asked[["request_id", "sequence", "action"]], left_on="event_id", right_on="request_id"
            )
            found.append(lost.assign(fault=experiment.fault.name, variant=result.variant.name))
    columns = ["fault", "variant", "event_id", "player", "sequence", "action", "detail"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)
