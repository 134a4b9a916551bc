"""Turns the outputs of executed cells into HTML: each in its richest form, sanitized and bounded in size."""

import html
import re
from collections.abc import Callable
from typing import Any

from streaming_lab.analysis.display import FIGURE
from streaming_lab.report.render.sanitize import sanitize
from streaming_lab.report.render.terminal_text import terminal_html

ROOM = 1_500_000  # bytes of outputs on the page; more makes a browser slow
ONE_OUTPUT = 400_000  # bytes of one HTML output
PREVIEW_COLUMNS = 10  # of a frame that pandas renders; more do not fit on paper side by side
SHOWN = [FIGURE, "text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]


class Outputs:
    """Renders outputs, and counts the room that is left for them on the page.

    `markdown` makes HTML of a computed sentence; `notebook` names the file with the complete outputs.
    """

    def __init__(self, markdown: Callable[[str], str]) -> None:
        self.markdown = markdown
        self.room = ROOM
        self.notebook = ""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters that the chapter template applies to outputs."""
        return {
            "markdown_output": self.bound(self.markdown_output),
            "figure_output": self.bound(lambda output: sanitize("".join(output.data[FIGURE]))),
            "terminal": self.bound(self.terminal),
            "html_output": self.bound(self.html_output),
            "svg_output": self.bound(self.svg_output),
            "image_output": self.bound(self.image_output),
            "filter_data_type": lambda data: [kind for kind in SHOWN if kind in data][:1],
        }

    def bound(self, make: Callable[..., str]) -> Callable[..., str]:
        """Wrap `make`: once the page is full, a line that names the notebook takes the output's place."""

        def within(*arguments: Any) -> str:
            made = make(*arguments)
            if len(made) > self.room:
                return f'<p class="left">left out here, the page is full: {self.where()}</p>'
            self.room -= len(made)
            return made

        return within

    def markdown_output(self, output: Any, number: str) -> str:
        """Render computed prose; a text over the bound appears as plain text."""
        text = "".join(output.data["text/markdown"])
        if len(text) > ONE_OUTPUT:
            return f'<div class="output">{self.terminal(text, f"Output of cell {number}")}</div>'
        return self.markdown(text)

    def where(self) -> str:
        """Name the notebook that has the complete output."""
        return f"all of it is in {self.notebook}"

    def terminal(self, text: str, title: str) -> str:
        """Render what a program wrote."""
        return terminal_html(text, title, f"; {self.where()}")

    def html_output(self, output: Any, number: str) -> str:
        """Render HTML of the lab, of pandas or of anything else; an output over the bound appears as plain text."""
        markup = "".join(output.data["text/html"])
        if len(markup) > ONE_OUTPUT:
            note = f'<p class="left">{len(markup) / 1e6:.1f} MB of HTML not shown; {self.where()}</p>'
            plain = "".join(output.data.get("text/plain", ""))
            return f'<div class="output">{self.terminal(plain, f"Output of cell {number}")}{note}</div>'
        cleaned = sanitize(markup)
        if "<table" in cleaned and 'class="table"' not in cleaned:
            label = f"Output of cell {number}"
            many = " many" if len(re.findall(r"<t[hd]\b", cleaned.split("</tr>")[0])) > PREVIEW_COLUMNS else ""
            cleaned = f'<div class="table{many}" tabindex="0" role="group" aria-label="{label}">{cleaned}</div>'
        return cleaned

    def svg_output(self, output: Any, number: str) -> str:
        """Render a drawing."""
        alt = html.escape(alt_text(output, "image/svg+xml", number))
        drawing = sanitize("".join(output.data["image/svg+xml"]))
        return f'<figure class="figure"><div class="plot" role="img" aria-label="{alt}">{drawing}</div></figure>'

    def image_output(self, output: Any, kind: str, number: str) -> str:
        """Render a picture; one over the bound is left out."""
        data = "".join(output.data[kind])
        if len(data) > ONE_OUTPUT:
            return f'<p class="left">an image of {len(data) * 3 / 4e6:.1f} MB not shown; {self.where()}</p>'
        return image_html(data, kind, alt_text(output, kind, number))


def alt_text(output: Any, kind: str, number: str) -> str:
    """Return an image's alternative text, from the output's metadata."""
    metadata = output.get("metadata", {})
    return str(metadata.get(kind, {}).get("alt") or metadata.get("alt") or f"Image output of cell {number}")


def image_html(data: str, kind: str, alt: str) -> str:
    """Render a picture that is embedded in the page."""
    data = re.sub(r"[^A-Za-z0-9+/=]", "", data)
    return (
        f'<div class="output-image"><img src="data:{kind};base64,{html.escape(data)}" alt="{html.escape(alt)}"></div>'
    )
