"""What Altair draws for each chart, wide or narrow."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from streaming_lab.analysis.counts import curve, stacked, typed
from streaming_lab.analysis.pieces import (
    NARROW,
    WIDE,
    altair,
    coloured,
    common_prefix,
    inward,
    marked_line,
    records,
    zoom,
)
from streaming_lab.analysis.theme import OTHER, TOKENS


def over_time(rates: pd.DataFrame, width: float, narrow: bool) -> Any:
    """Area charts in steps, one below the other, on one scale."""
    alt = altair()

    long = stacked(rates, "from", "rate")
    # a step needs its last value twice: where its bin begins, and where it ends
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


def by_player(counts: pd.DataFrame, median: float, narrow: bool) -> Any:
    """Stacked bars with the median as a line; upright on wide pages, lying on narrow ones."""
    alt = altair()

    types = typed(set(counts.columns) - {"all"})
    names = list(counts.index)
    prefix = common_prefix(names)
    short = f"replace(datum.value, {json.dumps(prefix)}, '')" if prefix and not narrow else "datum.value"
    player_axis = alt.Axis(
        title=None if narrow else f"player{f' ({prefix}…)' if prefix else ''}",
        labelExpr=short,
        labelAngle=0,
        labelFontSize=12 if narrow or len(names) <= 30 else 9.5,
    )
    events_axis = alt.Axis(grid=True, tickCount=4)
    player: Any = (alt.Y if narrow else alt.X)("player:N", sort=names, axis=player_axis)
    count: Any = (alt.X if narrow else alt.Y)("sum(events):Q", title="events", axis=events_axis)
    rule: Any = (alt.X if narrow else alt.Y)("median:Q")
    side = inward(median, counts["all"].max())
    text = {**side, "y": -8} if narrow else {"align": "right", "dy": -7, "x": WIDE - 50}
    size = (NARROW - 100, 13 * len(names)) if narrow else (WIDE - 50, 200)
    bars = (
        alt.Chart(records(stacked(counts, "player")), width=size[0], height=size[1])
        .mark_bar(tooltip=True)
        .encode(player, count, coloured(types, columns=2 if narrow else 4), order=alt.Order("rank:Q"))
    )
    line = alt.Chart(records(pd.DataFrame({"median": [median], "label": [f"median {median:,.1f}"]})))
    return bars + marked_line(line, rule, text)


def by_partition(counts: pd.DataFrame, even: float, narrow: bool) -> Any:
    """Lying stacked bars with their totals and the even share as a line."""
    alt = altair()

    types = typed(set(counts.columns) - {"all", "players"})
    keys = counts["players"].to_dict()
    named = counts.rename(index=lambda partition: f"p{partition}, {keys[partition]:,} players")
    order = list(named.index)
    width, height = (NARROW if narrow else WIDE) - 120, 34 * len(order)
    partition = alt.Y("partition:N", sort=order, title=None, axis=alt.Axis(labelColor=TOKENS["ink"]))
    bars = (
        alt.Chart(records(stacked(named, "partition")), width=width, height=height)
        .mark_bar(size=18, tooltip=True)
        .encode(
            partition,
            alt.X("sum(events):Q", title="events", axis=alt.Axis(grid=True, tickCount=4)),
            coloured(types, columns=2 if narrow else 4),
            order=alt.Order("rank:Q"),
        )
    )
    ends = alt.Chart(
        records(named[["all"]].rename(columns={"all": "events"}).rename_axis(index="partition").reset_index())
    )
    labels = ends.mark_text(align="left", dx=5, color=TOKENS["ink"]).encode(
        partition, alt.X("events:Q"), alt.Text("events:Q", format=",")
    )
    line = alt.Chart(records(pd.DataFrame({"even": [even], "label": [f"even share {even:,.0f}"]})))
    return bars + labels + marked_line(line, alt.X("even:Q"), {**inward(even, counts["all"].max()), "y": -6})


def distributions(kinds: Mapping[str, "pd.Series[Any]"], narrow: bool) -> Any:
    """Two curves, told apart by their dashes; the first has its median and 99th percentile marked."""
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


def guild_bars(counts: pd.DataFrame, narrow: bool) -> Any:
    """Two panels of lying bars over the same guilds."""
    alt = altair()

    rows = counts.rename_axis("guild").reset_index()
    order, width = list(counts.index), 105 if narrow else 300

    def panel(what: str, first: bool) -> Any:
        axis = alt.Axis(labelColor=TOKENS["ink"]) if first else None
        y = alt.Y("guild:N", sort=order, title=None, axis=axis)
        x = alt.X(f"{what}:Q", title=what, axis=alt.Axis(grid=True, tickCount=3))
        base = alt.Chart(records(rows), width=width, height=28 * len(order))
        bars = base.mark_bar(size=16, color=OTHER, tooltip=True).encode(x, y)
        return bars + base.mark_text(align="left", dx=4, color=TOKENS["ink"]).encode(
            x, y, alt.Text(f"{what}:Q", format=",")
        )

    return alt.hconcat(panel("members", True), panel("swords", False), spacing=24)
