"""Checks of chapter 03's frames, by the seed and against each other: moves, events, offsets, times, batches."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pandas as pd
from kafka.partitioner.default import murmur2

from streaming_lab.delivery.ways import log_class
from streaming_lab.game.events import ACTIONS
from streaming_lab.game.players import USER_AGENT
from streaming_lab.game.schema import EVENTS
from streaming_lab.handin.check import Check, Contradiction, cannot_tell, conclude, found
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.reader.kept import decode_record_batches, describe_batches
from streaming_lab.wording import counted

TICK = pd.Timedelta(milliseconds=1)  # stamps and times of sending are cut to whole milliseconds
CLOCK_SET = pd.Timedelta(milliseconds=250)  # a machine's clock is set by less than this while a crowd plays
CLOCK_SET_SHARE = 0.02  # of the requests, or two for each that can be under way at that moment, in a short run
FINAL = (200, 409)  # answers of a calm run


def check_moves(kept: KeptRun) -> Check:
    """Every request is the one that seed, sizes and run id decide, and has the answer of the game's rules."""
    requests, expected = kept.frame("requests"), {move.request_id: move for move in kept.moves}
    findings = list(odd_requests(requests, expected))
    answers, open_players = kept.expected_answers(), undecided_players(requests)
    rows = requests[["request_id", "player", "status", "answer"]].itertuples(index=True, name=None)
    for row, request_id, player, status, answer in rows:
        if request_id in answers and player not in open_players:
            there = (None if pd.isna(status) else int(status), plain_answer(status, answer))
            if there != answers[request_id]:
                findings.append(found(f"requests.parquet, row {row}: the answer", there, answers[request_id]))
    said = f"{counted(len(requests), 'request')} from seed {kept.parameter('seed')} and run {kept.run.run_id}"
    if open_players:
        said += f"; the answers of {counted(len(open_players), 'player')} not applicable, as one was open (503 or none)"
    return conclude("moves", said, findings)


def odd_requests(requests: pd.DataFrame, expected: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Requests that are missing, too many, or other than expected."""
    columns = ["request_id", "player", "sequence", "action"]
    for row, *there in requests[columns].itertuples(index=True, name=None):
        move = expected.get(there[0])
        if move is None or [move.request_id, move.player, move.sequence, move.action] != there:
            again = "no such request" if move is None else f"{move.player}, {move.sequence}, {move.action}"
            yield found(f"requests.parquet, row {row}", ", ".join(map(str, there)), again)
    for request_id in sorted(expected.keys() - set(requests["request_id"])):
        move = expected[request_id]
        yield found("requests.parquet", "no row", f"{request_id}: {move.player}, {move.sequence}, {move.action}")
    twice = requests["request_id"][requests["request_id"].duplicated()]
    for request_id in twice:
        yield found("requests.parquet", f"{request_id} twice", "once")


def undecided_players(requests: pd.DataFrame) -> set[str]:
    """Players with an answer that is not final: what followed depends on when their event arrived."""
    return set(requests["player"][~requests["status"].isin(FINAL).fillna(value=False)])


def plain_answer(status: Any, answer: Any) -> Any:
    """An answer's body as the game gave it: text, or an object of field, value and rule."""
    if pd.isna(answer) or status == 200:
        return None if pd.isna(answer) else answer
    try:
        return json.loads(answer)
    except ValueError:
        return answer


def check_events(kept: KeptRun) -> Check:
    """Every event is of an accepted request, and says what its request asked for; every accepted request has one."""
    requests, events = kept.frame("requests"), kept.frame("events")
    moves, findings = {move.request_id: move for move in kept.moves}, list[Contradiction]()
    names = ["event_id", "event_type", "player", "key", "guild", "user_agent"]
    for row, event_id, *says in events[names].itertuples(index=True, name=None):
        move = moves.get(event_id)
        if move is None:
            findings.append(found(f"events.parquet, row {row}", f"event {event_id}", "no request has this id"))
            continue
        again = [ACTIONS[move.action].name, move.player, move.player, move.guild, USER_AGENT]
        if [None if pd.isna(value) else value for value in says] != again:
            findings.append(found(f"events.parquet, row {row}", says, again))
    accepted = set(requests["request_id"][requests["status"] == 200])
    refused = set(requests["request_id"][requests["status"].between(400, 499).fillna(value=False)])
    there = set(events["event_id"])
    if not len(kept.frame("rejects")) and log_class(str(kept.parameter("way"))).awaits_broker:
        findings += [found("events.parquet", "no event", f"{one}, answered 200") for one in sorted(accepted - there)]
    findings += [found("events.parquet", one, "answered 4xx") for one in sorted(refused & there)]
    if len(hosts := sorted(set(events["host"].dropna()))) > 1:
        findings.append(found("events.parquet, host", ", ".join(hosts), "one game has one address"))
    return conclude(
        "events", f"{counted(len(events), 'event')} of {counted(len(accepted), 'accepted request')}", findings
    )


def check_offsets(kept: KeptRun) -> Check:
    """A player's partition is the hash of the name; offsets are dense in the ranges; players keep their order."""
    events, rejects, ranges = kept.frame("events"), kept.frame("rejects"), kept.ranges
    partitions, findings = int(kept.parameter("partitions")), list[Contradiction]()
    hashed = {player: murmur2(player.encode()) % 2**31 % partitions for player in set(events["player"].dropna())}
    for row, player, partition in events[["player", "partition"]].itertuples(index=True, name=None):
        if hashed.get(player, partition) != partition:
            findings.append(found(f"events.parquet, row {row}: {player}", f"partition {partition}", hashed[player]))
    if sorted(ranges) != list(range(partitions)):
        findings.append(found("run.json, ranges", sorted(ranges), list(range(partitions))))
    places = pd.concat([frame[["partition", "offset"]] for frame in (events, rejects)])
    for partition, (start, end) in ranges.items():
        offsets = sorted(places["offset"][places["partition"] == partition])
        if offsets != list(range(start, end)):
            gaps = sorted(set(range(start, end)).symmetric_difference(offsets))[:5]
            again = f"{start} to {end}, each once; not so: {gaps or 'one is there twice'}"
            findings.append(found(f"events.parquet, partition {partition}", f"{len(offsets)} offsets", again))
    findings += disorder_of(kept, events)
    return conclude("offsets", f"{counted(len(places), 'offset')} on {counted(len(ranges), 'partition')}", findings)


def disorder_of(kept: KeptRun, events: pd.DataFrame) -> Iterator[Contradiction]:
    """Events of a player that are not in the order of the requests."""
    sequence = {move.request_id: move.sequence for move in kept.moves}
    latest: dict[str, int] = {}
    rows = events.sort_values(["partition", "offset"], kind="stable").drop_duplicates("event_id")
    for row, event_id, player in rows[["event_id", "player"]].itertuples(index=True, name=None):
        number = sequence.get(event_id)
        if number is not None and number < latest.get(player, -1):
            yield found(f"events.parquet, row {row}: {player}", f"request {number}", f"after {latest[player]}")
        latest[player] = max(latest.get(player, -1), -1 if number is None else number)


def check_times(kept: KeptRun) -> Check:
    """Times fit: stamps in order, sent before appended before answered, one request at a time, inside run and cell."""
    requests, events = kept.frame("requests"), kept.frame("events")
    answered = requests["sent_at"] + pd.to_timedelta(requests["latency_ms"], unit="ms")
    findings = list(outside(kept, requests["sent_at"], answered))
    concurrency = int(kept.parameter("concurrency"))
    findings += overlapping(requests.assign(answered=answered), concurrency)
    rows = events.sort_values(["partition", "offset"], kind="stable")
    back = rows["timestamp"].diff().dt.total_seconds().lt(0) & rows["partition"].diff().eq(0)
    for row in rows.index[back]:
        findings.append(
            found(f"events.parquet, row {row}: the stamp", rows.at[row, "timestamp"], "not before the last")
        )
    said = f"{counted(len(requests), 'request')} in order; that all times were moved alike, no hand-in can tell"
    if str(kept.parameter("cluster")).split(":")[0] not in ("embedded", "compose"):
        return conclude(
            "times", f"{said}; stamps are another machine's clock, so not applicable beside requests", findings
        )
    joined = events.drop_duplicates("event_id").merge(
        requests.assign(answered=answered), left_on="event_id", right_on="request_id", suffixes=("", "_asked")
    )
    waits = log_class(str(kept.parameter("way"))).awaits_broker
    late = (joined["timestamp"] - joined["answered"]).where(joined["status"].eq(200).fillna(value=False) & waits, -TICK)
    wrong = pd.concat([joined["sent_at"] - joined["at"], joined["at"] - joined["timestamp"], late], axis=1).max(axis=1)
    for place in joined.index[beyond_clock(wrong, TICK, concurrency)]:
        one = joined.loc[place]
        there = f"sent {one['sent_at']:%T.%f}, at {one['at']:%T.%f}, stamp {one['timestamp']:%T.%f}"
        findings.append(found(f"request {one['event_id']}", there, f"in this order before {one['answered']:%T.%f}"))
    return conclude("times", said, findings)


def beyond_clock(wrong: "pd.Series[Any]", tick: pd.Timedelta, under_way: int) -> "pd.Series[bool]":
    """Which times are wrong by more than `tick`, and not because a machine's clock was set a little at one moment."""
    odd = wrong > tick
    return odd if odd.sum() > max(2 * under_way, CLOCK_SET_SHARE * len(odd)) else wrong > CLOCK_SET


def outside(kept: KeptRun, sent: "pd.Series[Any]", answered: "pd.Series[Any]") -> Iterator[Contradiction]:
    """Findings for requests outside the run, and outside the cell that made them."""
    if not len(sent):
        return
    windows = {"the run": (kept.run.started, kept.run.ended)}
    if play := play_window(kept):
        windows["the cell play"] = play
    for name, (begin, end) in windows.items():
        if sent.min() + TICK < pd.Timestamp(begin) or answered.max() > pd.Timestamp(end) + TICK:
            there = f"{sent.min():%F %T.%f} to {answered.max():%T.%f}"
            yield found("requests.parquet, sent_at", there, f"{name}: {begin:%F %T.%f} to {end:%T.%f}")


def play_window(kept: KeptRun) -> tuple[datetime, datetime] | None:
    """Begin and end of the cell `play`, as papermill stamped them."""
    for notebook in kept.hand_in.notebooks.values():
        for cell in notebook["cells"]:
            stamps = cell.get("metadata", {}).get("papermill", {})
            if cell.get("id") == "play" and stamps.get("start_time") and stamps.get("end_time"):
                return datetime.fromisoformat(stamps["start_time"]), datetime.fromisoformat(stamps["end_time"])
    return None


def overlapping(requests: pd.DataFrame, concurrency: int) -> Iterator[Contradiction]:
    """Findings for workers of the crowd with two requests under way at once."""
    worker = requests["player"].str.rpartition("-")[2].astype("int64") % concurrency
    mine = requests.assign(worker=worker).sort_values("sent_at", kind="stable")
    before = mine.groupby("worker")["answered"].shift()
    for row in mine.index[beyond_clock(before - mine["sent_at"], 2 * TICK, concurrency)].tolist():
        there = f"sent {mine['sent_at'].loc[row]}"
        yield found(f"requests.parquet, row {row}", there, f"after the worker's last answer, {before.at[row]}")


def check_batches(kept: KeptRun) -> Check:
    """The kept record batches give the kept frames, through both decoders, and their sequences are dense."""
    batches = kept.frame("batches")
    if not len(batches):
        return cannot_tell("batches", "no record batches were kept: the topic was read through kafka-python's consumer")
    findings: list[Contradiction] = []
    for topic in (kept.topic_frame, decode_record_batches(batches, EVENTS, kept.ranges, "python")):
        for name, again in {"events": topic.events, "rejects": topic.rejects}.items():
            findings += different_rows(name, kept.frame(name), again)
    headers = describe_batches(batches)
    for (_, producer), mine in headers[headers["producer"] >= 0].groupby(["partition", "producer"]):
        expected = mine["sequence"] + mine["records"]
        for row in mine.index[1:][mine["sequence"].to_numpy()[1:] != expected.to_numpy()[:-1]].tolist():
            place = f"batches.parquet, row {row}, of producer {producer}"
            findings.append(found(place, f"sequence {mine.at[row, 'sequence']!r}", "the one after the last batch's"))
    return conclude("batches", f"{counted(len(batches), 'record batch', 'record batches')} decoded again", findings)


def different_rows(name: str, there: pd.DataFrame, again: pd.DataFrame) -> Iterator[Contradiction]:
    """A finding for each row in which a kept frame differs from the one made again."""
    there, again = (frame.reset_index(drop=True) for frame in (there, again))
    if len(there) != len(again):
        yield found(f"{name}.parquet", counted(len(there), "row"), counted(len(again), "row"))
    most = min(len(there), len(again))
    for column in again.columns:
        left, right = there[column].iloc[:most], again[column].iloc[:most]
        differs = ~((left == right).fillna(value=False) | (left.isna() & right.isna()))
        for row in left.index[differs.astype(bool)]:
            yield found(f"{name}.parquet, row {row}, {column}", left[row], right[row])


CROWD_CHECKS: Mapping[str, Callable[[KeptRun], Check]] = {
    "moves": check_moves,
    "events": check_events,
    "offsets": check_offsets,
    "times": check_times,
    "batches": check_batches,
}
