"""The shape of a frame of events: which of its columns tell type, player and time, whatever the game called them."""

import json
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

GAME_COLUMNS = frozenset({"event_id", "event_type", "player", "at"})  # a frame with these is the lab's own
META = ("topic", "partition", "offset", "timestamp", "key")  # a record's own columns, before those of its payload

# The names that games give to one idea, the surest first; compared without case and punctuation.
TYPE_NAMES = ("eventtype", "event", "eventname", "type", "action", "kind")
PLAYER_NAMES = ("player", "playerid", "playername", "user", "username", "userid", "gamer", "host")

MOST_TYPES = 10  # event types that a table or chart names; the others are one line
MOST_COLUMNS = 60  # columns that nested objects may become; what lies deeper stays JSON text
DEEPEST = 4  # levels of objects that become dotted columns
LONGEST_LABEL = 40  # characters of a type's or player's name
NO_NAME = "(none)"
MORE = re.compile(r"^[\d,]+ more types$")


def shape_events(events: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns event_type, at, and player where a column names one.

    The lab's own frames stay as they are. A row's type is that of the first column in `TYPE_NAMES`, otherwise its
    topic. A row's time is its column `at`, otherwise the broker's.
    """
    if is_lab_frame(events):
        return events
    kind, player = find_column(events, TYPE_NAMES), find_column(events, PLAYER_NAMES)
    topics = events["topic"] if "topic" in events else pd.Series("record", index=events.index)
    types = topics if kind is None else events[kind].where(events[kind].notna(), NO_NAME)
    at = moments_of(events)
    shaped = events.drop(columns=[name for name in ("event_type", "at", "player") if name in events])
    shaped = shaped.assign(event_type=names_of(types).fillna(NO_NAME), at=at)
    return shaped if player is None else shaped.assign(player=names_of(events[player]))


def is_lab_frame(events: pd.DataFrame) -> bool:
    """Does the frame have the columns of the lab's own events, with a time that is one?"""
    return set(events.columns) >= GAME_COLUMNS and pd.api.types.is_datetime64_any_dtype(events["at"])


def names_players(events: pd.DataFrame) -> bool:
    """Does a column name the player of a row, of one at least?"""
    return is_lab_frame(events) or find_column(events, PLAYER_NAMES) is not None


def moments_of(events: pd.DataFrame) -> "pd.Series[Any]":
    """Each row's time: its column `at` where that is a time, otherwise the broker's."""
    if "at" in events and pd.api.types.is_datetime64_any_dtype(events["at"]):
        own: pd.Series[Any] = events["at"]
        return own.where(own.notna(), events["timestamp"]) if "timestamp" in events else own
    return events["timestamp"]


def find_column(events: pd.DataFrame, names: Iterable[str]) -> str | None:
    """The first column with one of these names and with a value: `Event-Type`, `user.name` and `headers.Host` count."""
    known: dict[str, str] = {}
    for column in map(str, events.columns):
        for part in (column, column.rpartition(".")[2]):
            known.setdefault(re.sub(r"[^a-z0-9]", "", part.lower()), column)
    return next((known[name] for name in names if name in known and events[known[name]].notna().any()), None)


def names_of(values: "pd.Series[Any]") -> "pd.Series[str]":
    """Values as short names; a missing one stays missing."""
    named = values.map(lambda value: None if is_missing(value) else short_text(value))
    return pd.Series(named, index=values.index, dtype="str")


def short_text(value: Any) -> str:
    """A value as text of bounded length; objects and lists as JSON."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def is_missing(value: Any) -> bool:
    """Is there no value? An object or a list is one."""
    return value is None or (not isinstance(value, (dict, list)) and bool(pd.isna(value)))


def few_types(types: "pd.Series[str]", sizes: "pd.Series[Any]") -> "pd.Series[str]":
    """The ten most frequent types by name, and the others as `N more types`; `sizes` are the events by type."""
    sizes = sizes.sort_index().sort_values(ascending=False, kind="stable")
    left = set(sizes.index[MOST_TYPES:]) if len(sizes) > MOST_TYPES + 1 else set()
    return types.where(~types.isin(left), f"{len(left):,} more types")


def most_frequent(sizes: "pd.Series[Any]") -> str:
    """The most frequent type that has a name of its own, ties by name; `sizes` are the events by type."""
    return str(sizes[~sizes.index.str.match(MORE)].sort_index().idxmax())


def places_of(events: pd.DataFrame) -> "pd.Series[Any]":
    """Each row's partition, with its topic's name where the rows are of several topics."""
    if "topic" not in events or events["topic"].nunique() < 2:
        return events["partition"]
    return events["topic"].astype("str") + " " + events["partition"].astype("str")


def flatten_objects(events: pd.DataFrame) -> pd.DataFrame:
    """`events` with a dotted column for each field of a nested object: `user.name`. Lists stay JSON, as text.

    At most `MOST_COLUMNS` columns are made so, the first by name; an object without room stays whole, as JSON text.
    """
    made: dict[str, pd.Series[Any]] = {}
    for name in map(str, events.columns):
        made |= _parts(name, events[name], 1)
    return pd.DataFrame(made, index=events.index)


def _parts(name: str, cells: "pd.Series[Any]", depth: int) -> dict[str, "pd.Series[Any]"]:
    if cells.dtype != object or name == "key":
        return {name: cells}
    objects = cells.map(lambda cell: isinstance(cell, dict) and bool(cell))
    fields = sorted({str(field) for cell in cells[objects] for field in cell})
    if not fields or len(fields) > MOST_COLUMNS or depth >= DEEPEST:
        return {name: cells.map(_as_text) if _has_structure(cells) else cells.infer_objects()}
    left = cells.where(~objects, None)
    parts = {} if left.isna().all() else {name: left.map(_as_text) if _has_structure(left) else left}
    for field in fields:
        inner = cells.map(lambda cell, field=field: cell.get(field) if isinstance(cell, dict) else None)
        parts |= _parts(f"{name}.{field}", inner.astype(object), depth + 1)
    return parts


def _has_structure(cells: "pd.Series[Any]") -> bool:
    return any(isinstance(cell, (dict, list)) for cell in cells)


def _as_text(cell: Any) -> Any:
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, (dict, list)) else cell
