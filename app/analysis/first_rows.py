"""The table of a frame's first rows: of the lab's own events by player, of any others by offset."""

from typing import Any

import pandas as pd

from streaming_lab.analysis.display import Table, TableColumn, number
from streaming_lab.analysis.shapes import META, is_missing, short_text
from streaming_lab.analysis.summary import AnyEvents, Summary, summarize
from streaming_lab.wording import counted

PAYLOAD_SHOWN = 6  # columns of a foreign payload in the table


def first_rows(events: AnyEvents, most: int = 5) -> Table:
    """The first rows by player, each player's in their own order; of another game's frame the first by offset."""
    found = summarize(events)
    if not found.lab:
        return first_records(found, most)
    rows = found.first.head(most)
    rows = rows.assign(nth=rows.groupby("player").cumcount() + 1)
    shown = rows[["player", "nth", "event_type", "partition", "offset", "timestamp", "event_id"]]
    columns = (
        TableColumn("player"),
        number("event"),
        TableColumn("event type", "code"),
        number("partition"),
        number("offset", measured=True),
        TableColumn("broker time (UTC)", measured=True),
        TableColumn("event id", "code", measured=True),
    )
    cells = (
        (player, nth, kind, partition, offset, time_of_day(stamp), str(event_id)[:8])
        for player, nth, kind, partition, offset, stamp, event_id in shown.itertuples(index=False)
    )
    return Table(
        "The first rows of the DataFrame",
        columns,
        tuple(cells),
        f"of {len(found):,}; sorted by player and the player's own order",
    )


def first_records(events: Summary, most: int) -> Table:
    """The first rows by partition and offset, with the record's own columns and the first of its payload."""
    rows, names = events.first.head(most), [name for name, _, _ in events.columns]
    payload = shown_columns(events.first[[name for name in names if name not in META]])
    known = {
        "topic": TableColumn("topic", "code"),
        "partition": TableColumn("partition"),
        "offset": number("offset", measured=True),
        "timestamp": TableColumn("broker time (UTC)", measured=True),
        "key": TableColumn("key", "code"),
    }
    shown = [name for name in META if name in names and (name != "key" or events.present("key"))]
    columns = (*(known[name] for name in shown), *(TableColumn(name, "code", measured=True) for name in payload))
    cells = tuple(tuple(cell_text(row[name], name) for name in (*shown, *payload)) for row in rows.to_dict("records"))
    left = len(names) - len(shown) - len(payload)
    more = f"; {counted(left, 'more column')} not shown" if left > 0 else ""
    return Table("The first rows of the DataFrame", columns, cells, f"of {len(events):,}, by offset{more}")


def shown_columns(payload: pd.DataFrame) -> list[str]:
    """The first columns of a payload; where there are many, those that differ from row to row come first."""
    same = {name: payload[name].map(str).nunique() < 2 for name in payload.columns}
    return sorted(map(str, payload.columns), key=lambda name: same[name])[:PAYLOAD_SHOWN]


def cell_text(value: Any, name: str) -> Any:
    """A cell as it is shown: places as they are, stamps as a time of day, everything else as text of some length."""
    if name in ("partition", "offset"):
        return value
    return time_of_day(value) if name == "timestamp" else "" if is_missing(value) else short_text(value)


def time_of_day(stamp: Any) -> str:
    """A time of day with milliseconds."""
    if pd.isna(stamp):
        return ""
    at = pd.Timestamp(stamp)  # by its parts: strftime knows the years 1 to 9999 only, a record's timestamp any
    return f"{at.hour:02}:{at.minute:02}:{at.second:02}.{at.microsecond // 1000:03}"
