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

from streaming_lab.report import record
from streaming_lab.report.render import cell_view, markdown
from streaming_lab.report.render.cell_view import Anchors
from streaming_lab.report.render.markdown import sanitize
from streaming_lab.report.render.outputs import Outputs

# What stands above the chapters: the verdict's reason, the ledger as an equation, a few facts, the drawing.


@dataclass(frozen=True)
class Term:
    """A term of the equation; `sign` stands before it: = (equal), ! (not equal), a minus, or nothing."""

    sign: str
    count: int
    name: str


@dataclass(frozen=True)
class Fact:
    """A small fact below the equation; `off` when it is not as it should be."""

    name: str
    value: str
    off: bool = False
    long: bool = False


def page_header(run: record.Run) -> dict[str, Any]:
    """Everything that the page's head shows."""
    return {
        "reason": sentence(run.reason),
        "why": why_red(run),
        "equation": equation(run.ledger),
        "facts": facts(run),
        "drawing": drawing(run.ledger),
        "cluster": cluster_of(run.cluster),
    }


def sentence(text: str) -> str:
    """`text` as a sentence: a capital first, a full stop last."""
    text = text.strip()
    return (text[:1].upper() + text[1:]).rstrip(".") + "." if text else ""


def why_red(run: record.Run) -> str:
    """What stopped where, what did not run, and the exit code, as HTML; empty for a run that passed."""
    if run.status == "passed":
        return ""
    said = [stopped(chapter) for chapter in run.chapters if chapter.status == "failed"]
    skipped = [str(chapter.number) for chapter in run.chapters if chapter.status == "skipped"]
    if skipped:
        said.append(f"{'Chapter' if len(skipped) == 1 else 'Chapters'} {listed(skipped)} did not run.")
    return " ".join([*said, f"The exit code is {run.exit_code}."])


def stopped(chapter: record.ChapterRecord) -> str:
    """Where a chapter stopped, with a link to the cell."""
    failure = chapter.failure
    if not failure or not failure.cell:
        return f"Chapter {chapter.number} failed."
    cell = html.escape(failure.cell)
    return f'Chapter {chapter.number} stopped at cell {failure.number}, <a href="#{cell}"><code>{cell}</code></a>.'


def listed(words: list[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def equation(ledger: Mapping[str, Any] | None) -> list[Term]:
    """requests - refused = accepted = acknowledged = rows; terms that are zero are left out, unequal signs are told."""
    if not ledger:
        return []
    terms = [Term("", ledger["requests"], "request" if ledger["requests"] == 1 else "requests")]
    if not ledger["requests"] and not ledger["rows"]:
        return terms  # nothing was asked, so nothing is equal
    terms += [Term("−", ledger[name], name) for name in ("refused", "failed", "unanswered") if ledger[name]]
    terms.append(equal(terms, ledger["accepted"], "accepted"))
    aside = [Term("−", ledger["retried_accepted"], "retried"), Term("+", ledger["unconfirmed"], "unconfirmed")]
    terms += [term for term in aside if term.count]
    known = ledger["acknowledged"] is not None
    if known and (not ledger["closed"] or balance(terms) == ledger["acknowledged"]):
        terms.append(equal(terms, ledger["acknowledged"], "acknowledged"))
    terms.append(equal(terms, ledger["rows"], "row" if ledger["rows"] == 1 else "rows"))
    return terms


def equal(terms: list[Term], count: int, name: str) -> Term:
    """The next station, with the sign that is true."""
    return Term("=" if balance(terms) == count else "!", count, name)


def balance(terms: list[Term]) -> int:
    """What the terms since the last station come to."""
    total = 0
    for term in terms:
        total = {"−": total - term.count, "+": total + term.count}.get(term.sign, term.count)
    return total


def facts(run: record.Run) -> list[Fact]:
    """Lost, duplicated, rejected, time, cluster, seed."""
    found = [Fact("time", f"{run.seconds:.1f} s")]
    if ledger := run.ledger:
        counts = {"lost": ledger["lost"], "duplicated": ledger["duplicates"], "rejected": ledger["rejects"]}
        counts |= {"unexpected": n} if (n := ledger["unexpected"] - ledger["unconfirmed"]) else {}
        found = [*(Fact(name, f"{count:,}", off=bool(count)) for name, count in counts.items()), *found]
    if run.cluster:
        found.append(Fact("cluster", where_it_ran(run), long=True))
    if "seed" in run.parameters:
        found.append(Fact("seed", str(run.parameters["seed"])))
    return found


def where_it_ran(run: record.Run) -> str:
    """The cluster in few words, with the name that was asked for."""
    name = cluster_of({**(run.cluster or {}), "cluster_id": None})
    return f"{name}, {run.parameters['cluster']}" if "cluster" in run.parameters else name


def cluster_of(description: Mapping[str, Any] | None) -> str:
    """A cluster in words."""
    if not description:
        return ""
    brokers = len(description.get("brokers") or ()) or 1
    version = description.get("version") or "of unknown version"
    name = f"Apache Kafka {version}, {brokers} broker{'s' * (brokers != 1)}"
    return f"{name}, cluster id {description['cluster_id']}" if description.get("cluster_id") else name


def drawing(ledger: Mapping[str, Any] | None) -> str:
    """The ledger's ribbon, as HTML."""
    if not ledger:
        return ""
    from streaming_lab.analysis.ledger import Ledger
    from streaming_lab.analysis.sankey import ledger_sankey

    return str(ledger_sankey(Ledger.from_json(ledger)))


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
        """None: the cells are prepared by streaming_lab.report.render.cell_view."""
        super()._init_preprocessors()  # type: ignore[no-untyped-call]
        self._preprocessors = []


@dataclass(frozen=True)
class PagePart:
    """A line of the contents."""

    anchor: str
    title: str


@dataclass
class Section:
    """A chapter on the page."""

    chapter: record.ChapterRecord
    anchor: str
    title: str
    lede: str = ""
    body: str = ""
    parts: list[PagePart] = field(default_factory=list)

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

    def section(self, chapter: record.ChapterRecord, notebook: Any) -> Section:
        """One chapter as a section; without a notebook (it did not run) only its title."""
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
        """A title with its code and emphasis."""
        markup = str(markdown.markdown_to_html(markdown.Renderer(Anchors()))(text)).strip()
        return sanitize(markup.removeprefix("<p>").removesuffix("</p>"))

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
            "code": markdown.code_as_html,
            "failure": markdown.failure_html,
            "traceback": lambda output, title: markdown.terminal_html(markdown.traceback_text(output), title),
            "traceback_title": markdown.traceback_title,
            "e": html.escape,
        }

    def prose(self, text: str) -> str:
        """Markdown that a chapter's author wrote."""
        return "\n".join(markdown.in_prose(self.reader(text)))


def styles() -> str:
    """The tokens that page and drawings share, the page's rules, and those of the drawings."""
    from streaming_lab.analysis.theme import CSS, ROOT

    return ROOT + (TEMPLATES / "page.css").read_text(encoding="utf-8") + CSS


def warm_up_page() -> None:
    """Import what is only needed once there is something to show."""
    from streaming_lab.analysis import display, sankey, theme  # noqa: F401


def render_page(run: record.Run, notebooks: Mapping[str, Any]) -> str:
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
        **page_header(run),
    )
    return numbered(markup)
