"""The tables of chapter 03, sorted by what repeats (a player, a type, a count), never by arrival."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from streaming_lab.analysis.counts import count_by_partition, count_by_player, guild_counts, rows_by_type, share
from streaming_lab.analysis.display import NO_EVENTS, NO_PLAYERS, Table, TableColumn, number
from streaming_lab.analysis.first_rows import first_rows as first_rows  # a notebook asks for its tables here
from streaming_lab.analysis.ledger import Ledger
from streaming_lab.analysis.replay import world_differences
from streaming_lab.analysis.summary import AnyEvents, summarize
from streaming_lab.reader.causes import group_by_cause
from streaming_lab.wording import counted as counted  # a notebook counts with it as well

COLUMNS_SHOWN = 60  # columns of a frame that have a row in its table


def requests_by_status(requests: pd.DataFrame) -> Table:
    """Requests by action (rows) and status (columns)."""
    status = requests["status"].map(lambda code: "no answer" if pd.isna(code) else str(code))
    counts = pd.crosstab(requests["action"], status) if len(requests) else pd.DataFrame()
    return count_of("Requests by action and status", "action", counts, "in requests", empty="no requests")


def columns_of(events: AnyEvents) -> Table:
    """The frame's columns in order: type, and the numbers of rows with and without a value."""
    found = summarize(events)
    rows = tuple((name, dtype, present, len(found) - present) for name, dtype, present in found.columns[:COLUMNS_SHOWN])
    left = len(found.columns) - len(rows)
    more = f"; {counted(left, 'more column')} not shown" if left else ""
    note = f"{counted(len(found), 'row')}; a column is missing where an event type does not have it{more}"
    return Table(
        "The columns of the DataFrame",
        (TableColumn("column", "code"), TableColumn("type", "code"), number("present"), number("missing")),
        rows,
        note,
    )


def events_by_type(events: AnyEvents) -> Table:
    """Each event type: its events, their share, and the players who caused one."""
    found = summarize(events)
    grouped = found.typed().groupby("event_type")
    sizes, players = grouped["events"].sum(), grouped["player"].nunique()
    rows = [
        (kind, int(sizes[kind]), share(sizes[kind], len(found)), int(players[kind]))
        for kind in rows_by_type(sizes.index)
    ]
    if rows:
        rows.append(("all", len(found), share(len(found), len(found)), int(found.cube["player"].nunique())))
    columns = (TableColumn("event type", "code"), number("events"), number("share (%)", 1), number("players"))
    width = len(columns) if found.named else len(columns) - 1
    note = "in the order of the game's own table" if found.lab else "by name"
    return Table("Events by type", columns[:width], tuple(row[:width] for row in rows), note, total=bool(rows))


def events_by_partition_table(events: AnyEvents) -> Table:
    """Each partition: its players, its events by type, and its share."""
    found = summarize(events)
    counts = count_by_partition(found)
    rows = tuple((*line, share(line[-1], len(found))) for line in counts.itertuples(name=None))
    columns = (TableColumn("partition"), *(number(str(name)) for name in counts.columns), number("share (%)", 1))
    note = "the key is the player, so each player is on one partition" if found.lab else "in events"
    return Table("Events by partition", columns, rows, note)


def top_players(events: AnyEvents, most: int = 10) -> Table:
    """The players with the most events, by type; ties by name."""
    found = summarize(events)
    if not found.named:
        return Table("Events by player", (TableColumn("player"), number("all")), (), empty=NO_PLAYERS)
    counts = count_by_player(found)
    note = f"the {min(most, len(counts)):,} busiest of {counted(len(counts), 'player')}, in events"
    return count_of("Events by player", "player", counts.head(most), note, sums=False)


def guild_table(world: Any) -> Table:
    """The guilds of a game's world: members and their swords; players without a guild last."""
    counts = guild_counts(world)
    columns = (TableColumn("guild"), number("members"), number("swords"))
    rows = tuple((name, int(members), int(swords)) for name, members, swords in counts.itertuples())
    return Table("Guilds at the end", columns, rows, "the game's world after the last request", empty="no players")


def count_of(
    title: str, first: str, counts: pd.DataFrame, note: str, *, sums: bool = True, empty: str = NO_EVENTS
) -> Table:
    """A frame of counts as a table, its index as the first column; `sums` adds the totals of rows and columns."""
    if sums and len(counts):
        counts = counts.assign(all=counts.sum(axis=1))
        counts.loc["all"] = counts.sum(axis=0)
    rows = tuple((str(name), *map(int, line)) for name, *line in counts.itertuples())
    columns = (TableColumn(first), *(number(str(name)) for name in counts.columns))
    return Table(title, columns, rows, note, total=sums and bool(rows), empty=empty)


# The tables of the ledger: its stations and gaps, the rejects, the replay beside the game.

RAW_SHOWN = 200  # bytes of a rejected record that a table shows
REJECTS_SHOWN = 20  # rejects that have a row each; more of them are a row for each cause


def reject_table(rejected: pd.DataFrame, topic_name: str) -> Table:
    """The rejected records with their reasons; raw bytes as Python literals, inert on the page.

    More than `REJECTS_SHOWN` are a row for each cause, with its count and a hint.
    """
    if len(rejected) > REJECTS_SHOWN:
        return _cause_table(rejected, topic_name)
    columns = (
        TableColumn("partition"),
        number("offset", measured=True),
        number("bytes"),
        TableColumn("reason", "long"),
        TableColumn("raw", "raw"),
    )
    rows = rejected.sort_values(["partition", "offset"], kind="stable")
    cells = tuple(
        (partition, offset, len(raw), reason, literal(raw))
        for partition, offset, reason, raw in rows[["partition", "offset", "reason", "raw"]].itertuples(index=False)
    )
    note = "raw bytes as Python literals, so that nothing in them can act"
    return Table(f"Rejected records of `{topic_name}`", columns, cells, note, empty="no rejects")


def _cause_table(rejected: pd.DataFrame, topic_name: str) -> Table:
    columns = (number("rejects"), TableColumn("cause", "long"), TableColumn("hint", "long"), TableColumn("first"))
    causes = group_by_cause(rejected[["partition", "offset", "reason", "raw"]].itertuples(index=False, name=None))
    cells = tuple((one.count, one.cause, one.hint, f"{one.partition}:{one.offset}") for one in causes)
    note = f"{counted(len(rejected), 'reject')} in all; first: partition and offset of the first reject of a cause"
    return Table(f"Rejected records of `{topic_name}` by cause", columns, cells, note)


def ledger_table(ledger: Ledger) -> Table:
    """The stations of a run, the gap before each, and the parts of the gap."""
    columns = (TableColumn("station"), number("count"), number("gap"), TableColumn("what the gap is"))
    rows = tuple((one.name, one.count, one.gap, one.parts) for one in stations(ledger))
    return Table("The ledger", columns, rows, "in requests, then in events", total=True)


@dataclass(frozen=True)
class Station:
    """One of the five stations of a run: name, what is counted, the count, the gap before it and the gap's parts.

    `count` is None where nothing counted; `gap` is None at the first station.
    """

    name: str
    counted: str
    count: int | None
    gap: int | None
    parts: str


def stations(ledger: Ledger) -> tuple[Station, ...]:
    """The five stations of a run, from the players' requests to the DataFrame's rows."""
    partitions = len({thread.partition for thread in ledger.threads})
    aside = {"refused": ledger.refused, "failed": ledger.failed, "unanswered": ledger.unanswered}
    missing = {
        "lost": ledger.lost,
        "answered twice": ledger.retried_accepted,
        "without an event": ledger.without_event,
        "further events of a request": -ledger.further,
    }
    more = {
        "duplicated": ledger.duplicates,
        "unconfirmed": ledger.unconfirmed,
        "unexpected": ledger.unexpected - ledger.unconfirmed,
    }
    players = f"from {counted(ledger.players, 'player')}"
    by_log = "not counted" if ledger.acknowledged is None else "by the broker"
    on = f"on {counted(partitions, 'partition')}"
    offsets, rejected = ledger.rows + ledger.rejects, {"rejected": ledger.rejects}
    return (
        Station("requests", players, ledger.requests, None, ""),
        Station("accepted", "answered 2xx", ledger.accepted, sum(aside.values()), gap_parts(aside, "refused")),
        Station("acknowledged", by_log, ledger.acknowledged, sum(missing.values()), gap_parts(missing, "lost")),
        Station("offsets", on, offsets, sum(more.values()), gap_parts(more, "duplicated")),
        Station("rows", "in the DataFrame", ledger.rows, ledger.rejects, gap_parts(rejected, "rejected")),
    )


def gap_parts(counts: dict[str, int], usual: str) -> str:
    """The parts of a gap in words; an empty gap is 0 of its usual part."""
    found = [f"{count:,} {name}" for name, count in counts.items() if count]
    return ", ".join(found) or f"0 {usual}"


def gap_table(ledger: Ledger, most: int = 20) -> Table:
    """The first `most` gaps of the ledger, event by event."""
    columns = (
        TableColumn("event id", "code"),
        TableColumn("gap"),
        TableColumn("player"),
        TableColumn("detail", "long"),
    )
    rows = tuple((gap.event_id, gap.gap, gap.player, gap.detail) for gap in ledger.entries[:most])
    left = len(ledger.entries) - len(rows)
    note = f"event by event; {left:,} more are left out" if left else "event by event"
    return Table("The gaps", columns, rows, note, empty="no gaps")


def replay_table(replayed: Any, world: Any) -> Table:
    """The replayed world beside the game's world, in totals and in differences."""
    columns = (TableColumn("what"), number("from the log"), number("in the game"), number("differences"))
    left, right, what = world_totals(replayed), world_totals(world), world_differences(replayed, world)["what"]
    differing = {
        "players": len(replayed.players.keys() ^ world.players.keys()),
        "swords": int((what == "swords").sum()),
        "guild members": int((what == "guild").sum()),
    }
    rows = tuple((name, left[name], right[name], count) for name, count in differing.items())
    return Table("Replay beside the game", columns, rows, "differences are counted player by player, not in the sums")


def world_totals(world: Any) -> dict[str, int]:
    players = world.players.values()
    return {
        "players": len(players),
        "swords": sum(player.swords for player in players),
        "guild members": sum(player.guild is not None for player in players),
    }


def literal(raw: bytes) -> str:
    """Bytes as a Python literal: the first `RAW_SHOWN`, and the number of the others."""
    more = f" and {counted(len(raw) - RAW_SHOWN, 'byte')} more" if len(raw) > RAW_SHOWN else ""
    return f"{bytes(raw[:RAW_SHOWN])!r}{more}"
