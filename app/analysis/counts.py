"""The counts behind tables and charts: functions from frames to frames."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from streaming_lab.analysis.shapes import MORE
from streaming_lab.analysis.summary import WIDTHS, AnyEvents, chart_width, summarize
from streaming_lab.analysis.theme import EVENT_COLOURS

NOT_TYPES = ("all", "players")  # columns of counts beside those of the event types
STEPS: tuple[float, ...] = tuple(width / 1e6 for width in WIDTHS)  # a bin's width in seconds


def rows_by_type(types: Iterable[Any]) -> list[str]:
    """Event types in the game's order, others after them by name, `N more types` last."""
    names = sorted(map(str, types), key=lambda name: (bool(MORE.match(name)), name))
    return [name for name in EVENT_COLOURS if name in names] + [name for name in names if name not in EVENT_COLOURS]


def share(count: Any, whole: int) -> float:
    """A part of a whole in percent; 0 of an empty whole."""
    return 100 * float(count) / whole if whole else 0.0


def by_type_and(events: AnyEvents, name: str) -> pd.DataFrame:
    """Events by place or player (`name`, the index) and type (columns in the game's order, and `all`)."""
    cube = summarize(events).typed()
    if cube.empty:
        return pd.DataFrame({"all": pd.Series(dtype="int64")})
    counts = table_of_types(cube, name)
    return counts[rows_by_type(counts.columns)].assign(all=counts.sum(axis=1))


def table_of_types(counts: pd.DataFrame, name: str) -> pd.DataFrame:
    """The sums of `events` by the column `name` (index) and type (columns)."""
    table = counts.assign(event_type=event_types(counts)).groupby([name, "event_type"])["events"].sum()
    found = table.unstack(fill_value=0)
    found.columns.name = None
    return found


def event_types(counts: pd.DataFrame) -> "pd.Series[Any]":
    """The event types of another topic may have the name of a column of counts; such a type is shown in quotes."""
    return counts["event_type"].replace({name: f"“{name}”" for name in NOT_TYPES})


def count_by_player(events: AnyEvents) -> pd.DataFrame:
    """Events by player and type; the busiest first, ties by name."""
    return by_type_and(events, "player").sort_index().sort_values("all", ascending=False, kind="stable")


def count_by_partition(events: AnyEvents) -> pd.DataFrame:
    """Events by partition and type, and before them the number of players on each partition, where rows name one."""
    found = summarize(events)
    counts = by_type_and(found, "place").rename_axis("partition")
    if not found.named:
        return counts
    players = found.cube.groupby("place")["player"].nunique()
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


def bin_times(events: AnyEvents) -> tuple[pd.DataFrame, float]:
    """Events per second in equal bins since the first event, and a bin's width in seconds.

    The index is each bin's beginning in seconds, the columns are the types. The first bin begins up to a tenth of a
    bin before the first event: at a multiple of the width in which the summary counts.
    """
    found = summarize(events)
    assert found.moments is not None
    fine, width = found.moments.width, chart_width(found.moments.last - found.moments.first)
    since = (found.moments.counts["bin"] - found.moments.first // fine) // (width // fine)
    counts = table_of_types(found.typed_moments().assign(bin=since), "bin")
    counts = counts.reindex(range(int(counts.index.max()) + 1), fill_value=0)
    seconds = width / 1e6
    counts.index = pd.Index([round(index * seconds, 3) for index in counts.index], name="from")
    return counts[rows_by_type(counts.columns)] / seconds, seconds


def span_of(events: AnyEvents) -> float:
    """Seconds from the first event to the last."""
    moments = summarize(events).moments
    return (moments.last - moments.first) / 1e6 if moments else 0.0


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
    only when the broker has the event (`acknowledged`). The moment of a request is cut to the millisecond, as a stamp
    is, so its answer came up to 1 ms later than the two columns say.
    """
    joined = with_requests(requests, events)
    waited = milliseconds(joined["timestamp"]) - milliseconds(joined["sent_at"])
    if (early := float((waited + 1).min())) <= 0:
        return early
    answered = joined[joined["status"].eq(200).fillna(value=False).astype(bool)]
    late = float((waited - answered["latency_ms"]).max()) - 1 if acknowledged and len(answered) else 0.0
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
