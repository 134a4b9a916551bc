"""The counts behind tables and charts: functions from frames to frames."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from streaming_lab.analysis.shapes import MORE, shape_events
from streaming_lab.analysis.theme import EVENT_COLOURS

BINS = 32  # the most bins of a chart over time
NOT_TYPES = ("all", "players")  # columns of counts beside those of the event types
STEPS = tuple(base * 10.0**power for power in range(-3, 11) for base in (1, 2.5, 5))  # a bin's width in seconds


def rows_by_type(types: Iterable[Any]) -> list[str]:
    """Event types in the game's order, others after them by name, `N more types` last."""
    names = sorted(map(str, types), key=lambda name: (bool(MORE.match(name)), name))
    return [name for name in EVENT_COLOURS if name in names] + [name for name in names if name not in EVENT_COLOURS]


def share(count: Any, whole: int) -> float:
    """A part of a whole in percent; 0 of an empty whole."""
    return 100 * float(count) / whole if whole else 0.0


def by_type_and(events: pd.DataFrame, name: str) -> pd.DataFrame:
    """Events by the column `name` (index) and type (columns in the game's order, and `all`)."""
    if events.empty:
        return pd.DataFrame({"all": pd.Series(dtype="int64")})
    events = shape_events(events)
    counts = pd.crosstab(places_of(events) if name == "partition" else events[name], event_types(events))
    counts.columns.name = None
    return counts[rows_by_type(counts.columns)].assign(all=counts.sum(axis=1))


def event_types(events: pd.DataFrame) -> "pd.Series[Any]":
    """The event types of another topic may have the name of a column of counts; such a type is shown in quotes."""
    return events["event_type"].replace({name: f"“{name}”" for name in NOT_TYPES})


def places_of(events: pd.DataFrame) -> "pd.Series[Any]":
    """Each row's partition, with its topic's name where the rows are of several topics."""
    if "topic" not in events or events["topic"].nunique() < 2:
        return events["partition"]
    return events["topic"].astype("str") + " " + events["partition"].astype("str")


def count_by_player(events: pd.DataFrame) -> pd.DataFrame:
    """Events by player and type; the busiest first, ties by name."""
    return by_type_and(events, "player").sort_index().sort_values("all", ascending=False, kind="stable")


def count_by_partition(events: pd.DataFrame) -> pd.DataFrame:
    """Events by partition and type, and before them the number of players on each partition, where rows name one."""
    counts, shaped = by_type_and(events, "partition"), shape_events(events)
    if "player" not in shaped:
        return counts
    players = shaped.groupby(places_of(shaped))["player"].nunique()
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
    """Events (of `shape_events`) per second in equal bins since the first one, and a bin's width in seconds.

    The index is each bin's beginning in seconds, the columns are the types; an event without a time is left out.
    """
    events = events[events["at"].notna()]
    since = to_seconds(events["at"])
    width = next((step for step in STEPS if since.max() / step <= BINS), STEPS[-1])
    bins = (since // width).astype("int64")
    counts = pd.crosstab(bins, event_types(events)).reindex(range(int(bins.max()) + 1), fill_value=0)
    counts.index = pd.Index([round(index * width, 3) for index in counts.index], name="from")
    counts.columns.name = None
    return counts[rows_by_type(counts.columns)] / width, width


def to_seconds(moments: "pd.Series[Any]") -> "pd.Series[Any]":
    """Seconds since the first moment."""
    since: pd.Series[Any] = (moments - moments.min()).dt.total_seconds()
    return since


def to_broker(requests: pd.DataFrame, events: pd.DataFrame) -> "pd.Series[Any]":
    """Milliseconds from sending a request to the broker's stamp of its event, as an upper bound.

    A stamp is cut to the millisecond, so the event was appended up to 1 ms later than it says. A bound of 0 or less
    can't be: the stamp is another clock's (see `clock_offset`).
    """
    joined = with_requests(requests, events)
    return milliseconds(joined["timestamp"]) - milliseconds(joined["sent_at"]) + 1


def clock_offset(requests: pd.DataFrame, events: pd.DataFrame, *, acknowledged: bool = False) -> float:
    """How far the clocks of stamps and requests are apart at least, in milliseconds; 0 where one clock explains all.

    Below 0: a stamp lies before its request. Above 0: a stamp lies after the answer, though an answer 200 is given
    only when the broker has the event (`acknowledged`).
    """
    joined = with_requests(requests, events)
    waited = milliseconds(joined["timestamp"]) - milliseconds(joined["sent_at"])
    if (early := float((waited + 1).min())) <= 0:
        return early
    answered = joined[joined["status"].eq(200).fillna(value=False).astype(bool)]
    late = float((waited - answered["latency_ms"]).max()) if acknowledged and len(answered) else 0.0
    return max(late, 0.0)


def with_requests(requests: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """The first row of each event that a request explains, with the request's columns."""
    asked = requests.drop_duplicates("request_id").set_index("request_id")[["sent_at", "status", "latency_ms"]]
    return events.drop_duplicates("event_id").join(asked, on="event_id", how="inner")


def milliseconds(moments: "pd.Series[Any]") -> "pd.Series[Any]":
    """Moments as milliseconds since 1970, in floats: the difference of two record timestamps may pass any range."""
    units = {"s": 1e-3, "ms": 1, "us": 1e3, "ns": 1e6}
    found: pd.Series[Any] = moments.astype("int64") / units[moments.dt.unit]
    return found.where(moments.notna())


def curve(values: "pd.Series[Any]") -> pd.DataFrame:
    """An empirical distribution as some two hundred points at most: columns ms, share (in percent)."""
    shares = pd.Series([n / 200 for n in range(201)])
    points = pd.DataFrame({"ms": values.quantile(list(shares)).to_numpy(), "share": 100 * shares})
    return points.drop_duplicates("ms", keep="last")


def stack_counts(counts: pd.DataFrame, name: str, value: str = "events") -> pd.DataFrame:
    """The types' columns as long rows: `name` (the index), type, `value`, rank (the type's place in the stack)."""
    types = [column for column in counts.columns if column not in NOT_TYPES]
    rows = [(key, kind, counts.at[key, kind], rank) for rank, kind in enumerate(types) for key in counts.index]
    return pd.DataFrame(rows, columns=[name, "type", value, "rank"])
