"""Turns the outputs of executed cells into HTML: each in its richest form, sanitized and bounded in size."""

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from streaming_lab.analysis.display import FIGURE
from streaming_lab.report.render import vega
from streaming_lab.report.render.mathml import latex_output_to_html
from streaming_lab.report.render.pictures import PictureLeftOutError, Pictures
from streaming_lab.report.render.sanitize import Sanitizer, find_left_out, inline_styles, sanitize
from streaming_lab.report.render.tables import mark_cells
from streaming_lab.report.render.terminal_text import terminal_html

ROOM = 1_500_000  # bytes of outputs on the page, pictures aside; more makes a browser slow
ONE_OUTPUT = 400_000  # bytes of one HTML output
PREVIEW_COLUMNS = 10  # of a frame that pandas renders; more do not fit on paper side by side
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
SHOWN = [FIGURE, "text/html", "text/markdown", "text/latex", "image/svg+xml", *PICTURES, "application/json"]
SHOWN += ["text/plain"]
EMBEDDED = re.compile(r'"data:image/[^"]*"')
WIDGET = "application/vnd.jupyter.widget-view+json"
NOT_SHOWN = {
    WIDGET: "a widget, which needs a live notebook",
    "application/javascript": "a script: the page runs none but its own",
    "application/pdf": "a PDF",
    "application/vnd.plotly.v1+json": "a Plotly figure, which needs a script; figure.to_image() makes a picture of it",
    "application/vnd.bokehjs_exec.v0+json": "a Bokeh figure, which needs a script; export_png makes a picture of it",
    "application/vnd.holoviews_exec.v0+json": "a HoloViews figure, which needs a script; hv.save makes a picture of it",
}
FIGURES = tuple(name for name in NOT_SHOWN if "vnd." in name and name != WIDGET)  # their HTML is a script as well


class Outputs:
    """Renders outputs, and counts the room that is left for them on the page.

    `markdown` makes HTML of computed prose; `notebook` names the file with the complete outputs.
    """

    def __init__(self, markdown: Callable[[str], str], pictures: Pictures) -> None:
        self.markdown = markdown
        self.pictures = pictures
        self.sanitizer = Sanitizer(pictures.data_url)
        self.room = ROOM
        self.notebook = ""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters that the chapter template applies to outputs."""
        return {"terminal": self.bound(self.terminal), "show_output": self.bound(self.show_output)}

    def bound(self, make: Callable[..., str]) -> Callable[..., str]:
        """Wrap `make`: once the page is full, a line that names the notebook takes the output's place."""

        def within(*arguments: Any) -> str:
            made = make(*arguments)
            size = len(EMBEDDED.sub("", made))
            if size > self.room:
                return f'<p class="left">left out here, the page is full: {self.where()}</p>'
            self.room -= size
            return made

        return within

    def show_output(self, output: Any, number: str) -> str:
        """Render an output in its richest form that the page can show; a line names a form that it cannot."""
        data = output.data
        if FIGURE not in data and (chart := vega.find_chart(data)) is not None:
            return self.chart(chart, output, number)
        kinds = [kind for kind in SHOWN if kind in data]
        if (figure := next(filter(data.__contains__, FIGURES), "")) and not {"image/svg+xml", *PICTURES} & {*kinds}:
            return self.left_out(NOT_SHOWN[figure])
        if (
            kinds[:1] == ["text/html"]
            and kinds[1:2] not in ([], ["text/plain"])
            and not self.visible(data["text/html"])
        ):
            kinds.remove("text/html")
        kind = kinds[0] if kinds else ""
        made = self.render_kind(kind, output, number) if kind else ""
        if kind not in ("", "text/plain"):
            return made
        unknown = [name for name in data if name not in SHOWN]
        lines = [self.left_out(NOT_SHOWN.get(name, f"an output of type {name}")) for name in unknown]
        return "\n".join(lines if WIDGET in data else [*lines, made])

    def render_kind(self, kind: str, output: Any, number: str) -> str:
        """Render one form of an output."""
        content = output.data[kind]
        text = content if isinstance(content, str) else "".join(content) if isinstance(content, list) else ""
        if kind in PICTURES:
            size = output.get("metadata", {}).get(kind, {}).get("width")
            return self.image_output(text, kind, alt_text(output, kind, number), size)
        if kind == FIGURE:
            return sanitize(text)
        if kind == "text/html":
            return self.html_output(text, "".join(output.data.get("text/plain", "")), number)
        if kind == "text/markdown":
            return self.markdown_output(text, number)
        if kind == "text/latex":
            return f'<div class="output">{sanitize(latex_output_to_html(text))}</div>'
        if kind == "image/svg+xml":
            return drawing_html(text, number, alt_text(output, kind, number))
        if kind == "application/json":
            text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        return f'<div class="output">{self.terminal(text, f"Output of cell {number}")}</div>'

    def where(self) -> str:
        """Name the notebook that has the complete output."""
        return f"all of it is in {self.notebook}"

    def left_out(self, what: str) -> str:
        """Return the line that names what the page does not show."""
        return f'<p class="left">left out here: {html.escape(what)}; {self.where()}</p>'

    def terminal(self, text: str, title: str) -> str:
        """Render what a program wrote."""
        return terminal_html(text, title, f"; {self.where()}")

    def visible(self, markup: Any) -> bool:
        """Tell whether anything of an HTML output is left after sanitizing."""
        cleaned = sanitize("".join(markup))
        return bool(re.search(r"<(?:img|svg|math|table|hr)\b", cleaned) or re.sub(r"<[^>]*>", "", cleaned).strip())

    def markdown_output(self, text: str, number: str) -> str:
        """Render computed prose; a text over the bound appears as plain text."""
        if len(text) > ONE_OUTPUT:
            return f'<div class="output">{self.terminal(text, f"Output of cell {number}")}</div>'
        return self.markdown(text)

    def html_output(self, markup: str, plain: str, number: str) -> str:
        """Render HTML of the lab, of pandas or of anything else; an output over the bound appears as plain text."""
        if len(EMBEDDED.sub("", markup)) > ONE_OUTPUT:
            note = f'<p class="left">{len(markup) / 1e6:.1f} MB of HTML not shown; {self.where()}</p>'
            return f'<div class="output">{self.terminal(plain, f"Output of cell {number}")}{note}</div>'
        cleaned = mark_cells(self.sanitizer.clean(inline_styles(markup)))
        if "<table" in cleaned and 'class="table"' not in cleaned:
            label = f"Output of cell {number}"
            many = " many" if len(re.findall(r"<t[hd]\b", cleaned.split("</tr>")[0])) > PREVIEW_COLUMNS else ""
            cleaned = f'<div class="table{many}" tabindex="0" role="group" aria-label="{label}">{cleaned}</div>'
        left_out = find_left_out(markup)
        return "\n".join(filter(None, [cleaned, self.left_out(", ".join(left_out)) if left_out else ""]))

    def chart(self, spec: Mapping[str, Any], output: Any, number: str) -> str:
        """Render a Vega chart as a drawing; one that cannot be drawn leaves a line that says why."""
        try:
            drawing = vega.draw_chart(spec)
        except vega.ChartError as error:
            return self.left_out(f"a chart, because it could not be drawn here ({error})")
        if len(drawing) > ONE_OUTPUT:
            return self.left_out(f"a chart of {len(drawing) / 1e6:.1f} MB: draw fewer points, or aggregate them")
        kind = "image/svg+xml"
        given = vega.chart_label(spec)
        return drawing_html(drawing, number, given or alt_text(output, kind, number, "Chart"))

    def image_output(self, data: str, kind: str, alt: str, size: Any = None) -> str:
        """Render a picture, as wide as its metadata say (matplotlib's for screens of twice the dots)."""
        width = f' width="{size}"' if isinstance(size, int) and 0 < size < 10_000 else ""
        data = re.sub(r"[^A-Za-z0-9+/=]", "", data)
        try:
            url = self.pictures.data_url(f"data:{kind};base64,{data}")
        except PictureLeftOutError as error:
            return self.left_out(f"a picture: {error}")
        return f'<div class="output-image"><img src="{url}" alt="{html.escape(alt)}"{width}></div>'


def drawing_html(svg: str, number: str, alt: str) -> str:
    """Render a drawing in its own colours on white; its ids are made unique on the page."""
    place = "d" + re.sub(r"\W", "-", number)
    drawing = sanitize(re.sub(r"\A.*?(?=<svg\b)", "", svg, flags=re.DOTALL))
    drawing = re.sub(r'(\sid="|url\(#|\s(?:xlink:)?href="#)(?=[\w-])', rf"\g<1>{place}-", drawing)
    drawing = re.sub(r'\sclass="[^"]*"', "", drawing).replace("<svg", '<svg aria-hidden="true"', 1)
    label = html.escape(alt)
    return f'<figure class="figure"><div class="drawing" role="img" aria-label="{label}">{drawing}</div></figure>'


def alt_text(output: Any, kind: str, number: str, what: str = "Image") -> str:
    """Return an image's alternative text, from the output's metadata."""
    metadata = output.get("metadata", {})
    return str(metadata.get(kind, {}).get("alt") or metadata.get("alt") or f"{what} output of cell {number}")
