"""The Altair specifications of chapter 05: who has what over time, curves and points on the same axis, and bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from streaming_lab.analysis.chart_specs import (
    NARROW,
    WIDE,
    altair,
    dashed_rule,
    labelled_line,
    moment_labels,
    moment_lines,
    moment_rules,
    panel_title,
    records,
)
from streaming_lab.analysis.theme import OTHER, TOKENS

# What a broker is to a partition: the leader, an in-sync replica, or neither of them.
LEADS, IN_SYNC, OUT_OF_SYNC = "leads", "in sync", "not in sync"
BROKER_COLOURS: Mapping[str, str] = {LEADS: TOKENS["accent"], IN_SYNC: TOKENS["band"], OUT_OF_SYNC: TOKENS["bad"]}
ACKS_COLOURS: Mapping[str, str] = {
    "acks=all": TOKENS["t1"],
    "acks=1": TOKENS["t2"],
    "acks=1, lost": TOKENS["bad"],
    "acks=all, lost": TOKENS["bad"],
}
MEMBER_COLOURS = (TOKENS["t1"], TOKENS["t2"], TOKENS["t3"], TOKENS["t4"])
SIDE = 84  # pixels for the names of rows


def _width(narrow: bool) -> int:
    return (NARROW if narrow else WIDE) - SIDE - 16


def _time_axis(end: float, narrow: bool, *, shown: bool, title: str) -> dict[str, Any]:
    alt = altair()
    axis = alt.Axis(tickCount=5 if narrow else 9, labels=shown, title=title if shown else None)
    return {"axis": axis, "scale": alt.Scale(domain=[0, end], nice=False)}


def _rows_over_time(
    spans: pd.DataFrame, colours: Mapping[str, str], lines: list[dict[str, Any]], end: float, narrow: bool
) -> Any:
    """`spans` has row, state, begin and end: a bar for each, a line for each row."""
    alt = altair()
    x = _time_axis(end, narrow, shown=False, title="")
    names = list(dict.fromkeys(spans["row"]))
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    axis = alt.Axis(labelColor=TOKENS["ink"], minExtent=SIDE - 20, maxExtent=SIDE)
    bars = (
        alt.Chart(records(spans), width=_width(narrow), height=20 * len(names))
        .mark_bar(height=12, tooltip=True)
        .encode(
            alt.X("begin:Q", **x),
            alt.X2("end:Q"),
            alt.Y("row:N", sort=names, title=None, axis=axis),
            alt.Color("state:N", scale=scale, legend=alt.Legend(columns=2 if narrow else 4)),
        )
    )
    return alt.layer(bars, moment_rules(lines, {"scale": x["scale"]}))


def waits_spec(spans: pd.DataFrame, waits: pd.DataFrame, moments: Sequence[Any], narrow: bool) -> Any:
    """Brokers over time; below them the wait of each send: `waits` has sent, wait (ms) and kind (`ACKS_COLOURS`)."""
    alt = altair()
    end, lines = float(spans["end"].max()), moment_lines(moments)
    width = _width(narrow)
    x = _time_axis(end, narrow, shown=True, title="seconds since both senders had an answer")
    kinds = [kind for kind in ACKS_COLOURS if (waits["kind"] == kind).any()]
    scale = alt.Scale(domain=kinds, range=[ACKS_COLOURS[kind] for kind in kinds])
    points = (
        alt.Chart(records(waits), width=width, height=130)
        .mark_point(filled=True, size=16, opacity=0.8, tooltip=True)
        .encode(
            alt.X("sent:Q", **x),
            alt.Y(
                "wait:Q",
                title="ms to the answer (log)",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(tickCount=4, grid=True, minExtent=SIDE - 40, maxExtent=SIDE),
            ),
            alt.Color("kind:N", scale=scale, legend=alt.Legend(columns=2 if narrow else 4)),
            alt.Shape("kind:N", scale=alt.Scale(domain=kinds), legend=None),
        )
    )
    drawn = alt.layer(points, moment_rules(lines, {"scale": x["scale"]}))
    labels = moment_labels(lines, {"scale": x["scale"]}, width)
    strip = _rows_over_time(spans, BROKER_COLOURS, lines, end, narrow)
    return alt.vconcat(labels, strip, drawn, spacing=10).resolve_scale(color="independent")


def group_spec(spans: pd.DataFrame, lag: pd.DataFrame, moments: Sequence[Any], narrow: bool) -> Any:
    """Partitions over time, coloured by their member; below them the group's lag (seconds, lag)."""
    alt = altair()
    end, lines = float(lag["seconds"].max()), moment_lines(moments)
    width = _width(narrow)
    x = _time_axis(end, narrow, shown=True, title="seconds since the first member was started")
    members = sorted(spans["state"].unique())
    colours = dict(zip(members, MEMBER_COLOURS, strict=False))
    area = (
        alt.Chart(records(lag), width=width, height=110)
        .mark_area(interpolate="step-after", color=OTHER, tooltip=True)
        .encode(
            alt.X("seconds:Q", **x),
            alt.Y(
                "lag:Q",
                title="events not committed",
                axis=alt.Axis(tickCount=4, grid=True, minExtent=SIDE - 40, maxExtent=SIDE),
            ),
        )
    )
    drawn = alt.layer(area, moment_rules(lines, {"scale": x["scale"]}))
    labels = moment_labels(lines, {"scale": x["scale"]}, width)
    return alt.vconcat(labels, _rows_over_time(spans, colours, lines, end, narrow), drawn, spacing=10)


def balance_spec(held: pd.DataFrame, even: float, narrow: bool) -> Any:
    """Bars for each partition, a panel for each keying: `held` has keying, partition and events."""
    alt = altair()
    panels = []
    names = list(dict.fromkeys(held["keying"]))
    x = alt.X("partition:O", title="partition", axis=alt.Axis(labelAngle=0))
    most = float(held["events"].max())
    y = alt.Y("events:Q", title="events", scale=alt.Scale(domain=[0, most]), axis=alt.Axis(tickCount=3, grid=True))
    for number, name in enumerate(names):
        rows = held[held["keying"] == name]
        width = NARROW - 60 if narrow else (WIDE - 140) // len(names)
        bars = alt.Chart(records(rows), width=width, height=110).mark_bar(color=OTHER, tooltip=True).encode(x, y)
        line = alt.Chart(records(pd.DataFrame({"even": [even], "label": [f"even share {even:,.0f}"]})))
        text = {"align": "right", "dy": -7, "x": width}
        where = alt.Y("even:Q")
        named = number == len(names) - 1 or narrow
        rule = labelled_line(line, where, text) if named else dashed_rule(line, where)
        panels.append(alt.layer(bars, rule).properties(title=panel_title(name)))
    return alt.vconcat(*panels, spacing=10) if narrow else alt.hconcat(*panels, spacing=16)


def effects_spec(effects: pd.DataFrame, narrow: bool) -> Any:
    """Two panels of horizontal bars over the same kinds: `effects` has kind, lost and repeated."""
    alt = altair()
    order, side = list(effects["kind"]), 200 if narrow else 230
    width = (NARROW - side - 60) if narrow else (WIDE - side - 90) // 2
    most = max(1, int(effects[["lost", "repeated"]].max().max()))

    def panel(what: str, first: bool) -> Any:
        labels = alt.Axis(labelColor=TOKENS["ink"], labelLimit=side, labelExpr="datum.label")
        y = alt.Y("kind:N", sort=order, title=None, axis=labels if first or narrow else None)
        x = alt.X(f"{what}:Q", title=f"events {what}", scale=alt.Scale(domain=[0, most]), axis=alt.Axis(tickCount=3))
        base = alt.Chart(records(effects), width=width, height=28 * len(order))
        bars = base.mark_bar(size=16, color=TOKENS["bad"], tooltip=True).encode(x, y)
        ends = base.mark_text(align="left", dx=4, color=TOKENS["ink"]).encode(x, y, alt.Text(f"{what}:Q", format=","))
        return bars + ends

    panels = (panel("lost", True), panel("repeated", False))
    return alt.vconcat(*panels, spacing=12) if narrow else alt.hconcat(*panels, spacing=24)
