"""Tables and figures of a chapter: in the page's own markup, and as plain text for a terminal.

For the renderer of the page:

- A `Table` displays as `text/html`; its fragment is the page's own markup and everything in it is escaped.
- A `Figure` displays as `FIGURE` (the page's fragment: a title, two drawings, a reading, the data), as Vega-Lite
  (interactive in JupyterLab) and as `image/svg+xml` (any other viewer). A figure has no `text/html`: JupyterLab prefers
  HTML to Vega-Lite, and the chart would stand still. So `FIGURE` goes first in the page's display priority.
- Fragments carry no numbers. `numbered(page)` writes "Table 3. " and "Figure 1. " in document order, once, over the
  whole page.
- Colours are `var(--token, fallback)`, so that both themes share one drawing; `theme.CSS` has the few rules that the
  drawings need beside the page's own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import Any, Literal

from streaming_lab.analysis.measured import marked
from streaming_lab.wording import visible

FIGURE = "application/vnd.streaming-lab.figure+html"
VEGALITE_MIME = "application/vnd.vegalite.v5+json"  # the newest that JupyterLab 4 draws
NO_EVENTS = "no events"
NO_PLAYERS = "no column names a player"
NO_TIMES = "no event has a time"
LEFT = ' style="text-align:left"'  # JupyterLab aligns every cell to the right, whatever its class
SUBTITLE_WIDTH = 110  # characters in a line below a chart's title in JupyterLab

Kind = Literal["text", "long", "prose", "code", "number", "raw"]


@dataclass(frozen=True)
class TableColumn:
    """One column of a table: `decimals` are for numbers; `measured` marks values that differ from run to run.

    `alarm` marks a count that should be zero: any other value appears in the page's colour for failures.
    """

    name: str
    kind: Kind = "text"
    decimals: int = 0
    measured: bool = False
    alarm: bool = False

    @property
    def css(self) -> str:
        return {
            "number": " class=n",
            "raw": f" class=raw{LEFT}",
            "long": f" class=text{LEFT}",
            "prose": f" class=text{LEFT}",
        }.get(self.kind, LEFT)

    def plain(self, value: Any) -> str:
        """`value` as text, control characters as escapes; a missing value is empty."""
        if hasattr(value, "_repr_html_") or isinstance(value, (str, bytes)):
            return visible(value if isinstance(value, str) else repr(value))
        import pandas as pd  # imported here: the report renders pages without pandas

        if value is None or pd.isna(value):
            return ""
        if self.kind == "number":
            return f"{value:,.{self.decimals}f}"
        return visible(str(value))

    def html(self, value: Any) -> str:
        """`value` as the inside of a cell: its own HTML where it has one (a measured value), otherwise escaped text."""
        if self.alarm and getattr(value, "value", value):
            return alarming_html(value, self.plain(value))
        if hasattr(value, "_repr_html_"):
            return str(value._repr_html_())
        plain = self.plain(value)
        text = prose_html(plain) if self.kind == "prose" else escape(plain, quote=False)
        if text and self.kind in ("code", "raw"):
            text = f"<code>{text}</code>"
        return marked(text) if self.measured else text


def number(name: str, decimals: int = 0, *, measured: bool = False, alarm: bool = False) -> TableColumn:
    """A right-aligned column of numbers with thousands separators."""
    return TableColumn(name, "number", decimals, measured, alarm)


def alarming_html(value: Any, text: str) -> str:
    """A count that should be zero; a measured value's mark encloses the alarm, since the next run may have none."""
    alarm = f'<b class="off">{escape(text, quote=False)}</b>'
    return marked(alarm) if hasattr(value, "_repr_html_") else alarm


@dataclass(frozen=True)
class Table:
    """A table with a title; the first column names the row, `total` underlines the last row twice.

    Backticks in `title`, `note`, `empty` and columns of prose become code; everything else, also in cells, is escaped.
    """

    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""
    total: bool = False
    empty: str = NO_EVENTS

    def _repr_html_(self) -> str:
        title = f'<b><span class="no table"></span>{prose_html(self.title)}</b>'
        caption = f"<caption{LEFT}>{title}{lead_sentence(self.note)}</caption>"
        return self.fragment(caption, bare_html(self.title))

    def __repr__(self) -> str:
        return "\n".join([bare_html(f"{self.title} ({self.note})" if self.note else self.title), *plain_rows(self)])

    def fragment(self, caption: str, label: str) -> str:
        """The table in its scrolling box, under the given caption."""
        heads = "".join(f'<th scope="col"{column.css}>{escape(visible(column.name))}</th>' for column in self.columns)
        last = len(self.rows) - 1
        body = [self.row(row, total=self.total and index == last) for index, row in enumerate(self.rows)]
        body = body or [f'<tr><td colspan="{len(self.columns)}"{LEFT}>{prose_html(self.empty)}</td></tr>']
        lines = "\n".join(body)
        return (
            f'<div class="table" tabindex="0" role="group" aria-label="{escape(visible(label))}">\n<table>\n{caption}\n'
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>\n</div>"
        )

    def row(self, values: Sequence[Any], *, total: bool) -> str:
        first, *others = zip(self.columns, values, strict=True)
        head = f'<th scope="row"{first[0].css}>{first[0].html(first[1])}</th>'
        cells = "".join(f"<td{column.css}>{column.html(value)}</td>" for column, value in others)
        return f"<tr{' class=total' if total else ''}>{head}{cells}</tr>"


@dataclass(frozen=True)
class Figure:
    """A chart with a title, a reading, and its data as a table; drawn twice, so that type is never scaled.

    `alt` says chart type, axes and trend for a screen reader. A figure of measured data is marked as a whole.
    """

    title: str
    note: str
    alt: str
    wide: str
    narrow: str
    reading: str
    data: Table | None = None
    spec: Mapping[str, Any] | None = field(default=None, repr=False)
    measured: bool = False

    def html(self) -> str:
        """The fragment for the page."""
        alt = escape(visible(self.alt))
        drawings = f'<div class="plot" role="img" aria-label="{alt}">\n{self.wide}\n{self.narrow}\n</div>'
        caption = f'<b><span class="no figure"></span>{prose_html(self.title)}</b>{lead_sentence(self.note)}'
        return (
            f'<figure class="figure">\n<figcaption>{caption}</figcaption>\n'
            f'{drawings}\n<p class="reading">{prose_html(self.reading)}</p>\n{self.details()}</figure>'
        )

    def details(self) -> str:
        if self.data is None:
            return ""
        caption = f'<caption class="sr">{prose_html(self.title)}</caption>'
        table = self.data.fragment(caption, f"Data of {bare_html(self.title)}")
        summary = 'Data of <span class="no data">this figure</span>'
        return f'<details class="data"><summary>{summary}</summary>\n{table}\n</details>\n'

    def heading(self) -> dict[str, Any]:
        """The Vega-Lite title that stands for the page's caption in JupyterLab: title, note and reading."""
        lines = [line for text in (self.note, self.reading) for line in wrap(bare_html(text), SUBTITLE_WIDTH)]
        return {"text": bare_html(self.title), "subtitle": lines, "anchor": "start", "offset": 12, "subtitlePadding": 4}

    def __repr__(self) -> str:
        return "\n".join(bare_html(text) for text in (f"{self.title} ({self.note})", self.alt, self.reading) if text)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle: dict[str, Any] = {FIGURE: self.html(), "text/plain": repr(self)}
        if self.spec is not None:
            bundle[VEGALITE_MIME] = {**self.spec, "title": self.heading()}
            bundle["image/svg+xml"] = standalone(self.wide)
        return bundle, {"measured": True} if self.measured else {}


def numbered(page: str) -> str:
    """`page` with its tables and figures numbered in document order, each kind from 1."""
    counts = {"table": 0, "figure": 0}

    def number_of(match: re.Match[str]) -> str:
        kind = match[1]
        if kind == "data":
            return f"figure {counts['figure']}"
        counts[kind] += 1
        return f"{kind.capitalize()} {counts[kind]}. "

    return re.sub(r'<span class="no (table|figure|data)">[^<]*</span>', number_of, page)


def prose_html(text: str) -> str:
    """`text` escaped: `code` in backticks, control characters as escapes, no line break in `player-06` or `4 s`."""
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(visible(text), quote=False))
    html = re.sub(r"(?<=\d) (?=(?:ms|s|min|h|days|KB|MB)\b)", "\u00a0", html)
    return re.sub(r"(?<![\w&/-])(\w{1,20}-\d{1,9})(?![\w-])", r'<span class="whole">\1</span>', html)


def bare_html(text: str) -> str:
    """`text` without its backticks, for labels and terminals."""
    return visible(text.replace("`", ""))


def lead_sentence(note: str) -> str:
    return f" <span>{prose_html(note)}</span>" if note else ""


def standalone(svg: str) -> str:
    """A drawing as a document, for viewers that show an output's SVG as an image."""
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(' class="wide"', "", 1)


def plain_rows(table: Table) -> list[str]:
    """The rows in aligned columns; numbers to the right."""
    lines = [[visible(column.name) for column in table.columns]]
    lines += [[column.plain(value) for column, value in zip(table.columns, row, strict=True)] for row in table.rows]
    if not table.rows:
        return ["  ".join(lines[0]), bare_html(table.empty)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    sides: list[Callable[[str, int], str]] = [str.rjust if c.kind == "number" else str.ljust for c in table.columns]
    return ["  ".join(side(c, w) for side, c, w in zip(sides, line, widths, strict=True)).rstrip() for line in lines]
