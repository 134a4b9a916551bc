"""The outputs of executed cells as HTML: each in its dearest form, cleaned, and none without bound."""

import html
import re
from collections.abc import Callable
from typing import Any

from streaming_lab.analysis.display import FIGURE
from streaming_lab.report.render import markdown
from streaming_lab.report.render.markdown import sanitize

ROOM = 1_500_000  # bytes of outputs on the page: more makes a browser slow
ONE_OUTPUT = 400_000  # bytes of one HTML output
PREVIEW_COLUMNS = 10  # of a frame that is not ours: more do not fit on paper side by side
SHOWN = [FIGURE, "text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]


class Outputs:
    """What outputs become, and the room that is left for them on the page.

    `markdown` makes HTML of a computed sentence; `notebook` is the file that has all of an output.
    """

    def __init__(self, markdown: Callable[[str], str]) -> None:
        self.markdown = markdown
        self.room = ROOM
        self.notebook = ""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What the chapter template calls for outputs."""
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
        """`make`, as long as there is room on the page; after that a line that says where the output is."""

        def within(*arguments: Any) -> str:
            made = make(*arguments)
            if len(made) > self.room:
                return f'<p class="left">left out here, the page is full: {self.where()}</p>'
            self.room -= len(made)
            return made

        return within

    def markdown_output(self, output: Any, number: str) -> str:
        """A computed sentence; more than a page of it is shown as text."""
        text = "".join(output.data["text/markdown"])
        if len(text) > ONE_OUTPUT:
            return f'<div class="output">{self.terminal(text, f"Output of cell {number}")}</div>'
        return self.markdown(text)

    def where(self) -> str:
        """Where everything is."""
        return f"all of it is in {self.notebook}"

    def terminal(self, text: str, title: str) -> str:
        """What a program wrote."""
        return markdown.terminal_html(text, title, f"; {self.where()}")

    def html_output(self, output: Any, number: str) -> str:
        """A table or figure of ours, or pandas' own; a giant becomes its bounded text."""
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
        """A drawing."""
        alt = html.escape(described(output, "image/svg+xml", number))
        drawing = sanitize("".join(output.data["image/svg+xml"]))
        return f'<figure class="figure"><div class="plot" role="img" aria-label="{alt}">{drawing}</div></figure>'

    def image_output(self, output: Any, kind: str, number: str) -> str:
        """A picture; a giant is left out."""
        data = "".join(output.data[kind])
        if len(data) > ONE_OUTPUT:
            return f'<p class="left">an image of {len(data) * 3 / 4e6:.1f} MB not shown; {self.where()}</p>'
        return markdown.image_html(data, kind, described(output, kind, number))


def described(output: Any, kind: str, number: str) -> str:
    """An image's alternative text, from the output's metadata."""
    metadata = output.get("metadata", {})
    return str(metadata.get(kind, {}).get("alt") or metadata.get("alt") or f"Image output of cell {number}")
