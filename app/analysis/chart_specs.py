"""The Altair specification of each chart, wide or narrow."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from streaming_lab.analysis.answer_kinds import ANSWER_KINDS
from streaming_lab.analysis.counts import curve, rows_by_type, stack_counts
from streaming_lab.analysis.shapes import MORE
from streaming_lab.analysis.theme import EVENT_COLOURS, OTHER, TOKENS, short_label
from streaming_lab.skipped_imports import schema_formats_skipped
from streaming_lab.wording import counted, rounded, visible

# Altair is imported where it is used: the import takes about a second.

WIDE, NARROW = 736, 342  # pixels
FREE_COLOURS = tuple(TOKENS[name] for name in ("t1", "t2", "t3", "t4", "accent", "ink", "band", "line"))


def altair() -> Any:
    """The altair module, imported without the slowest part of its import."""
    with schema_formats_skipped():
        import altair
    return altair


def coloured(types: list[str], *, legend: bool = True, columns: int = 4) -> Any:
    """Colour by event type: the same type has the same colour in every chart."""
    alt = altair()

    scale = alt.Scale(domain=types, range=series_colours(types))
    shown = alt.Legend(columns=columns, labelExpr=short_label())
    return alt.Color("type:N", scale=scale, legend=shown if legend else None)


def series_colours(types: Sequence[str]) -> list[str]:
    """The colours of event types: the game's own, and for free names the page's in their order; the rest is grey."""
    taken = {EVENT_COLOURS.get(name) for name in types}
    free = iter([colour for colour in FREE_COLOURS if colour not in taken])
    return [EVENT_COLOURS.get(name) or (OTHER if MORE.match(name) else next(free, OTHER)) for name in types]


def label_side(value: float, most: float) -> dict[str, Any]:
    """Alignment of a label beside its vertical line: on the side with more room."""
    return {"align": "right", "dx": -4} if value > most / 2 else {"align": "left", "dx": 4}


def labelled_line(base: Any, where: Any, text: Mapping[str, Any]) -> Any:
    """A dashed line with its label, in the accent colour."""
    alt = altair()

    label = base.mark_text(color=TOKENS["accent"], fontWeight=600, **text).encode(where, alt.Text("label:N"))
    return dashed_rule(base, where) + label


def dashed_rule(base: Any, where: Any) -> Any:
    """A dashed line in the accent colour."""
    return base.mark_rule(color=TOKENS["accent"], strokeDash=[4, 3], strokeWidth=1.25).encode(where)


def panel_title(name: str) -> Any:
    """The title of one of several panels."""
    return altair().TitleParams(name, anchor="start", fontSize=12, fontWeight=600, color=TOKENS["ink"], offset=2)


def zoom() -> Any:
    """Zooming and panning of the time axis, in JupyterLab."""
    alt = altair()

    return alt.selection_interval(bind="scales", encodings=["x"], name="zoom")


def records(frame: pd.DataFrame) -> Any:
    """A frame as inline data; Altair's own named data would be named by a hash."""
    alt = altair()

    values: Any = frame.to_dict("records")
    return alt.InlineData(values=values)


def common_prefix(names: list[str]) -> str:
    """The common beginning of all names, up to a separator: `player-` of player-01 and player-02."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return first[: first.rfind("-", 0, same) + 1]


def over_time_spec(rates: pd.DataFrame, width: float, narrow: bool) -> Any:
    """Area charts in steps, one below the other, on one scale."""
    alt = altair()

    long = stack_counts(rates, "from", "rate")
    # a step's last value is needed twice: at the beginning and at the end of its bin
    last = long[long["from"] == long["from"].max()].assign(**{"from": long["from"].max() + width})
    header = alt.Header(
        title=None, labelOrient="top", labelAnchor="start", labelFontWeight=600, labelColor=TOKENS["ink"]
    )
    return (
        alt.Chart(
            records(pd.concat([long, last])), width=(NARROW if narrow else WIDE) - 60, height=46 if narrow else 58
        )
        .mark_area(interpolate="step-after", tooltip=True)
        .encode(
            x=alt.X("from:Q", title="seconds since the first event", axis=alt.Axis(tickCount=5 if narrow else 9)),
            y=alt.Y("rate:Q", title=None, axis=alt.Axis(tickCount=2)),
            color=coloured(list(rates.columns), legend=False),
            row=alt.Row("type:N", sort=list(rates.columns), spacing=12, header=header),
        )
        .add_params(zoom())
    )


def by_player_spec(counts: pd.DataFrame, median: float, narrow: bool) -> Any:
    """Stacked bars with the median as a line; vertical on wide pages, horizontal on narrow ones."""
    alt = altair()

    types = rows_by_type(set(counts.columns) - {"all"})
    counts = counts.rename(index=lambda name: visible(str(name)))  # the names stand in an expression, too
    names = list(counts.index)
    prefix = common_prefix(names)
    short = f"replace(datum.value, {json.dumps(prefix)}, '')" if prefix and not narrow else "datum.value"
    player_axis = alt.Axis(
        title=None if narrow else f"player{f' ({prefix}…)' if prefix else ''}",
        labelExpr=short_label(short),
        labelAngle=0,
        labelFontSize=12 if narrow or len(names) <= 30 else 9.5,
    )
    events_axis = alt.Axis(grid=True, tickCount=4, tickMinStep=1)
    player: Any = (alt.Y if narrow else alt.X)("player:N", sort=names, axis=player_axis)
    count: Any = (alt.X if narrow else alt.Y)("sum(events):Q", title="events", axis=events_axis)
    rule: Any = (alt.X if narrow else alt.Y)("median:Q")
    side = label_side(median, counts["all"].max())
    text = {**side, "y": -8} if narrow else {"align": "right", "dy": -7, "x": WIDE - 50}
    size = (NARROW - 100, 13 * len(names)) if narrow else (WIDE - 50, 200)
    bars = (
        alt.Chart(records(stack_counts(counts, "player")), width=size[0], height=size[1])
        .mark_bar(tooltip=True)
        .encode(player, count, coloured(types, columns=2 if narrow else 4), order=alt.Order("rank:Q"))
    )
    line = alt.Chart(records(pd.DataFrame({"median": [median], "label": [f"median {rounded(median)}"]})))
    return bars + labelled_line(line, rule, text)


def by_partition_spec(counts: pd.DataFrame, even: float, narrow: bool) -> Any:
    """Horizontal stacked bars with their totals, and the even share as a line."""
    alt = altair()

    types = rows_by_type(set(counts.columns) - {"all", "players"})
    keys = counts["players"].to_dict() if "players" in counts else {}
    told = {place: f", {counted(keys[place], 'player')}" if keys else "" for place in counts.index}
    named = counts.rename(index=lambda place: f"{place if isinstance(place, str) else f'p{place}'}{told[place]}")
    order = list(named.index)
    width, height = (NARROW if narrow else WIDE) - 120, 34 * len(order)
    partition = alt.Y("partition:N", sort=order, title=None, axis=alt.Axis(labelColor=TOKENS["ink"]))
    bars = (
        alt.Chart(records(stack_counts(named, "partition")), width=width, height=height)
        .mark_bar(size=18, tooltip=True)
        .encode(
            partition,
            alt.X("sum(events):Q", title="events", axis=alt.Axis(grid=True, tickCount=4, tickMinStep=1)),
            coloured(types, columns=2 if narrow else 4),
            order=alt.Order("rank:Q"),
        )
    )
    ends = alt.Chart(
        records(named[["all"]].rename(columns={"all": "events"}).rename_axis(index="partition").reset_index())
    )
    # all totals at the right edge, where no total touches the line of the even share
    labels = ends.mark_text(align="left", dx=5, color=TOKENS["ink"]).encode(
        partition, alt.XValue(width), alt.Text("events:Q", format=",")
    )
    line = alt.Chart(records(pd.DataFrame({"even": [even], "label": [f"even share {even:,.0f}"]})))
    return bars + labels + labelled_line(line, alt.X("even:Q"), {**label_side(even, counts["all"].max()), "y": -6})


def latency_spec(kinds: Mapping[str, "pd.Series[Any]"], narrow: bool) -> Any:
    """Two curves that differ in their dashes; median and 99th percentile of the first are marked."""
    alt = altair()

    points = pd.concat([curve(values).assign(kind=name) for name, values in kinds.items()])
    names = list(kinds)
    ends = pd.DataFrame(
        [
            (name, float(v.quantile(q)), 100 * q, f"p{100 * q:.0f}  {v.quantile(q):.1f} ms")
            for name, v in kinds.items()
            for q in (0.5, 0.99)
        ],
        columns=["kind", "ms", "share", "label"],
    )
    x = alt.X(
        "ms:Q",
        scale=alt.Scale(type="log", nice=True),
        title=f"ms from sending the request{' (log)' if narrow else ', logarithmic'}",
    )
    y = alt.Y(
        "share:Q", title=None, axis=alt.Axis(labelExpr="datum.value + '%'", tickCount=4, values=[0, 25, 50, 75, 100])
    )
    dash = alt.StrokeDash(
        "kind:N",
        sort=names,
        scale=alt.Scale(domain=names, range=[[1, 0], [5, 3]]),
        legend=alt.Legend(symbolType="stroke", symbolSize=400),
    )
    curves = (
        alt.Chart(records(points), width=(NARROW if narrow else WIDE) - 70, height=200)
        .mark_line(interpolate="step-after", color=TOKENS["ink"], strokeWidth=1.75)
        .encode(x, y, dash, order=alt.Order("share:Q"))
        .add_params(zoom())
    )
    broker = alt.Chart(records(ends[ends["kind"] == names[0]]))
    dots = broker.mark_point(filled=True, size=70, opacity=1, color=TOKENS["accent"], tooltip=True).encode(
        x, y, alt.Shape("label:N", legend=None)
    )
    labels = broker.mark_text(align="left", dx=9, dy=12, fontWeight=600, color=TOKENS["accent"]).encode(
        x, y, alt.Text("label:N")
    )
    return curves + dots + labels


def guild_spec(counts: pd.DataFrame, narrow: bool) -> Any:
    """Two panels of horizontal bars over the same guilds."""
    alt = altair()

    rows = counts.rename_axis("guild").reset_index()
    order, width = list(counts.index), 105 if narrow else 300

    def panel(what: str, first: bool) -> Any:
        axis = alt.Axis(labelColor=TOKENS["ink"]) if first else None
        y = alt.Y("guild:N", sort=order, title=None, axis=axis)
        x = alt.X(f"{what}:Q", title=what, axis=alt.Axis(grid=True, tickCount=3, tickMinStep=1))
        base = alt.Chart(records(rows), width=width, height=28 * len(order))
        bars = base.mark_bar(size=16, color=OTHER, tooltip=True).encode(x, y)
        return bars + base.mark_text(align="left", dx=4, color=TOKENS["ink"]).encode(
            x, y, alt.Text(f"{what}:Q", format=",")
        )

    return alt.hconcat(panel("members", True), panel("swords", False), spacing=24)


# An experiment: stacked bars over time, a panel for each variant, the fault's moments across them.

ANSWER_COLOURS: Mapping[str, str] = {kind.name: TOKENS[kind.colour] for kind in ANSWER_KINDS.values()}


def timeline_spec(binned: pd.DataFrame, moments: Sequence[Any], width: float, narrow: bool) -> Any:
    """`binned` has variant, from, answer, requests; `moments` have action and begin; `width` is a bin's, seconds."""
    alt = altair()
    end = float(binned["from"].max()) + width
    x = {"scale": alt.Scale(domain=[0, max([end, *(moment.begin for moment in moments)])], nice=False)}
    lines = moment_lines(moments)
    names = list(binned["variant"].unique())
    size = (NARROW if narrow else WIDE) - 60
    panels = [moment_labels(lines, x, size)] if lines else []
    for name in names:
        bars = _bars(binned[binned["variant"] == name], width, x, size, last=name == names[-1], narrow=narrow)
        layers = alt.layer(bars, moment_rules(lines, x)) if lines else bars
        panels.append(layers.properties(title=panel_title(name)))
    return alt.vconcat(*panels, spacing=8)


def _bars(rows: pd.DataFrame, width: float, x: Mapping[str, Any], size: int, *, last: bool, narrow: bool) -> Any:
    alt = altair()
    ranks = {answer: rank for rank, answer in enumerate(ANSWER_COLOURS)}
    long = rows.assign(to=rows["from"] + width * 0.92, rank=rows["answer"].map(ranks)).sort_values(["from", "rank"])
    # stacked here: Vega-Lite does not stack bars that have two horizontal ends
    long["top"] = long.groupby("from")["requests"].cumsum()
    long["bottom"] = long["top"] - long["requests"]
    axis = alt.Axis(
        tickCount=5 if narrow else 9, labels=last, title="seconds since the first request" if last else None
    )
    legend = alt.Legend(columns=2 if narrow else 6)
    scale = alt.Scale(domain=list(ANSWER_COLOURS), range=list(ANSWER_COLOURS.values()))
    return (
        alt.Chart(records(long), width=size, height=44)
        .mark_bar(tooltip=True)
        .encode(
            alt.X("from:Q", axis=axis, **x),
            alt.X2("to:Q"),
            alt.Y("bottom:Q", title=None, axis=alt.Axis(tickCount=2, tickMinStep=1)),
            alt.Y2("top:Q"),
            alt.Color("answer:N", scale=scale, legend=legend),
        )
    )


def moment_lines(moments: Sequence[Any]) -> list[dict[str, Any]]:
    """The moments (action, begin) as rows for `moment_rules` and `moment_labels`."""
    return [{"at": moment.begin, "row": row, "action": moment.action} for row, moment in enumerate(moments)]


def moment_rules(lines: list[dict[str, Any]], x: Mapping[str, Any]) -> Any:
    """A dashed line at each moment."""
    alt = altair()
    return dashed_rule(alt.Chart(records(pd.DataFrame(lines))), alt.X("at:Q", **x))


def moment_labels(lines: list[dict[str, Any]], x: Mapping[str, Any], size: int) -> Any:
    """The moments' names, each on a line of its own, so that two simultaneous ones stay legible."""
    alt = altair()
    base = alt.Chart(records(pd.DataFrame(lines)), width=size, height=14 * len(lines))
    y = alt.Y("row:O", axis=None)
    text = base.mark_text(align="left", dx=4, color=TOKENS["accent"], fontWeight=600)
    return text.encode(alt.X("at:Q", axis=None, **x), y, alt.Text("action:N")) + base.mark_point(
        filled=True, size=30, opacity=1, color=TOKENS["accent"], tooltip=True
    ).encode(alt.X("at:Q", axis=None, **x), y)
