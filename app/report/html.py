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

from streaming_lab.report import cells, prose, record, summary
from streaming_lab.report.allowed import clean
from streaming_lab.report.cells import Anchors
from streaming_lab.report.outputs import Outputs

TEMPLATES = Path(__file__).parent / "templates"
TITLE = "From request to row"
PROMISE = "A Flask game fires events into a real Apache Kafka; this report reads them back and accounts for every one."


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
        """None: the cells are prepared by streaming_lab.report.cells."""
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
    """The page while it is put together: its anchors, and its outputs with the room that is left for them."""

    def __init__(self) -> None:
        self.anchors = Anchors()
        self.outputs = Outputs(self.prose)

    def section(self, chapter: record.Chapter, notebook: Any) -> Section:
        """One chapter as a section; without a notebook (it did not run) only its title."""
        section = Section(chapter, self.anchors.take(prose.slug(chapter.title)), self.inline(chapter.title))
        if notebook is None:
            return section
        renderer = prose.Renderer(self.anchors)
        self.reader = prose.markdown(renderer)
        self.outputs.notebook = f"{chapter.name}.ipynb"
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
            **self.outputs.filters(),
            "prose": self.prose,
            "code": prose.code_as_html,
            "failure": prose.failure,
            "traceback": lambda output, title: prose.terminal(prose.traceback_text(output), title),
            "traceback_title": prose.traceback_title,
            "e": html.escape,
        }

    def prose(self, text: str) -> str:
        """Markdown that a chapter's author wrote."""
        return "\n".join(prose.in_prose(self.reader(text)))


def styles() -> str:
    """The tokens that page and drawings share, the page's rules, and those of the drawings."""
    from streaming_lab.analysis.theme import CSS, ROOT

    return ROOT + (TEMPLATES / "page.css").read_text(encoding="utf-8") + CSS


def warm_up() -> None:
    """Import what is only needed once there is something to show."""
    from streaming_lab.analysis import display, sankey, theme  # noqa: F401


def render(run: record.Run, notebooks: Mapping[str, Any]) -> str:
    """The page of `run`; `notebooks` maps the name of each executed chapter to its notebook."""
    from streaming_lab.analysis.display import numbered

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
