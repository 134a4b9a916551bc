"""The tables of the account: the ledger and its gaps, the rejects, the replay beside the game."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from streaming_lab.analysis.ledger import Ledger
from streaming_lab.analysis.page import Column, Table, number
from streaming_lab.analysis.replay import differences

RAW_SHOWN = 200  # bytes of a rejected record that a table shows


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
    rows = tuple((one.name, one.count, one.gap, one.parts) for one in stations(account))
    return Table("The ledger", columns, rows, "in requests, then in events", total=True)


@dataclass(frozen=True)
class Station:
    """One of the five stations of a run: what is counted there, how many, the gap before it and the gap's parts.

    `count` is None where nobody counted; `gap` is None at the first station, which has none.
    """

    name: str
    counted: str
    count: int | None
    gap: int | None
    parts: str


def stations(account: Ledger) -> tuple[Station, ...]:
    """The five stations of a run, from the players' requests to the DataFrame's rows."""
    partitions = len({thread.partition for thread in account.threads})
    aside = {"refused": account.refused, "failed": account.failed, "unanswered": account.unanswered}
    missing = {"lost": account.lost, "answered twice": account.retried_accepted}
    more = {
        "duplicated": account.duplicates,
        "unconfirmed": account.unconfirmed,
        "unexpected": account.unexpected - account.unconfirmed,
    }
    players = f"from {account.players:,} player{'' if account.players == 1 else 's'}"
    by_log = "not counted" if account.acknowledged is None else "by the broker"
    on = f"on {partitions} partition{'' if partitions == 1 else 's'}"
    offsets, rejected = account.rows + account.rejects, {"rejected": account.rejects}
    return (
        Station("requests", players, account.requests, None, ""),
        Station("accepted", "answered 2xx", account.accepted, sum(aside.values()), parts(aside, "refused")),
        Station("acknowledged", by_log, account.acknowledged, sum(missing.values()), parts(missing, "lost")),
        Station("offsets", on, offsets, sum(more.values()), parts(more, "duplicated")),
        Station("rows", "in the DataFrame", account.rows, account.rejects, parts(rejected, "rejected")),
    )


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
    left, right, what = totals(replayed), totals(world), differences(replayed, world)["what"]
    differing = {
        "players": len(replayed.players.keys() ^ world.players.keys()),
        "swords": int((what == "swords").sum()),
        "guild members": int((what == "guild").sum()),
    }
    rows = tuple((name, left[name], right[name], count) for name, count in differing.items())
    return Table("Replay beside the game", columns, rows, "differences are counted player by player, not in the sums")


def totals(world: Any) -> dict[str, int]:
    players = world.players.values()
    return {
        "players": len(players),
        "swords": sum(player.swords for player in players),
        "guild members": sum(player.guild is not None for player in players),
    }


def literal(raw: bytes) -> str:
    """Bytes as a Python literal, cut after `RAW_SHOWN` of them with the number that was left out."""
    more = f" and {len(raw) - RAW_SHOWN:,} bytes more" if len(raw) > RAW_SHOWN else ""
    return f"{bytes(raw[:RAW_SHOWN])!r}{more}"
