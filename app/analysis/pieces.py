"""What several charts are made of. Altair is imported where it is used: it takes about a second."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from streaming_lab.analysis.theme import OTHER, TOKENS, TYPES
from streaming_lab.skipped_imports import iri_grammar_skipped

WIDE, NARROW = 736, 342  # pixels


def altair() -> Any:
    """The altair module; without one part of its import, which takes longer than the rest."""
    with iri_grammar_skipped():
        import altair
    return altair


def coloured(types: list[str], *, legend: bool = True, columns: int = 4) -> Any:
    """Colour by event type: the same type has the same colour in every chart."""
    alt = altair()

    scale = alt.Scale(domain=types, range=[TYPES.get(name, OTHER) for name in types])
    return alt.Color("type:N", scale=scale, legend=alt.Legend(columns=columns) if legend else None)


def inward(value: float, most: float) -> dict[str, Any]:
    """Where a label stands beside its upright line: on the side where there is more room."""
    return {"align": "right", "dx": -4} if value > most / 2 else {"align": "left", "dx": 4}


def marked_line(base: Any, where: Any, text: Mapping[str, Any]) -> Any:
    """A dashed line with its label, in the accent colour."""
    alt = altair()

    rule = base.mark_rule(color=TOKENS["accent"], strokeDash=[4, 3], strokeWidth=1.25).encode(where)
    return rule + base.mark_text(color=TOKENS["accent"], fontWeight=600, **text).encode(where, alt.Text("label:N"))


def zoom() -> Any:
    """In JupyterLab a reader can zoom and move the time axis."""
    alt = altair()

    return alt.selection_interval(bind="scales", encodings=["x"], name="zoom")


def records(frame: pd.DataFrame) -> Any:
    """A frame as inline data, so that a chart carries its rows and nothing names them by a hash."""
    alt = altair()

    values: Any = frame.to_dict("records")
    return alt.InlineData(values=values)


def common_prefix(names: list[str]) -> str:
    """What all names begin with, up to a separator: `player-` of player-01 and player-02."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return first[: first.rfind("-", 0, same) + 1]
