"""The summary of a frame of events: counts that add up, from which chapter 03's tables and charts are made.

The tables of a DataFrame are made from the summary of that frame; those of a topic in slices from their merged
summaries. So there is one way to make a table, and a frame is a topic of one slice.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from streaming_lab.analysis.shapes import (
    few_types,
    is_lab_frame,
    names_players,
    places_of,
    shape_events,
)
from streaming_lab.errors import LabError

FIRST_ROWS = 20  # rows that a summary keeps whole, the first of the frame
BINS = 32  # the most bins of a chart over time
WIDTHS: tuple[int, ...] = tuple(
    base * 10**power for power in range(2, 17) for base in (10, 25, 50)
)  # a bin's width in microseconds
FINER = 20  # a summary counts in bins so many times finer than the power of ten of a chart's


@dataclass(frozen=True)
class Moments:
    """Events by type in bins of `width` microseconds since 1970 (columns bin, event_type, events), the first and last.

    Widths are a twentieth of a power of ten, so that the bins of one summary go into those of a coarser one.
    """

    first: int
    last: int
    width: int
    counts: pd.DataFrame


@dataclass(frozen=True)
class Summary:
    """What the tables and charts need to know of a frame of events; `merge_summaries` adds two of one topic.

    `lab`: the frame is the lab's own; `named`: a column names players. `columns`: name, type and present values of each
    column. `cube`: columns place, player, event_type, events; types are not cut to the most frequent ones yet.
    `first`: the first rows, in the order of the table of first rows. `moments` is None without events.
    """

    lab: bool
    named: bool
    rows: int
    columns: tuple[tuple[str, str, int], ...]
    cube: pd.DataFrame
    first: pd.DataFrame
    moments: Moments | None

    def __len__(self) -> int:
        return self.rows

    def present(self, name: str) -> int:
        """The number of values in a column, 0 where there is no such column."""
        return next((present for column, _, present in self.columns if column == name), 0)

    def typed(self) -> pd.DataFrame:
        """The cube, with the types that a table names; the others are `N more types`."""
        return self.cube if self.lab else self.cube.assign(event_type=self._few(self.cube))

    def typed_moments(self) -> pd.DataFrame:
        """The counts over time with the same types."""
        assert self.moments is not None
        found = self.moments.counts
        return found if self.lab else found.assign(event_type=self._few(found))

    def _few(self, counts: pd.DataFrame) -> "pd.Series[Any]":
        sizes = self.cube.groupby("event_type")["events"].sum()
        return few_types(counts["event_type"], sizes)


AnyEvents: TypeAlias = "pd.DataFrame | Summary"


def summarize(events: AnyEvents) -> Summary:
    """The summary of a frame of events, the lab's own or another game's; a summary stays as it is."""
    if isinstance(events, Summary):
        return events
    lab, named, shaped = is_lab_frame(events), names_players(events), shape_events(events)
    cube = shaped.assign(place=places_of(shaped), player=shaped.get("player"))
    keys = ["place", "player", "event_type"]
    counted = cube.groupby(keys, dropna=False, observed=True).size().rename("events").reset_index()
    columns = tuple((str(name), str(dtype), int(events[name].count())) for name, dtype in events.dtypes.items())
    return Summary(lab, named, len(events), columns, counted, first_of(events, lab), moments_of_types(shaped))


def first_of(events: pd.DataFrame, lab: bool) -> pd.DataFrame:
    """The first rows: of the lab's own frame by player and their order, of another by offset."""
    names = ("player", "partition", "offset") if lab else ("topic", "partition", "offset")
    return events.sort_values([name for name in names if name in events], kind="stable").head(FIRST_ROWS)


def moments_of_types(shaped: pd.DataFrame) -> Moments | None:
    """The events over time, by their own time; by the broker's where they have none."""
    timed = shaped[shaped["at"].notna()]
    if timed.empty:
        return None
    at = timed["at"].dt.as_unit("us").astype("int64")
    first, last = int(at.min()), int(at.max())
    width = fine_width(last - first)
    bins = pd.DataFrame({"bin": at // width, "event_type": timed["event_type"]})
    return Moments(first, last, width, bins.groupby(["bin", "event_type"]).size().rename("events").reset_index())


def chart_width(span: int) -> int:
    """The width of a chart's bins in microseconds, for so many microseconds of events."""
    return next((step for step in WIDTHS if span / step <= BINS), WIDTHS[-1])


def fine_width(span: int) -> int:
    """The width of a summary's bins: every chart's width from that of this span on is a multiple of it."""
    return int(10 ** (len(str(chart_width(span))) - 1)) // FINER


def merge_summaries(left: Summary, right: Summary) -> Summary:
    """The summary of two frames as one, of the same topic: left's offsets come before right's in each partition."""
    if not left.rows or not right.rows:
        return right if not left.rows else left
    if (left.lab, left.named) != (right.lab, right.named) or not left.lab:
        raise LabError(
            "these slices hold no events of the lab's game, whose tables can be added up",
            "Read the topic as one frame (read_topic), or merge a part of your own (docs/scale.md).",
        )
    cube = pd.concat([left.cube, right.cube]).groupby(["place", "player", "event_type"], dropna=False)["events"].sum()
    first = pd.concat([left.first, right.first], ignore_index=True)
    return Summary(
        left.lab,
        left.named,
        left.rows + right.rows,
        merge_columns(left.columns, right.columns),
        cube.reset_index(),
        first_of(first, left.lab),
        merge_moments(left.moments, right.moments),
    )


def merge_columns(
    left: tuple[tuple[str, str, int], ...], right: tuple[tuple[str, str, int], ...]
) -> tuple[tuple[str, str, int], ...]:
    """The columns of both frames; where types differ (a key that is no text), the column holds objects."""
    there = {name: (dtype, present) for name, dtype, present in right}
    if left and {name for name, _, _ in left} != there.keys():
        raise LabError("the slices have different columns", "Give the read a schema, which has the same for all.")
    return tuple(
        (name, dtype if dtype == there[name][0] else "object", present + there[name][1])
        for name, dtype, present in left
    )


def merge_moments(left: Moments | None, right: Moments | None) -> Moments | None:
    """The counts of both, in the bins that their common span takes."""
    if left is None or right is None:
        return left or right
    first, last = min(left.first, right.first), max(left.last, right.last)
    width = fine_width(last - first)
    coarse = [each.counts.assign(bin=each.counts["bin"] // (width // each.width)) for each in (left, right)]
    counts = pd.concat(coarse).groupby(["bin", "event_type"])["events"].sum().reset_index()
    return Moments(first, last, width, counts)
