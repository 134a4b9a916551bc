"""The tables and charts of chapter 04: ways to deliver beside each other, under a fault.

Counts under a fault are measured, since no two outages are alike; a promised zero is not. `counts` has a row for each
way and experiment, as `streaming_lab.faults.results` gives it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from streaming_lab.analysis.answer_kinds import ANSWER_KINDS, ANSWERS, PROMISES
from streaming_lab.analysis.chart_specs import timeline_spec
from streaming_lab.analysis.charts import figure, nothing
from streaming_lab.analysis.counts import STEPS
from streaming_lab.analysis.display import Figure, Table, TableColumn, number
from streaming_lab.analysis.measured import measured

TIMELINE_BINS = 30  # at most, in a chart over time

# Title -> column of `counts`, in the order of the table.
OUTCOME_COLUMNS: Mapping[str, str] = {
    **{name: name for name in ANSWERS},
    "in the topic": "in topic",
    "lost after a 200": "lost",
    "there without a 200": "unpromised",
    "duplicates": "duplicates",
    "after de-duplication": "left",
    "named at the end": "named",
}


@dataclass(frozen=True)
class Mark:
    """An action of a fault and when it was done: begin and end in seconds since the crowd's first request."""

    action: str
    begin: float
    end: float


def promises(ways: Mapping[str, str]) -> Table:
    """Each way's sentence: what its 200 means."""
    return Table("What a 200 means", (TableColumn("way"), TableColumn("its promise", "long")), tuple(ways.items()))


def outcome(counts: pd.DataFrame) -> Table:
    """One fault: a row for each variant, summed over its repetitions; where `safe` nothing may be lost."""
    fault, times = counts["fault"].iloc[0], counts.groupby("variant").size().max()
    summed = sum_repetitions(counts)
    rows = tuple(
        (
            row["variant"],
            *(measured_unless_promised(row, name) for name in OUTCOME_COLUMNS.values()),
            measured(row["stall"]),
        )
        for row in summed.to_dict("records")
    )
    columns = (TableColumn("way"), *(number(title) for title in OUTCOME_COLUMNS), number("longest stall (s)", 1))
    asked = f"{summed['requests'].iloc[0]:,} requests to each game"
    again = f", in {times} experiments" if times > 1 else ""
    return Table(f"{fault[:1].upper()}{fault[1:]}", columns, rows, f"{asked}{again}; then in events")


def sum_repetitions(counts: pd.DataFrame) -> pd.DataFrame:
    """Repetitions as one row for each fault and variant, in their order: counts summed, the longest stall."""
    numbers = dict.fromkeys(["requests", *OUTCOME_COLUMNS.values(), "again"], "sum") | {"stall": "max", "safe": "all"}
    return counts.groupby(["fault", "variant"], sort=False).agg(numbers).reset_index()


def measured_unless_promised(row: Mapping[Any, Any], name: str) -> Any:
    """A cell: what is promised repeats from run to run, all else is measured."""
    count = int(row[name])
    promised = name == "left" or (name == "lost" and row["safe"])
    return count if promised else measured(count)


def count_formatter(counts: pd.DataFrame) -> Callable[[str, str], Any]:
    """For a reading: (variant, column of `counts`) -> the sum over all rows, as it is to be shown."""
    rows = counts.groupby("variant").agg(
        dict.fromkeys(OUTCOME_COLUMNS.values(), "sum") | {"again": "sum", "safe": "all"}
    )

    def shown(variant: str, name: str) -> Any:
        return measured_unless_promised({**rows.loc[variant], "variant": variant}, name)

    return shown


def lost_table(counts: pd.DataFrame) -> Table:
    """Events lost after a 200: a row for each variant, a column for each fault; empty where it did not take part."""
    summed = sum_repetitions(counts)
    faults, variants = summed["fault"].unique(), summed["variant"].unique()
    cells = {(row["variant"], row["fault"]): measured_unless_promised(row, "lost") for row in summed.to_dict("records")}
    rows = tuple((name, *(cells.get((name, fault)) for fault in faults)) for name in variants)
    note = "every way under every fault, in events"
    return Table("Lost after a 200", (TableColumn("way"), *(number(fault) for fault in faults)), rows, note)


def lost_events_table(found: pd.DataFrame, most: int = 12) -> Table:
    """The first lost events of each fault and variant, by name; columns as `faults.results.lost_events`."""
    kinds = found.groupby(["fault", "variant"], sort=False)
    each = max(1, most // max(1, kinds.ngroups))
    shown = kinds.head(each)
    columns = (
        TableColumn("fault", measured=True),
        TableColumn("way", measured=True),
        TableColumn("event id", "code", measured=True),
        TableColumn("player", measured=True),
        number("request", measured=True),
        TableColumn("asked for", "code", measured=True),
    )
    names = ["fault", "variant", "event_id", "player", "sequence", "action"]
    rows = tuple(shown[names].itertuples(index=False, name=None))
    return Table("Lost, event by event", columns, rows, "the first of each way and fault", empty="nothing was lost")


def answers_over_time(answers: pd.DataFrame, moments: Sequence[Mark], fault: str) -> Figure:
    """Answers over the time of one experiment, a panel for each variant, the fault's moments marked.

    `answers` has a row for each request: variant, seconds, answer (one of `ANSWER_KINDS`).
    """
    title = f"Answers over time: {fault}"
    if answers.empty:
        return nothing(title, "no requests")
    width = bin_width(float(answers["seconds"].max()))
    binned = in_bins(answers, width)
    told = describe_timeline(moments)
    return figure(
        title,
        f"requests by the moment of their answer, in bins of {width:g} s; each panel has its own scale; "
        f"dashed lines: {told or 'nothing happened'}",
        alt=f"{binned['variant'].nunique()} panels of stacked bars over {answers['seconds'].max():.1f} seconds, one "
        f"for each way, requests answered by kind of answer. {told or 'No fault'}. {longest(answers)}.",
        reading=f"{longest(answers)}.",
        data=data(title, binned),
        draw=lambda narrow: timeline_spec(binned, moments, width, narrow),
        measured=True,
    )


def bin_width(span: float) -> float:
    """Seconds; a round number."""
    return next(step for step in STEPS if step >= 0.1 and span / step <= TIMELINE_BINS)


def in_bins(answers: pd.DataFrame, width: float) -> pd.DataFrame:
    """Requests by variant, bin (`from`, seconds) and answer."""
    starts = (answers["seconds"] // width) * width
    sizes = answers.assign(**{"from": starts.round(3)}).groupby(["variant", "from", "answer"], sort=False).size()
    return sizes.rename("requests").reset_index()


def data(title: str, binned: pd.DataFrame) -> Table:
    """What the chart shows, as a table."""
    kinds = [kind for kind in ANSWER_KINDS if (binned["answer"] == kind).any()]
    order = {name: index for index, name in enumerate(binned["variant"].unique())}
    wide = binned.pivot_table(index=["variant", "from"], columns="answer", values="requests", fill_value=0)[kinds]
    lines = sorted(wide.itertuples(name=None), key=lambda line: (order[line[0][0]], line[0][1]))
    columns = (TableColumn("way"), number("from (s)", 2), *(number(kind) for kind in kinds))
    return Table(title, columns, tuple((*index, *map(int, rest)) for index, *rest in lines))


def longest(answers: pd.DataFrame) -> str:
    """Each variant's longest time without any 200, in a sentence's words."""
    return "Longest time without a 200: " + ", ".join(
        f"{name} {stall(group):.1f} s" for name, group in answers.groupby("variant", sort=False)
    )


def stall(answers: pd.DataFrame) -> float:
    """The longest time in seconds without a 200, from 0 to the last answer."""
    good = answers["seconds"][answers["answer"].isin(PROMISES)]
    moments = pd.concat([pd.Series([0.0]), good, pd.Series([answers["seconds"].max()])]).sort_values()
    return float(moments.diff().max())


def describe_timeline(moments: Iterable[Mark]) -> str:
    """When each action was done."""
    return ", ".join(
        f"{moment.action} at {moment.begin:.1f} s" + (f", done at {moment.end:.1f} s" if slow(moment) else "")
        for moment in moments
    )


def slow(moment: Mark) -> bool:
    return moment.end - moment.begin > 0.25
