"""What each way promised, held against what an experiment found."""

from collections.abc import Iterator

import pandas as pd

from streaming_lab.analysis.answer_kinds import REFUSED
from streaming_lab.analysis.replay import events_in_order, replay_events, world_differences
from streaming_lab.faults.account import answers
from streaming_lab.faults.experiment import Experiment, Result
from streaming_lab.faults.probe import sight_of
from streaming_lab.game.events import EVENT_TYPES, Event
from streaming_lab.game.rules import Command, RuleBroken, World, decide


def broken(experiment: Experiment) -> list[str]:
    """Every promise that an experiment broke, a sentence each; empty when all were kept."""
    return [
        f"{experiment.fault.name}, {result.contender.name}: {problem}"
        for result in experiment.results
        for problem in problems(experiment, result)
    ]


def problems(experiment: Experiment, result: Result) -> Iterator[str]:
    """The broken promises of one contender."""
    yield from _for_every_way(result)
    if result.contender.log.safe:
        yield from _for_safe_ways(result)
    if result.contender.log.names_unsent and not experiment.fault.does("kill games"):
        yield from _for_a_queue(result)
    if result.contender.retries:
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
    if present and not result.contender.retries:  # who asks again may have been heard the first time
        yield f"answered 503 refused, and in the topic: {', '.join(present[:5])}"


def _for_a_queue(result: Result) -> Iterator[str]:
    gaps, named = result.ledger.gaps, set[str]().union(*(farewell.named for farewell in result.farewells))
    silent = sorted(set(gaps["event_id"][gaps["gap"] == "lost"]) - named)
    if silent:
        yield f"{len(silent)} events lost that the game did not name when it was stopped: {', '.join(silent[:5])}"


def _for_safe_ways(result: Result) -> Iterator[str]:
    if result.ledger.lost:
        yield f"{result.ledger.lost} events lost after a 200: {result.ledger.named('lost')}"
    if result.waiting:
        yield f"{result.waiting} rows are still in the outbox"
    if result.farewells[-1].left:
        yield f"{result.farewells[-1].left} events undecided at the end, although the broker was back"
    if result.seen is not None and result.seen != sight_of(result.restarted, result.seen):
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
    problems = [problem for experiment in experiments for problem in broken(experiment)]
    assert not problems, "promises were broken:\n" + "\n".join(problems)


def lost_events(*experiments: Experiment) -> pd.DataFrame:
    """Every event that was answered 200 and is not in its topic: fault, contender, event_id, player, action, detail."""
    found = []
    for experiment in experiments:
        for result in experiment.results:
            gaps = result.ledger.gaps
            lost = gaps[gaps["gap"] == "lost"].merge(
                result.asked[["request_id", "sequence", "action"]], left_on="event_id", right_on="request_id"
            )
            found.append(lost.assign(fault=experiment.fault.name, contender=result.contender.name))
    columns = ["fault", "contender", "event_id", "player", "sequence", "action", "detail"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)
