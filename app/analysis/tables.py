"""The tables of chapters 01 to 03. Each is sorted by what repeats (a player, a type, a count), never by arrival."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from streaming_lab.analysis.accounts import gaps, ledger, rejects, replay
from streaming_lab.analysis.counts import by_partition, by_player, guild_counts, share, typed
from streaming_lab.analysis.page import NO_EVENTS, Column, Table, number

__all__ = [
    "cluster",
    "columns_of",
    "events_by_partition",
    "events_by_type",
    "first_rows",
    "gaps",
    "guilds",
    "ledger",
    "rejects",
    "replay",
    "requests_by_status",
    "seed_requests",
    "top_players",
    "topic",
]


def cluster(description: Any, ready_seconds: float | None = None) -> Table:
    """The brokers of a cluster `Description`, a row each; `ready_seconds` from the start to the first record."""
    version = description.version or "unknown"
    rows = tuple(
        (broker.id, broker.role, f"{broker.host}:{broker.port}", version, ready_seconds)
        for broker in sorted(description.brokers, key=lambda broker: int(broker.id))
    )
    columns = (
        Column("broker"),
        Column("role"),
        Column("listener", measured=True),
        Column("version"),
        number("ready after (s)", 2, measured=True),
    )
    known = ready_seconds is not None
    return Table(
        "The cluster",
        columns if known else columns[:-1],
        rows if known else tuple(row[:-1] for row in rows),
        "as it describes itself",
        empty="no brokers",
    )


def topic(description: Any, note: str = "as the cluster describes it") -> Table:
    """The partitions of a `TopicDescription`, a row each; offsets are where this cluster happens to be, so measured."""
    columns = (
        Column("partition"),
        Column("leader"),
        number("replicas"),
        number("in sync"),
        number("first offset", measured=True),
        number("end offset", measured=True),
    )
    rows = tuple(
        (p.id, "none" if p.leader is None else f"broker {p.leader}", len(p.replicas), len(p.isr), p.begin, p.end)
        for p in description.partitions
    )
    return Table(f"Topic `{description.name}`", columns, rows, f"{note}; offsets in records", empty="no partitions")


def seed_requests(answers: Iterable[tuple[str, int, str]]) -> Table:
    """The seed's requests with their answers: (path, status, body) in the order they were sent."""
    rows = tuple((index, path, status, body.strip()) for index, (path, status, body) in enumerate(answers, 1))
    columns = (Column("request"), Column("path", "code"), number("status"), Column("answer", "long"))
    return Table("The requests and their answers", columns, rows, "in the order they were sent", empty="no requests")


def requests_by_status(requests: pd.DataFrame) -> Table:
    """What was asked and how it was answered: a row for each action, a column for each status."""
    status = requests["status"].map(lambda code: "no answer" if pd.isna(code) else str(code))
    counts = pd.crosstab(requests["action"], status) if len(requests) else pd.DataFrame()
    return counted("Requests by action and status", "action", counts, "in requests", empty="no requests")


def columns_of(events: pd.DataFrame) -> Table:
    """The frame's columns in order: their types, how many rows have them, how many lack them."""
    rows = tuple(
        (name, str(dtype), int(events[name].count()), int(events[name].isna().sum()))
        for name, dtype in events.dtypes.items()
    )
    note = f"{len(events):,} rows; a column is missing where an event type does not have it"
    return Table(
        "The columns of the DataFrame",
        (Column("column", "code"), Column("type", "code"), number("present"), number("missing")),
        rows,
        note,
    )


def first_rows(events: pd.DataFrame, most: int = 5) -> Table:
    """The first events of the first player, in that player's own order."""
    rows = events.sort_values(["player", "partition", "offset"], kind="stable").head(most)
    rows = rows.assign(nth=rows.groupby("player").cumcount() + 1)
    shown = rows[["player", "nth", "event_type", "partition", "offset", "timestamp", "event_id"]]
    columns = (
        Column("player"),
        number("event"),
        Column("event type", "code"),
        number("partition"),
        number("offset", measured=True),
        Column("broker time (UTC)", measured=True),
        Column("event id", "code", measured=True),
    )
    cells = (
        (player, nth, kind, partition, offset, clock(stamp), str(event_id)[:8])
        for player, nth, kind, partition, offset, stamp, event_id in shown.itertuples(index=False)
    )
    return Table(
        "The first rows of the DataFrame",
        columns,
        tuple(cells),
        f"of {len(events):,}; sorted by player and the player's own order",
    )


def events_by_type(events: pd.DataFrame) -> Table:
    """Each event type: its events, their share, and how many players caused one."""
    grouped = events.groupby("event_type")["player"]
    sizes, players = grouped.size(), grouped.nunique()
    rows = [
        (kind, int(sizes[kind]), share(sizes[kind], len(events)), int(players[kind])) for kind in typed(sizes.index)
    ]
    if rows:
        rows.append(("all", len(events), share(len(events), len(events)), int(events["player"].nunique())))
    columns = (Column("event type", "code"), number("events"), number("share (%)", 1), number("players"))
    return Table("Events by type", columns, tuple(rows), "in the order of the game's own table", total=bool(rows))


def events_by_partition(events: pd.DataFrame) -> Table:
    """Each partition: its players, its events by type, and its share."""
    counts = by_partition(events)
    rows = tuple((*line, share(line[-1], len(events))) for line in counts.itertuples(name=None))
    columns = (Column("partition"), *(number(str(name)) for name in counts.columns), number("share (%)", 1))
    return Table("Events by partition", columns, rows, "the key is the player, so each player is on one partition")


def top_players(events: pd.DataFrame, most: int = 10) -> Table:
    """The players with the most events, by type; ties in the order of their names."""
    counts = by_player(events)
    note = f"the {min(most, len(counts)):,} busiest of {len(counts):,} players, in events"
    return counted("Events by player", "player", counts.head(most), note, sums=False)


def guilds(world: Any) -> Table:
    """The guilds of a game's world: members and their swords; players without a guild last."""
    counts = guild_counts(world)
    columns = (Column("guild"), number("members"), number("swords"))
    rows = tuple((name, int(members), int(swords)) for name, members, swords in counts.itertuples())
    return Table("Guilds at the end", columns, rows, "the game's world after the last request", empty="no players")


def counted(
    title: str, first: str, counts: pd.DataFrame, note: str, *, sums: bool = True, empty: str = NO_EVENTS
) -> Table:
    """A frame of counts as a table, its index as the first column; `sums` adds the totals of rows and columns."""
    if sums and len(counts):
        counts = counts.assign(all=counts.sum(axis=1))
        counts.loc["all"] = counts.sum(axis=0)
    rows = tuple((str(name), *map(int, line)) for name, *line in counts.itertuples())
    columns = (Column(first), *(number(str(name)) for name in counts.columns))
    return Table(title, columns, rows, note, total=sums and bool(rows), empty=empty)


def clock(stamp: Any) -> str:
    """A time of day with milliseconds."""
    return "" if pd.isna(stamp) else f"{pd.Timestamp(stamp):%H:%M:%S.%f}"[:-3]
