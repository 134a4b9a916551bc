"""The page: executed chapters and the record of their run as one HTML file that needs nothing else.

nbconvert turns each chapter into a part by our template (templates/chapter); page.html.j2 puts verdict, parts
and provenance together. No request leaves the page: its policy forbids each, and any script but its own, by hash.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from nbconvert.exporters.templateexporter import TemplateExporter

from app.report import cells, prose, record, summary
from app.report.allowed import clean
from app.report.cells import Anchors

TEMPLATES = Path(__file__).parent / "templates"
TITLE = "From request to row"
PROMISE = "A Flask game fires events into a real Apache Kafka; this report reads them back and accounts for every one."
ROOM = 1_500_000  # bytes of outputs on the page: more makes a browser slow
ONE_OUTPUT = 400_000  # bytes of one HTML output
FIGURE = "application/vnd.streaming-lab.figure+html"  # app.analysis.page.FIGURE, without its import of pandas
COLUMNS = 10  # of a frame that is not ours: more do not fit on paper side by side
SHOWN = [FIGURE, "text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]


class ChapterExporter(TemplateExporter):
    """nbconvert with our template: what is dearest to a reader comes first among an output's forms."""

    def __init__(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            extra_template_basedirs=[str(TEMPLATES)],
            template_name="chapter",
            filters=dict(filters),
            file_extension=".html",
        )

    def _init_preprocessors(self) -> None:
        """None: the cells are prepared by app.report.cells."""
        super()._init_preprocessors()  # type: ignore[no-untyped-call]
        self._preprocessors = []


@dataclass(frozen=True)
class Part:
    """A line of the contents."""

    anchor: str
    title: str


@dataclass
class Section:
    """A chapter on the page."""

    chapter: record.Chapter
    anchor: str
    title: str
    lede: str = ""
    body: str = ""
    parts: list[Part] = field(default_factory=list)

    @property
    def status(self) -> str:
        """How long it took, and how many cells ran."""
        ran = sum(cell.status != "pending" for cell in self.chapter.cells)
        count = f"{ran} cell{'s' * (ran != 1)}"
        if self.chapter.status == "failed" and self.chapter.failure and self.chapter.failure.number:
            return f"at cell {self.chapter.failure.number} after {self.chapter.seconds:.1f} s"
        return f"in {self.chapter.seconds:.1f} s, {count}"


class Page:
    """The page while it is put together: its anchors, and the room that is left for outputs."""

    def __init__(self) -> None:
        self.anchors = Anchors()
        self.room = ROOM
        self.notebook = ""

    def section(self, chapter: record.Chapter, notebook: Any) -> Section:
        """One chapter as a section; without a notebook (it did not run) only its title."""
        section = Section(chapter, self.anchors.take(prose.slug(chapter.title)), self.inline(chapter.title))
        if notebook is None:
            return section
        renderer = prose.Renderer(self.anchors)
        self.reader = prose.markdown(renderer)
        self.notebook = f"{chapter.name}.ipynb"
        prepared = cells.prepare(notebook, chapter, self.anchors)
        section.lede = self.take_head(prepared)
        exporter = ChapterExporter(self.filters())
        section.body, _ = exporter.from_notebook_node(prepared)
        section.parts = [Part(anchor, clean(title)) for anchor, title in renderer.parts]
        return section

    def inline(self, text: str) -> str:
        """A title with its code and emphasis."""
        markup = str(prose.markdown(prose.Renderer(Anchors()))(text)).strip()
        return clean(markup.removeprefix("<p>").removesuffix("</p>"))

    def take_head(self, notebook: Any) -> str:
        """Take the title and the promise out of the first cell of prose; the promise is returned."""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                rest = re.sub(r"^# .*\n*", "", cell.source, count=1)
                lede, _, cell.source = rest.partition("\n\n")
                return self.inline(" ".join(lede.split())) if lede.strip() else ""
        return ""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What the chapter template calls."""
        return {
            "prose": self.prose,
            "markdown_output": self.bound(self.markdown_output),
            "figure_output": self.bound(lambda output: clean("".join(output.data[FIGURE]))),
            "code": prose.code_as_html,
            "terminal": self.bound(self.terminal),
            "failure": prose.failure,
            "traceback": lambda output, title: prose.terminal(prose.traceback_text(output), title),
            "traceback_title": prose.traceback_title,
            "html_output": self.bound(self.html_output),
            "svg_output": self.bound(self.svg_output),
            "image_output": self.bound(self.image_output),
            "e": html.escape,
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

    def prose(self, text: str) -> str:
        """Markdown that a chapter's author wrote."""
        return "\n".join(prose.in_prose(self.reader(text)))

    def markdown_output(self, output: Any, number: str) -> str:
        """A computed sentence; more than a page of it is shown as text."""
        text = "".join(output.data["text/markdown"])
        if len(text) > ONE_OUTPUT:
            return f'<div class="output">{self.terminal(text, f"Output of cell {number}")}</div>'
        return self.prose(text)

    def where(self) -> str:
        """Where everything is."""
        return f"all of it is in {self.notebook}"

    def terminal(self, text: str, title: str) -> str:
        """What a program wrote."""
        return prose.terminal(text, title, f"; {self.where()}")

    def html_output(self, output: Any, number: str) -> str:
        """A table or figure of ours, or pandas' own; a giant becomes its bounded text."""
        markup = "".join(output.data["text/html"])
        if len(markup) > ONE_OUTPUT:
            note = f'<p class="left">{len(markup) / 1e6:.1f} MB of HTML not shown; {self.where()}</p>'
            plain = "".join(output.data.get("text/plain", ""))
            return f'<div class="output">{self.terminal(plain, f"Output of cell {number}")}{note}</div>'
        cleaned = clean(markup)
        if "<table" in cleaned and 'class="table"' not in cleaned:
            label = f"Output of cell {number}"
            many = " many" if len(re.findall(r"<t[hd]\b", cleaned.split("</tr>")[0])) > COLUMNS else ""
            cleaned = f'<div class="table{many}" tabindex="0" role="group" aria-label="{label}">{cleaned}</div>'
        return cleaned

    def svg_output(self, output: Any, number: str) -> str:
        """A drawing."""
        alt = html.escape(described(output, "image/svg+xml", number))
        drawing = clean("".join(output.data["image/svg+xml"]))
        return f'<figure class="figure"><div class="plot" role="img" aria-label="{alt}">{drawing}</div></figure>'

    def image_output(self, output: Any, kind: str, number: str) -> str:
        """A picture; a giant is left out."""
        data = "".join(output.data[kind])
        if len(data) > ONE_OUTPUT:
            return f'<p class="left">an image of {len(data) * 3 / 4e6:.1f} MB not shown; {self.where()}</p>'
        return prose.image(data, kind, described(output, kind, number))


def described(output: Any, kind: str, number: str) -> str:
    """An image's alternative text, from the output's metadata."""
    metadata = output.get("metadata", {})
    return str(metadata.get(kind, {}).get("alt") or metadata.get("alt") or f"Image output of cell {number}")


def styles() -> str:
    """The page's rules, and those of the drawings."""
    from app.analysis.theme import CSS

    return (TEMPLATES / "page.css").read_text(encoding="utf-8") + CSS


def warm_up() -> None:
    """Import what is only needed once there is something to show."""
    from app.analysis import drawing, page, theme  # noqa: F401


def render(run: record.Run, notebooks: Mapping[str, Any]) -> str:
    """The page of `run`; `notebooks` maps the name of each executed chapter to its notebook."""
    from app.analysis.page import numbered

    page = Page()
    sections = [page.section(chapter, notebooks.get(chapter.name)) for chapter in run.chapters]
    script = "\n" + (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    environment.filters.update(
        day=lambda moment: f"{moment.day} {moment:%B %Y}",
        minute=lambda moment: f"{moment:%H:%M}",
        second=lambda moment: f"{moment:%H:%M:%S}",
        tojson_plain=lambda value: json.dumps(value, ensure_ascii=False),
    )
    markup = environment.get_template("page.html.j2").render(
        run=run,
        title=TITLE,
        promise=PROMISE,
        word=run.status.capitalize(),
        sections=sections,
        css=styles(),
        js=script,
        script_hash=f"sha256-{digest}",
        **summary.of(run),
    )
    return numbered(markup)
