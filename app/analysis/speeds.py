"""How long each way to read a topic takes, side by side."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from streaming_lab.analysis.charts import figure
from streaming_lab.analysis.page import Column, Figure, Table, number
from streaming_lab.analysis.pieces import NARROW, WIDE, altair, records
from streaming_lab.analysis.theme import OTHER, TOKENS


def ways_to_read(seconds: Mapping[str, float], rows: int) -> Figure:
    """A bar for each way, in milliseconds; the first way is the one that the others are compared with."""
    title = "The same rows, read in other ways"
    took = {way: 1000 * value for way, value in seconds.items()}
    first, base = next(iter(took.items()))
    best = min(took, key=lambda way: took[way])
    told = ", ".join(f"{way} {value:,.0f} ms" for way, value in took.items())
    return figure(
        title,
        f"milliseconds from asking to a DataFrame of {rows:,} rows; one reading each, after a first one",
        alt=f"Bar chart of {len(took)} ways to read the same {rows:,} rows: {told}.",
        reading=f"Of {len(took)} ways, {best} was the quickest: {took[best]:,.0f} ms, {base / took[best]:,.1f} times "
        f"as fast as {first}.",
        data=Table(
            title,
            (Column("way"), number("ms", 1), number(f"times {first}", 1)),
            tuple((way, value, base / value) for way, value in took.items()),
        ),
        draw=lambda narrow: bars(took, narrow),
        measured=True,
    )


def bars(took: Mapping[str, float], narrow: bool) -> Any:
    """Lying bars with their values at the end."""
    alt = altair()

    frame = pd.DataFrame({"way": list(took), "ms": list(took.values())})
    side = 130 if narrow else 170
    way = alt.Y("way:N", sort=list(took), title=None, axis=alt.Axis(labelColor=TOKENS["ink"], labelLimit=side))
    span = alt.X("ms:Q", title="milliseconds", axis=alt.Axis(grid=True, tickCount=4))
    width = (NARROW if narrow else WIDE) - side - 60
    base = alt.Chart(records(frame), width=width, height=34 * len(took))
    drawn = base.mark_bar(size=18, color=OTHER, tooltip=True).encode(way, span)
    ends = base.mark_text(align="left", dx=5, color=TOKENS["ink"])
    return drawn + ends.encode(way, span, alt.Text("ms:Q", format=",.0f"))
