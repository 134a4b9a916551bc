"""The counts behind tables and charts: functions from frames to frames."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from streaming_lab.analysis.theme import EVENT_COLOURS

BINS = 32  # the most bins of a chart over time
STEPS = tuple(base * 10.0**power for power in range(-3, 5) for base in (1, 2.5, 5))  # a bin's width in seconds


def rows_by_type(types: Iterable[Any]) -> list[str]:
    """Event types in the game's order, others after them by name."""
    names = sorted(map(str, types))
    return [name for name in EVENT_COLOURS if name in names] + [name for name in names if name not in EVENT_COLOURS]


def share(count: Any, whole: int) -> float:
    """A part of a whole in percent; 0 of an empty whole."""
    return 100 * float(count) / whole if whole else 0.0


def by_type_and(events: pd.DataFrame, name: str) -> pd.DataFrame:
    """Events by the column `name` (index) and type (columns in the game's order, and `all`)."""
    if events.empty:
        return pd.DataFrame({"all": pd.Series(dtype="int64")})
    counts = pd.crosstab(events[name], events["event_type"])
    counts.columns.name = None
    return counts[rows_by_type(counts.columns)].assign(all=counts.sum(axis=1))


def count_by_player(events: pd.DataFrame) -> pd.DataFrame:
    """Events by player and type; the busiest first, ties by name."""
    return by_type_and(events, "player").sort_index().sort_values("all", ascending=False, kind="stable")


def count_by_partition(events: pd.DataFrame) -> pd.DataFrame:
    """Events by partition and type, and before them the number of players on each partition."""
    counts = by_type_and(events, "partition")
    players = events.groupby("partition")["player"].nunique()
    return counts.assign(players=players)[["players", *counts.columns]]


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


def bin_times(events: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Events per second in equal bins since the first event, and a bin's width in seconds.

    The index is each bin's beginning in seconds, the columns are the types.
    """
    since = to_seconds(events)
    width = next((step for step in STEPS if since.max() / step <= BINS), STEPS[-1])
    bins = (since // width).astype("int64")
    counts = pd.crosstab(bins, events["event_type"]).reindex(range(int(bins.max()) + 1), fill_value=0)
    counts.index = pd.Index([round(index * width, 3) for index in counts.index], name="from")
    counts.columns.name = None
    return counts[rows_by_type(counts.columns)] / width, width


def to_seconds(events: pd.DataFrame) -> "pd.Series[Any]":
    """Seconds since the first event, by the events' own time."""
    since: pd.Series[Any] = (events["at"] - events["at"].min()).dt.total_seconds()
    return since


def to_broker(requests: pd.DataFrame, events: pd.DataFrame) -> "pd.Series[Any]":
    """Milliseconds from sending a request to the broker's stamp of its event, as an upper bound; at least 0.1.

    A stamp is cut to the millisecond, so the event was appended up to 1 ms later than it says.
    """
    sent = requests.drop_duplicates("request_id").set_index("request_id")["sent_at"]
    joined = events.drop_duplicates("event_id").join(sent, on="event_id", how="inner")
    waited = (joined["timestamp"] - joined["sent_at"]).dt.total_seconds() * 1000 + 1
    return waited.clip(lower=0.1)


def curve(values: "pd.Series[Any]") -> pd.DataFrame:
    """An empirical distribution as some two hundred points at most: columns ms, share (in percent)."""
    shares = pd.Series([n / 200 for n in range(201)])
    points = pd.DataFrame({"ms": values.quantile(list(shares)).to_numpy(), "share": 100 * shares})
    return points.drop_duplicates("ms", keep="last")


def stack_counts(counts: pd.DataFrame, name: str, value: str = "events") -> pd.DataFrame:
    """The types' columns as long rows: `name` (the index), type, `value`, rank (the type's place in the stack)."""
    types = [column for column in counts.columns if column not in ("all", "players")]
    long = counts[types].rename_axis(index=name).reset_index().melt(id_vars=name, var_name="type", value_name=value)
    return long.assign(rank=long["type"].map(types.index))
