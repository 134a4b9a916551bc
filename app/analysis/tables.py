"""The tables of chapters 01 to 03. Each is sorted by what repeats (a player, a type, a count), never by arrival."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from app.analysis.ledger import Ledger
from app.analysis.page import Column, Table, number
from app.analysis.theme import TYPES

RAW_SHOWN = 200  # bytes of a rejected record that a table shows


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
    return counted("Requests by action and status", "action", counts, "in requests; the status is the HTTP answer's")


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
    counts = pd.crosstab(events["partition"], events["event_type"]) if len(events) else pd.DataFrame()
    counts = counts.reindex(columns=typed(counts.columns)).assign(all=counts.sum(axis=1))
    players = events.groupby("partition")["player"].nunique()
    rows = [
        (partition, int(players.loc[partition]), *map(int, line), share(line[-1], len(events)))
        for partition, *line in counts.itertuples()
    ]
    columns = (Column("partition"), number("players"), *map(number, map(str, counts.columns)), number("share (%)", 1))
    return Table(
        "Events by partition", columns, tuple(rows), "the key is the player, so each player is on one partition"
    )


def top_players(events: pd.DataFrame, most: int = 10) -> Table:
    """The players with the most events, by type; ties in the order of their names."""
    counts = by_player(events)
    note = f"the {min(most, len(counts)):,} busiest of {len(counts):,} players, in events"
    return counted("Events by player", "player", counts.head(most), note, sums=False)


def by_player(events: pd.DataFrame) -> pd.DataFrame:
    """Events by player (index) and type (columns, and `all`); the busiest first, ties in the order of their names."""
    counts = pd.crosstab(events["player"], events["event_type"]) if len(events) else pd.DataFrame()
    counts = counts.reindex(columns=typed(counts.columns)).assign(all=counts.sum(axis=1))
    return counts.sort_index().sort_values("all", ascending=False, kind="stable")


def guilds(world: Any) -> Table:
    """The guilds of a game's world: members and their swords; players without a guild last."""
    counts = guild_counts(world)
    columns = (Column("guild"), number("members"), number("swords"))
    rows = tuple((name, int(members), int(swords)) for name, members, swords in counts.itertuples())
    return Table("Guilds at the end", columns, rows, "the game's world after the last request", empty="no players")


def guild_counts(world: Any) -> pd.DataFrame:
    """Members and swords for each guild (index), by name; the players of no guild come last."""
    players = [(player.guild, player.swords) for player in world.players.values()]
    frame = pd.DataFrame(players, columns=["guild", "swords"])
    grouped = frame.groupby("guild")["swords"]
    named = pd.DataFrame({"members": grouped.size(), "swords": grouped.sum()}).sort_index()
    free = frame[frame["guild"].isna()]
    if len(free):
        named.loc["no guild"] = [len(free), int(free["swords"].sum())]
    return named


def rejects(rejected: pd.DataFrame, topic_name: str) -> Table:
    """The rejected records with their reasons; raw bytes as Python literals, so that nothing in them can act."""
    columns = (
        Column("partition"),
        number("offset", measured=True),
        number("bytes"),
        Column("reason", "long"),
        Column("raw", "raw"),
    )
    rows = rejected.sort_values(["partition", "offset"], kind="stable")
    cells = tuple(
        (partition, offset, len(raw), reason, literal(raw))
        for partition, offset, reason, raw in rows[["partition", "offset", "reason", "raw"]].itertuples(index=False)
    )
    note = "raw bytes as Python literals, so that nothing in them can act"
    return Table(f"Rejected records of `{topic_name}`", columns, cells, note, empty="no rejects")


def ledger(account: Ledger) -> Table:
    """The stations of a run, the gap before each, and what the gap consists of."""
    columns = (Column("station"), number("count"), number("gap"), Column("what the gap is"))
    return Table("The ledger", columns, tuple(stations(account)), "in requests, then in events", total=True)


def stations(account: Ledger) -> list[tuple[str, int | None, int | None, str]]:
    """The five stations: name, count, gap before it, and the gap's parts in words."""
    aside = {"refused": account.refused, "failed": account.failed, "unanswered": account.unanswered}
    missing = {"lost": account.lost, "answered twice": account.retried_accepted}
    more = {
        "duplicated": account.duplicates,
        "unconfirmed": account.unconfirmed,
        "unexpected": account.unexpected - account.unconfirmed,
    }
    return [
        ("requests", account.requests, None, ""),
        ("accepted", account.accepted, sum(aside.values()), parts(aside, "refused")),
        ("acknowledged", account.acknowledged, sum(missing.values()), parts(missing, "lost")),
        ("offsets", account.rows + account.rejects, sum(more.values()), parts(more, "duplicated")),
        ("rows", account.rows, account.rejects, parts({"rejected": account.rejects}, "rejected")),
    ]


def parts(counts: dict[str, int], usual: str) -> str:
    """What a gap consists of, in words; an empty one names what it would usually be."""
    found = [f"{count:,} {name}" for name, count in counts.items() if count]
    return ", ".join(found) or f"0 {usual}"


def gaps(account: Ledger, most: int = 20) -> Table:
    """The ledger's gaps, event by event; the first `most` of them."""
    columns = (Column("event id", "code"), Column("gap"), Column("player"), Column("detail", "long"))
    rows = tuple((gap.event_id, gap.gap, gap.player, gap.detail) for gap in account.entries[:most])
    left = len(account.entries) - len(rows)
    note = f"event by event; {left:,} more are left out" if left else "event by event"
    return Table("The gaps", columns, rows, note, empty="no gaps")


def replay(replayed: Any, world: Any) -> Table:
    """The world that the log gives beside the one that the game holds."""
    columns = (Column("what"), number("from the log"), number("in the game"), number("differences"))
    left, right = totals(replayed), totals(world)
    differing = {
        "players": len(replayed.players.keys() ^ world.players.keys()),
        "swords": differing_in("swords", replayed, world),
        "guild members": differing_in("guild", replayed, world),
    }
    rows = tuple((what, left[what], right[what], differing[what]) for what in differing)
    return Table("Replay beside the game", columns, rows, "differences are counted player by player, not in the sums")


def totals(world: Any) -> dict[str, int]:
    players = world.players.values()
    return {
        "players": len(players),
        "swords": sum(player.swords for player in players),
        "guild members": sum(player.guild is not None for player in players),
    }


def differing_in(field: str, world: Any, other: Any) -> int:
    names = {*world.players, *other.players}
    nobody = {"swords": 0, "guild": None}[field]
    return sum(
        getattr(world.players.get(name), field, nobody) != getattr(other.players.get(name), field, nobody)
        for name in names
    )


def counted(title: str, first: str, counts: pd.DataFrame, note: str, *, sums: bool = True) -> Table:
    """A frame of counts as a table, its index as the first column; `sums` adds the totals of rows and columns."""
    if sums and len(counts):
        counts = counts.assign(all=counts.sum(axis=1))
        counts.loc["all"] = counts.sum(axis=0)
    rows = tuple((str(name), *map(int, line)) for name, *line in counts.itertuples())
    columns = (Column(first), *(number(str(name)) for name in counts.columns))
    return Table(title, columns, rows, note, total=sums and bool(rows))


def typed(types: Iterable[Any]) -> list[str]:
    """Event types in the game's order, others after them by name."""
    names = sorted(map(str, types))
    return [name for name in TYPES if name in names] + [name for name in names if name not in TYPES]


def share(count: Any, whole: int) -> float:
    return 100 * float(count) / whole if whole else 0.0


def clock(stamp: Any) -> str:
    """A time of day with milliseconds."""
    return "" if pd.isna(stamp) else f"{pd.Timestamp(stamp):%H:%M:%S.%f}"[:-3]


def literal(raw: bytes) -> str:
    """Bytes as a Python literal, cut after `RAW_SHOWN` of them with the number that was left out."""
    more = f" and {len(raw) - RAW_SHOWN:,} bytes more" if len(raw) > RAW_SHOWN else ""
    return f"{bytes(raw[:RAW_SHOWN])!r}{more}"
