"""Renders the page: executed chapters and the record of their run as one HTML file without any external part.

nbconvert renders each chapter with the template in templates/chapter; page.html.j2 joins verdict, chapters and
provenance. The page's content security policy forbids requests and every script but its own, named by its hash.
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

from streaming_lab.cli import printable
from streaming_lab.report import record
from streaming_lab.report.own import byline
from streaming_lab.report.render import cell_view, markdown, terminal_text
from streaming_lab.report.render.cell_view import Anchors
from streaming_lab.report.render.glossary import GLOSSARY, GlossaryLinks
from streaming_lab.report.render.outputs import Outputs
from streaming_lab.report.render.pictures import Pictures
from streaming_lab.report.render.sanitize import find_left_out, sanitize
from streaming_lab.report.render.verdict import first_line, page_header

TEMPLATES = Path(__file__).parent / "templates"
TITLE = "From request to row"
PROMISE = "A Flask game fires events into a real Apache Kafka; this report reads them back and accounts for every one."


class ChapterExporter(TemplateExporter):
    """nbconvert's exporter with the lab's template; an output's richest form has priority."""

    def __init__(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            extra_template_basedirs=[str(TEMPLATES)],
            template_name="chapter",
            filters=dict(filters),
            file_extension=".html",
        )

    def _init_preprocessors(self) -> None:
        """Register no preprocessor; streaming_lab.report.render.cell_view prepares the cells."""
        super()._init_preprocessors()  # type: ignore[no-untyped-call]
        self._preprocessors = []


@dataclass(frozen=True)
class PagePart:
    """One line of the contents."""

    anchor: str
    title: str


@dataclass
class Section:
    """One chapter on the page."""

    chapter: record.ChapterRecord
    anchor: str
    title: str
    lede: str = ""
    body: str = ""
    parts: list[PagePart] = field(default_factory=list)

    @property
    def status(self) -> str:
        """Return how long the chapter took, and how many cells ran."""
        ran = sum(cell.status != "pending" for cell in self.chapter.cells)
        count = f"{ran} cell{'s' * (ran != 1)}"
        if self.chapter.status == "failed" and self.chapter.failure and self.chapter.failure.number:
            return f"at cell {self.chapter.failure.number} after {self.chapter.seconds:.1f} s"
        return f"in {self.chapter.seconds:.1f} s, {count}"


class Page:
    """Assembles the page; holds its anchors, and its outputs with the room that is left for them."""

    def __init__(self, folder: Path | None = None) -> None:
        self.anchors = Anchors()
        self.pictures = Pictures(folder)
        self.outputs = Outputs(self.prose, self.pictures)
        self.glossary = GlossaryLinks()

    def section(self, chapter: record.ChapterRecord, notebook: Any) -> Section:
        """Render one chapter as a section; only its title when it did not run (no notebook)."""
        section = Section(chapter, self.anchors.take(markdown.slug(chapter.title)), self.inline(chapter.title))
        if notebook is None:
            return section
        renderer = markdown.Renderer(self.anchors)
        self.reader = markdown.markdown_to_html(renderer)
        self.outputs.notebook = f"{chapter.name}.ipynb"
        prepared = cell_view.prepare_cells(notebook, chapter, self.anchors)
        section.lede = self.take_head(prepared)
        exporter = ChapterExporter(self.filters())
        section.body, _ = exporter.from_notebook_node(prepared)
        section.parts = [PagePart(anchor, sanitize(title)) for anchor, title in renderer.parts]
        return section

    def inline(self, text: str) -> str:
        """Render a title with its code and emphasis."""
        markup = str(markdown.markdown_to_html(markdown.Renderer(Anchors()))(text)).strip()
        return sanitize(markup.removeprefix("<p>").removesuffix("</p>"))

    def take_head(self, notebook: Any) -> str:
        """Remove title and first paragraph from the first cell of prose; return the paragraph."""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                rest = re.sub(r"^# .*\n*", "", cell.source, count=1)
                lede, _, cell.source = rest.partition("\n\n")
                return self.glossary.link(self.inline(" ".join(lede.split()))) if lede.strip() else ""
        return ""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters that the chapter template calls."""
        return {
            **self.outputs.filters(),
            "prose_cell": self.prose_cell,
            "code": markdown.code_as_html,
            "failure": terminal_text.failure_html,
            "traceback": lambda output, title: terminal_text.terminal_html(terminal_text.traceback_text(output), title),
            "traceback_title": terminal_text.traceback_title,
            "e": html.escape,
        }

    def prose_cell(self, cell: Any) -> str:
        """Render a cell of Markdown with its attachments."""
        self.pictures.attachments = cell.get("attachments", {})
        made = self.prose(cell.source)
        self.pictures.attachments = {}
        return made

    def prose(self, text: str) -> str:
        """Render Markdown; a line names what the page leaves out of it."""
        markup = self.reader(text)
        left_out = find_left_out(markup)
        line = [self.outputs.left_out(", ".join(left_out))] if left_out else []
        made = "\n".join([*markdown.split_prose(markup, self.outputs.sanitizer.clean), *line])
        return self.glossary.link(made)


def styles() -> str:
    """Return the stylesheet: tokens that page and drawings share, the page's rules, the rules of drawings."""
    from streaming_lab.analysis.theme import CSS, ROOT

    return ROOT + (TEMPLATES / "page.css").read_text(encoding="utf-8") + CSS


def warm_up_page() -> None:
    """Import the modules that rendering needs, ahead of time."""
    from streaming_lab.analysis import display, sankey, theme  # noqa: F401


def render_page(run: record.Run, notebooks: Mapping[str, Any], folder: Path | None = None) -> str:
    """Render the page of `run`; `notebooks` has each executed chapter by name, `folder` the pictures beside them."""
    from streaming_lab.analysis.display import numbered

    page = Page(folder)
    sections = [page.section(chapter, notebooks.get(chapter.name)) for chapter in run.chapters]
    script = "\n" + (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    environment.filters.update(
        day=lambda moment: f"{moment.day} {moment:%B %Y}",
        minute=lambda moment: f"{moment:%H:%M}",
        first_line=first_line,
        second=lambda moment: f"{moment:%H:%M:%S}",
        printable=printable,
        tojson_plain=lambda value: json.dumps(value, ensure_ascii=False),
    )
    markup = environment.get_template("page.html.j2").render(
        run=run,
        title=run.parameters.get("title") or TITLE,
        byline=byline(run.parameters),
        promise=PROMISE,
        word=run.status.capitalize(),
        sections=sections,
        glossary=[(term, page.inline(term.meaning)) for term in GLOSSARY] if page.glossary.used else [],
        css=styles(),
        js=script,
        script_hash=f"sha256-{digest}",
        **page_header(run),
    )
    return numbered(markup)
