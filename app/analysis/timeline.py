"""What Altair draws of an experiment: stacked bars over time, a panel for each way, the fault's moments across them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from streaming_lab.analysis.answer_kinds import ANSWER_KINDS
from streaming_lab.analysis.pieces import NARROW, WIDE, altair, records
from streaming_lab.analysis.theme import TOKENS

COLOURS: Mapping[str, str] = {kind.name: TOKENS[kind.colour] for kind in ANSWER_KINDS.values()}


def panels(binned: pd.DataFrame, moments: Sequence[Any], width: float, narrow: bool) -> Any:
    """`binned` has contender, from, answer, requests; `moments` have action and begin; `width` is a bin's, seconds."""
    alt = altair()
    end = float(binned["from"].max()) + width
    x = {"scale": alt.Scale(domain=[0, max([end, *(moment.begin for moment in moments)])], nice=False)}
    lines = [{"at": moment.begin, "row": row, "action": moment.action} for row, moment in enumerate(moments)]
    names = list(binned["contender"].unique())
    size = (NARROW if narrow else WIDE) - 60
    drawn = [_labels(lines, x, size)] if lines else []
    for name in names:
        bars = _bars(binned[binned["contender"] == name], width, x, size, last=name == names[-1], narrow=narrow)
        layers = alt.layer(bars, _rules(lines, x)) if lines else bars
        title = alt.TitleParams(name, anchor="start", fontSize=12, fontWeight=600, color=TOKENS["ink"], offset=2)
        drawn.append(layers.properties(title=title))
    return alt.vconcat(*drawn, spacing=8)


def _bars(rows: pd.DataFrame, width: float, x: Mapping[str, Any], size: int, *, last: bool, narrow: bool) -> Any:
    alt = altair()
    ranks = {answer: rank for rank, answer in enumerate(COLOURS)}
    long = rows.assign(to=rows["from"] + width * 0.92, rank=rows["answer"].map(ranks)).sort_values(["from", "rank"])
    # stacked here: Vega-Lite does not stack bars that have two horizontal ends
    long["top"] = long.groupby("from")["requests"].cumsum()
    long["bottom"] = long["top"] - long["requests"]
    axis = alt.Axis(
        tickCount=5 if narrow else 9, labels=last, title="seconds since the first request" if last else None
    )
    legend = alt.Legend(columns=2 if narrow else 6)
    scale = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    return (
        alt.Chart(records(long), width=size, height=44)
        .mark_bar(tooltip=True)
        .encode(
            alt.X("from:Q", axis=axis, **x),
            alt.X2("to:Q"),
            alt.Y("bottom:Q", title=None, axis=alt.Axis(tickCount=2)),
            alt.Y2("top:Q"),
            alt.Color("answer:N", scale=scale, legend=legend),
        )
    )


def _rules(lines: list[dict[str, Any]], x: Mapping[str, Any]) -> Any:
    alt = altair()
    base = alt.Chart(records(pd.DataFrame(lines)))
    return base.mark_rule(color=TOKENS["accent"], strokeDash=[4, 3], strokeWidth=1.25).encode(alt.X("at:Q", **x))


def _labels(lines: list[dict[str, Any]], x: Mapping[str, Any], size: int) -> Any:
    """The moments' names on lines of their own, so that two at the same time do not cover each other."""
    alt = altair()
    base = alt.Chart(records(pd.DataFrame(lines)), width=size, height=14 * len(lines))
    y = alt.Y("row:O", axis=None)
    text = base.mark_text(align="left", dx=4, color=TOKENS["accent"], fontWeight=600)
    return text.encode(alt.X("at:Q", axis=None, **x), y, alt.Text("action:N")) + base.mark_point(
        filled=True, size=30, opacity=1, color=TOKENS["accent"], tooltip=True
    ).encode(alt.X("at:Q", axis=None, **x), y)
