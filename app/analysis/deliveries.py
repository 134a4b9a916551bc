"""The tables and charts of chapter 04: the ways to deliver side by side, under a fault.

Counts under a fault are measured, since no two outages are alike; a guaranteed zero is not. `counts` has a row for each
variant and experiment, as `streaming_lab.faults.results` makes it.
"""

import html
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from streaming_lab.analysis.answer_kinds import ANSWER_KINDS, ANSWERS, PROMISES
from streaming_lab.analysis.chart_specs import timeline_spec
from streaming_lab.analysis.charts import empty_figure, figure
from streaming_lab.analysis.counts import STEPS
from streaming_lab.analysis.display import Figure, Table, TableColumn, number
from streaming_lab.analysis.measured import Measured, measured
from streaming_lab.wording import counted

ALARMS = ("lost after a 200", "after de-duplication")  # counts that should be zero
TIMELINE_BINS = 30  # the most bins of a chart over time

# Title -> column of `counts`, in the order of the table.
OUTCOME_COLUMNS: Mapping[str, str] = {
    "lost after a 200": "lost",
    **{name: name for name in ANSWERS},
    "in the topic": "in topic",
    "there without a 200": "unpromised",
    "duplicates": "duplicates",
    "after de-duplication": "left",
    "named at the end": "named",
}


@dataclass(frozen=True)
class Mark:
    """An action of a fault, its begin and end in seconds since the crowd's first request."""

    action: str
    begin: float
    end: float


def promises(ways: Mapping[str, str]) -> Table:
    """Each way with its guarantee: the meaning of its 200."""
    return Table("What a 200 means", (TableColumn("way"), TableColumn("its guarantee", "long")), tuple(ways.items()))


@dataclass(frozen=True)
class Hearts:
    """The lines of some functions side by side, by name, taken from their source."""

    functions: Mapping[str, Callable[..., Any]]

    def lines(self, name: str) -> str:
        """The body of a function as it is in its file, without its head."""
        source = textwrap.dedent(inspect.getsource(self.functions[name])).splitlines()
        return textwrap.dedent("\n".join(source[1:]))

    def _repr_html_(self) -> str:
        box = 'class="code" tabindex="0" role="group"'
        return (
            '<div class="hearts">'
            + "".join(
                f'<figure><figcaption><b>{name}</b></figcaption><pre {box} aria-label="Code of {name}">'
                f"<code>{html.escape(self.lines(name), quote=False)}</code></pre></figure>"
                for name in self.functions
            )
            + "</div>"
        )

    def __repr__(self) -> str:
        return "\n\n".join(f"{name}:\n{textwrap.indent(self.lines(name), '    ')}" for name in self.functions)


def hearts(ways: Mapping[str, type]) -> Hearts:
    """The heart of each way, the few lines that deliver one event, as they are in its class."""
    return Hearts({name: way._deliver for name, way in ways.items()})  # type: ignore[attr-defined]


def outcome(counts: pd.DataFrame) -> Table:
    """One fault: a row for each variant, summed over its repetitions; a `safe` variant may lose nothing."""
    fault, times = counts["fault"].iloc[0], counts.groupby("variant").size().max()
    summed = sum_repetitions(counts)
    rows = tuple(
        (
            row["variant"],
            *(measured_unless_guaranteed(row, name) for name in OUTCOME_COLUMNS.values()),
            measured(row["stall"]),
        )
        for row in summed.to_dict("records")
    )
    columns = (
        TableColumn("way"),
        *(number(title, alarm=title in ALARMS) for title in OUTCOME_COLUMNS),
        number("longest stall (s)", 1),
    )
    asked = f"{counted(int(summed['requests'].iloc[0]), 'request')} to each game"
    again = f", in {counted(int(times), 'experiment')}" if times > 1 else ""
    return Table(f"{fault[:1].upper()}{fault[1:]}", columns, rows, f"{asked}{again}; then in events")


def sum_repetitions(counts: pd.DataFrame) -> pd.DataFrame:
    """One row for each fault and variant, in their order: counts summed over repetitions, the longest stall."""
    numbers = dict.fromkeys(["requests", *OUTCOME_COLUMNS.values(), "again"], "sum") | {"stall": "max", "safe": "all"}
    return counts.groupby(["fault", "variant"], sort=False).agg(numbers).reset_index()


def measured_unless_guaranteed(row: Mapping[Any, Any], name: str) -> Any:
    """The value of a cell: guaranteed counts repeat from run to run, all others are measured."""
    count = int(row[name])
    guaranteed = name == "left" or (name == "lost" and row["safe"])
    return count if guaranteed else measured(count)


def count_formatter(counts: pd.DataFrame) -> Callable[..., Any]:
    """A function for readings: (variant, column of `counts`[, noun]) -> the shown sum over all rows, with its noun."""
    rows = counts.groupby("variant").agg(
        dict.fromkeys(OUTCOME_COLUMNS.values(), "sum") | {"again": "sum", "safe": "all"}
    )

    def shown(variant: str, name: str, noun: str = "") -> Any:
        found = measured_unless_guaranteed({**rows.loc[variant], "variant": variant}, name)
        if not noun:
            return found
        return measured(counted(found.value, noun)) if isinstance(found, Measured) else counted(found, noun)

    return shown


def lost_table(counts: pd.DataFrame) -> Table:
    """Events lost after a 200 by fault (rows) and variant (columns); empty where a variant did not take part."""
    summed = sum_repetitions(counts)
    faults, variants = summed["fault"].unique(), summed["variant"].unique()
    cells = {
        (row["variant"], row["fault"]): measured_unless_guaranteed(row, "lost") for row in summed.to_dict("records")
    }
    rows = tuple((fault, *(cells.get((name, fault)) for name in variants)) for fault in faults)
    note = "every way under every fault, in events"
    columns = (TableColumn("fault"), *(number(name, alarm=True) for name in variants))
    return Table("Lost after a 200", columns, rows, note)


def losses_by_variant(counts: pd.DataFrame, checked: int = 0) -> dict[str, Any]:
    """The result of all experiments, for the verdict: requests answered 200 and events lost, by variant.

    `checked` is the number of ledgers that a second count agrees with.
    """
    summed = counts.groupby("variant", sort=False).agg({"200": "sum", "lost": "sum", "safe": "all"})
    variants = [
        {"variant": str(name), "answered": int(row["200"]), "lost": int(row["lost"]), "safe": bool(row["safe"])}
        for name, row in summed.iterrows()
    ]
    return {"experiments": int(counts["fault"].nunique()), "variants": variants, "checked": checked}


def lost_events_table(found: pd.DataFrame, most: int = 12) -> Table:
    """The first lost events of each fault and variant, one by one; columns as of `faults.results.lost_events`."""
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
    """The answers of one experiment over time: a panel for each variant, the fault's moments marked.

    `answers` has a row for each request: variant, seconds, answer (one of `ANSWER_KINDS`).
    """
    title = f"Answers over time: {fault}"
    if answers.empty:
        return empty_figure(title, "no requests")
    width = bin_width(float(answers["seconds"].max()))
    binned = in_bins(answers, width)
    described = describe_timeline(moments)
    return figure(
        title,
        f"requests by the moment of their answer, in bins of {width:g} s; each panel has its own scale; "
        f"dashed lines: {described or 'nothing happened'}",
        alt=f"{counted(binned['variant'].nunique(), 'panel')} of stacked bars over "
        f"{answers['seconds'].max():.1f} seconds, one for each way, requests answered by kind of answer. "
        f"{described or 'No fault'}. {longest_stalls(answers)}.",
        reading=f"{longest_stalls(answers)}.",
        data=timeline_table(title, binned),
        draw=lambda narrow: timeline_spec(binned, moments, width, narrow),
        measured=True,
    )


def bin_width(span: float) -> float:
    """The width of a bin in seconds, a round number."""
    return next(step for step in STEPS if step >= 0.1 and span / step <= TIMELINE_BINS)


def in_bins(answers: pd.DataFrame, width: float) -> pd.DataFrame:
    """Requests by variant, bin (`from`, seconds) and answer."""
    starts = (answers["seconds"] // width) * width
    sizes = answers.assign(**{"from": starts.round(3)}).groupby(["variant", "from", "answer"], sort=False).size()
    return sizes.rename("requests").reset_index()


def timeline_table(title: str, binned: pd.DataFrame) -> Table:
    """The data of the chart as a table."""
    kinds = [kind for kind in ANSWER_KINDS if (binned["answer"] == kind).any()]
    order = {name: index for index, name in enumerate(binned["variant"].unique())}
    wide = binned.pivot_table(index=["variant", "from"], columns="answer", values="requests", fill_value=0)[kinds]
    lines = sorted(wide.itertuples(name=None), key=lambda line: (order[line[0][0]], line[0][1]))
    columns = (TableColumn("way"), number("from (s)", 2), *(number(kind) for kind in kinds))
    return Table(title, columns, tuple((*index, *map(int, rest)) for index, *rest in lines))


def longest_stalls(answers: pd.DataFrame) -> str:
    """The longest time without a 200 of each variant, as a sentence."""
    return "Longest time without a 200: " + ", ".join(
        f"{name} {stall(group):.1f} s" for name, group in answers.groupby("variant", sort=False)
    )


def stall(answers: pd.DataFrame) -> float:
    """The longest time in seconds without a 200, from 0 to the last answer."""
    good = answers["seconds"][answers["answer"].isin(PROMISES)]
    moments = pd.concat([pd.Series([0.0]), good, pd.Series([answers["seconds"].max()])]).sort_values()
    return float(moments.diff().max())


def describe_timeline(moments: Iterable[Mark]) -> str:
    """The moments of the fault's actions, as a sentence."""
    return ", ".join(
        f"{moment.action} at {moment.begin:.1f} s" + (f", done at {moment.end:.1f} s" if took_long(moment) else "")
        for moment in moments
    )


def took_long(moment: Mark) -> bool:
    return moment.end - moment.begin > 0.25
