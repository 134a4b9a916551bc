"""The page's design tokens for Altair, and Altair's drawings in those tokens: one SVG for both themes.

A chart is drawn in the light colours; `page_svg` then writes each as `var(--token, colour)`, so that the page's theme
decides.
"""

import re
from collections.abc import Mapping
from typing import Any

from streaming_lab.game.events import EVENT_TYPES

# Each token that a drawing uses, in the light and in the dark theme; the page's stylesheet begins with them (`ROOT`)
# and has further ones. One accent (ledger green) means "holds, or look here"; red means "does not hold".
COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#fcfdfc", "#121715"),  # the page
    "ink": ("#18211d", "#dde5e0"),  # text: 16:1, 14:1 on paper
    "ink-2": ("#55605a", "#9aa8a1"),  # labels: 6.4:1, 7.3:1
    "line": ("#d6ddd9", "#2f3935"),  # hairlines
    "accent": ("#0b6a57", "#6cc7ab"),  # links, marks, passed: 6.4:1, 9:1
    "band": ("#bddbcf", "#2a5145"),  # the ledger's ribbon
    "bad": ("#a3271a", "#f0907f"),  # failed: 7.2:1, 7.8:1
    # Series: Okabe-Ito's blue, vermillion, bluish green, and its purple moved to plum (light) or pale (dark), so that
    # any two stay apart (CIE76 at least 17) under protan, deutan and tritan vision; 3.3:1 or more on paper.
    "t1": ("#0072b2", "#5ab6ea"),
    "t2": ("#d55e00", "#e69f00"),
    "t3": ("#009e73", "#0a8f5f"),
    "t4": ("#6b2450", "#f3cbe2"),
}
TOKENS: Mapping[str, str] = {token: light for token, (light, _) in COLOURS.items()}

# The same as rules of the stylesheet.
ROOT = (
    ":root {\n"
    + "".join(f"  --{token}: light-dark({light}, {dark});\n" for token, (light, dark) in COLOURS.items())
    + "}\n"
)

# A series colour means one event type, the same in every chart.
EVENT_COLOURS: Mapping[str, str] = {name: TOKENS[one.colour] for name, one in EVENT_TYPES.items()}
OTHER = TOKENS["ink-2"]

FONT = "sans-serif"
SPEC_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # the newest that JupyterLab 4 draws

# Rules of the drawings beside the page's own; selectors as specific as those.
CSS = """
/* ---------------------------------------------------------------- drawings: names, and what leaves the ledger */
.table b.bad { color: var(--bad); font-weight: 700; }
.whole, .table th[scope="row"] { white-space: nowrap; }
.plot .name { fill: var(--ink); }
.plot .fall.turned { stroke: var(--band); }
.plot .part.halo { paint-order: stroke; stroke: var(--band); stroke-width: 3px; stroke-linejoin: round; }
"""

TEXT_CLASSES = {TOKENS["ink-2"]: "tick", TOKENS["accent"]: "marktext", TOKENS["ink"]: "halo"}


def short_label(expression: str = "datum.label") -> str:
    """The Vega expression of a label with at most 24 characters.

    Vega's own limit cuts between the two halves of a character such as an emoji, and its drawing ends there.
    """
    return rf"replace({expression}, /^((?:[\ud800-\udbff][\udc00-\udfff]|[^\ud800-\udfff]){{24}})[^]+$/, '$1…')"


def config() -> dict[str, Any]:
    """Vega-Lite's `config`: hairlines, small labels, no box; sizes in pixels."""
    text = {
        "labelFont": FONT,
        "titleFont": FONT,
        "labelFontSize": 12,
        "labelLimit": 0,
        "titleFontSize": 12.5,
        "titleFontWeight": "normal",
    }
    colours = {"labelColor": TOKENS["ink-2"], "titleColor": TOKENS["ink-2"]}
    return {
        "background": None,
        "padding": {"left": 12, "right": 5, "top": 5, "bottom": 5},  # the page's font is wider than Vega's
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **text,
            **colours,
            "labelExpr": short_label(),
            "gridColor": TOKENS["line"],
            "domainColor": TOKENS["ink-2"],
            "tickColor": TOKENS["ink-2"],
        },
        "axisY": {"domain": False, "ticks": False, "labelPadding": 7, "titlePadding": 10},
        "axisX": {"grid": False, "titlePadding": 8},
        "header": {**text, **colours, "labelExpr": short_label()},
        "legend": {
            **text,
            **colours,
            "orient": "top",
            "title": None,
            "symbolType": "square",
            "symbolSize": 100,
            "columnPadding": 20,
        },
        "text": {"font": FONT, "fontSize": 12},
        "mark": {"tooltip": True},
    }


def page_svg(svg: str, css_class: str) -> str:
    """Vega's drawing as the page's: colours are tokens, text takes the page's font, labels are left to the page."""
    svg = re.sub(r' (?:aria-[a-z]+|role|font-family|class|version|xmlns(?::xlink)?|pointer-events)="[^"]*"', "", svg)
    svg = re.sub(r'<defs>.*?</defs>| clip-path="[^"]*"', "", svg)  # needed for zooming only; their ids would clash
    svg = svg.replace(' opacity="1"', "").replace(' stroke-width="1"', "").replace('px"', '"')
    svg = re.sub(r'<path d="(?:M0,0h0v0h0Z)?"(?: display="none")?/>', "", svg)
    svg = re.sub(r"<[^>]+>", with_short_numbers, svg)
    svg = re.sub(r"<text [^>]*>", with_text_class, svg)
    for token, colour in TOKENS.items():
        svg = re.sub(rf'(fill|stroke)="{colour}"', rf'\1="var(--{token},{colour})"', svg)
    return svg.replace("<svg", f'<svg class="{css_class}" aria-hidden="true"', 1)


def with_short_numbers(tag: re.Match[str]) -> str:
    """A tag's coordinates with one decimal at most; labels between the tags stay as they are."""
    return re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), tag[0])


def with_text_class(tag: re.Match[str]) -> str:
    """A text's colour as one of the page's text classes: its stylesheet colours text, whatever the attribute says."""
    fill = re.search(r'fill="(#[0-9a-f]{6})"', tag[0])
    name = TEXT_CLASSES.get(fill[1], "") if fill else ""
    return tag[0].replace("<text ", f'<text class="{name}" ', 1) if name else tag[0]
