"""Chapter 03 from slices: what is kept of each slice for its tables, charts, ledger and replay, and how two add up.

The ledger needs no shuffle. A player's requests and events meet on one partition, since the key is the player: the
requests are split as the producer splits the events, and each slice joins those of its partition. A row that one of
them explains is three numbers afterwards; any other row (another partition, no request) is kept whole.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from kafka.partitioner.default import murmur2

from streaming_lab.analysis.replay import replay_events
from streaming_lab.analysis.summary import Summary, merge_summaries, summarize
from streaming_lab.errors import LabError
from streaming_lab.game.rules import NOBODY_YET, World
from streaming_lab.reader.frames import TopicFrame

MOST_KEPT = 100_000  # rows, and rejects, that are kept whole
ROW = ("event_id", "player", "partition", "offset", "timestamp")  # what ledger and latencies need of a row


@dataclass(frozen=True)
class ChapterPart:
    """What chapter 03 needs of some offsets of its topic; `merge_chapter_parts` adds two.

    `explained`: columns request (its number), partition, offset, timestamp, of rows whose id and player a request of
    their partition has; `others`: the columns of `ROW`, of all other rows. `rejects` as the reader gives them.
    """

    summary: Summary
    explained: pd.DataFrame
    others: pd.DataFrame
    rejects: pd.DataFrame
    tombstones: int
    aborted: int
    world: World


def split_requests(requests: pd.DataFrame, partitions: int) -> dict[int, pd.DataFrame]:
    """The requests by the partition of their player, as Kafka's producers hash a key.

    Columns event_id, player, request: the number of a request id, in the order of their first requests.
    """
    known = number_requests(requests)
    homes = {name: murmur2(name.encode()) % 2**31 % partitions for name in known["player"].dropna().unique()}
    by_home = known.groupby(known["player"].map(homes))
    return {int(home): mine.reset_index(drop=True) for home, mine in by_home}


def number_requests(requests: pd.DataFrame) -> pd.DataFrame:
    """One row for each request id: event_id, player, request (its number)."""
    known = requests[["request_id", "player"]].drop_duplicates("request_id").reset_index(drop=True)
    return known.rename(columns={"request_id": "event_id"}).assign(request=np.arange(len(known)))


def chapter_part(frame: TopicFrame, requests: pd.DataFrame | None = None) -> ChapterPart:
    """The part of some offsets; `requests` are those of its partition, as `split_requests` gives them."""
    world = replay_events(frame.events)  # first: its error for another game's rows says what to do
    rows = frame.events[list(ROW)]
    joined = rows if requests is None else rows.merge(requests, on=["event_id", "player"], how="left")
    found = joined["request"].notna() if "request" in joined else pd.Series(False, index=joined.index)
    explained = joined[found][["request", "partition", "offset", "timestamp"]] if found.any() else _nothing(rows)
    return ChapterPart(
        summarize(frame.events),
        explained.astype({"request": "int64"}),
        joined[~found][list(ROW)],
        frame.rejects,
        len(frame.tombstones),
        frame.aborted,
        world,
    )


def replayed_part(frame: TopicFrame, repeated: frozenset[tuple[int, int]]) -> World:
    """The world after some offsets, without the rows at these places: an earlier slice has their events."""
    return replay_events(frame.events[[place not in repeated for place in places_in(frame.events)]])


def _nothing(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.iloc[:0][["partition", "offset", "timestamp"]].assign(request=np.array([], np.int64))


def merge_chapter_parts(left: ChapterPart, right: ChapterPart) -> ChapterPart:
    """The part of both; left's offsets come before right's in one partition, or lie in a lower one.

    Raises a `LabError` where more rows or rejects would be kept whole than this process should hold.
    """
    merged = ChapterPart(
        merge_summaries(left.summary, right.summary),
        pd.concat([left.explained, right.explained], ignore_index=True),
        pd.concat([left.others, right.others], ignore_index=True),
        pd.concat([left.rejects, right.rejects], ignore_index=True),
        left.tombstones + right.tombstones,
        left.aborted + right.aborted,
        later_world(left.world, right.world),
    )
    for what, frame in (
        ("rejects", merged.rejects),
        ("rows that no request explains where its key is", merged.others),
    ):
        if len(frame) > MOST_KEPT:
            raise LabError(
                f"there are more than {MOST_KEPT:,} {what}, and a ledger lists each",
                "Read a smaller range, or merge a part of your own that counts them (docs/scale.md).",
            )
    return merged


def later_world(before: World, after: World) -> World:
    """The world after both: `evolve` adds swords and overwrites guilds, so two folds from nothing add up."""
    found = World(dict(before.players))
    for name, player in after.players.items():
        known = found.players.get(name, NOBODY_YET)
        guild = known.guild if player.guild is None else player.guild
        found.players[name] = replace(known, swords=known.swords + player.swords, guild=guild)
    return found


def rows_of(part: ChapterPart, requests: pd.DataFrame | None) -> pd.DataFrame:
    """Every row with what ledger and latencies need of it, by partition and offset; `requests` are all of them."""
    if requests is None or part.explained.empty:
        rows = part.others
    else:
        known = number_requests(requests).loc[part.explained["request"], ["event_id", "player"]].reset_index(drop=True)
        told = pd.concat([known, part.explained.drop(columns="request").reset_index(drop=True)], axis=1)
        rows = pd.concat([told, part.others], ignore_index=True) if len(part.others) else told
    return rows.sort_values(["partition", "offset"], kind="stable", ignore_index=True)[list(ROW)]


def repeated_across(rows: pd.DataFrame, starts: Iterable[tuple[int, int]]) -> frozenset[tuple[int, int]]:
    """The places (partition, offset) of rows whose event lies in an earlier slice, too; `starts` are the slices'."""
    twice = rows[rows["event_id"].notna() & rows["event_id"].duplicated(keep=False)]
    ordered = sorted(starts)
    slices = pd.Series([bisect_right(ordered, place) for place in places_in(twice)], index=twice.index, dtype="int64")
    first = slices.groupby(twice["event_id"]).transform("first")
    return frozenset(places_in(twice[slices != first]))


def places_in(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Partition and offset of each row."""
    return list(zip(rows["partition"].tolist(), rows["offset"].tolist(), strict=True))


@dataclass(frozen=True)
class ReadInSlices:
    """A topic of the lab's events after its slices were merged: what chapter 03's functions take.

    `summary` for tables and charts, `world` for replay and guilds; the ledger takes this itself: `events` has a row for
    each row of the topic, with event_id, player, partition, offset and timestamp.
    """

    summary: Summary
    events: pd.DataFrame
    rejects: pd.DataFrame
    tombstones: int
    aborted: int
    world: World


def read_of_part(part: ChapterPart, requests: pd.DataFrame | None) -> ReadInSlices:
    """The merged part as chapter 03's functions take it."""
    rows = rows_of(part, requests)
    return ReadInSlices(part.summary, rows, part.rejects, part.tombstones, part.aborted, part.world)


def read_of_frame(topic: TopicFrame, requests: pd.DataFrame | None) -> ReadInSlices:
    """The same of one frame: a topic of one slice."""
    known: Any = None if requests is None else number_requests(requests)
    return read_of_part(chapter_part(topic, known), requests)
