"""The page in a real browser: no request, no error, accessible, complete on paper."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import book
import pytest
from axe_core_python.sync_playwright import Axe
from book import chapter, code, prose, raised, shown, stream
from playwright.sync_api import Browser, Page
from pypdf import PdfReader

from streaming_lab.analysis.deliveries import Hearts
from streaming_lab.analysis.display import FIGURE, Figure, Table, TableColumn, number
from streaming_lab.analysis.ledger import Gap, Ledger, RequestThread
from streaming_lab.handin.check import Check, Contradiction
from streaming_lab.handin.crowd_checks import CROWD_CHECKS
from streaming_lab.handin.examine import Examined
from streaming_lab.handin.record_checks import RECORD_CHECKS
from streaming_lab.handin.verdict_page import render_verdict
from streaming_lab.report.exercises import Judgement
from streaming_lab.report.record import ChapterRecord, Failure

pytestmark = pytest.mark.slow  # a browser

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
THREADS = tuple(RequestThread(index % 3, f"player-{index:02d}", 5 + index % 7) for index in range(1, 25))
ROWS = sum(thread.rows for thread in THREADS)
LEDGER: dict[str, Any] = {
    **{"requests": ROWS + 12, "accepted": ROWS, "refused": 12, "failed": 0, "unanswered": 0, "retried": 0},
    **{"retried_accepted": 0, "acknowledged": ROWS, "rows": ROWS, "rejects": 0, "duplicates": 0, "lost": 0},
    **{"rejected": 0, "unread": 0, "unexpected": 0, "unconfirmed": 0, "players": 24, "threads": THREADS, "entries": ()},
}
LOST = (Gap("lost", "e1", "player-01", "answered 200"),)
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
EVIL_SVG = """<svg viewBox="0 0 9 9" onload="document.title='owned'"><script>document.title='owned'</script>
<set attributeName="onclick" to="document.title='owned'"/><use href="http://example.com/#x"/>
<rect width="9" height="9" fill="\\75rl(http://example.com/x)" style="fill:\\75rl(http://example.com/y)"/></svg>"""
EVIL_MATH = """<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1
onerror=document.title='owned'&gt;"></mglyph></table></mtext>
<mi href="javascript:document.title='owned'">x</mi></math>"""
EVIL_STYLE = "<p style='color:red;background:\\75rl(http://example.com/z)'>x</p>"
EVIL_STYLE += "<p style='background:image-set(\"http://example.com/i\" 1x)'>x</p>"


def ledger(**more: Any) -> dict[str, Any]:
    """A ledger as run.json has it."""
    import json

    kept: dict[str, Any] = json.loads(Ledger(**{**LEDGER, **more}).to_json())
    return kept


def drawing(size: str, width: int) -> str:
    """Draw a minimal chart."""
    box = f'viewBox="0 0 {width} 60" width="{width}" height="60"'
    return f'<svg class="{size}" {box} aria-hidden="true"><rect class="t1" width="90" height="40"/></svg>'


def figure(title: str) -> Any:
    """A figure with its data."""
    data = Table(title, (TableColumn("type"), number("events")), (("default", 3), ("sold_sword", 4)))
    made = Figure(title, "in all", "Two bars, 3 and 4.", drawing("wide", 736), drawing("narrow", 342), "Seven.", data)
    return shown({FIGURE: made.html(), "text/plain": "figure"})


def wide_frame() -> Any:
    """Return pandas' HTML of a frame with 30 columns."""
    heads = "".join(f"<th>column_{index}</th>" for index in range(30))
    cells = "".join(f"<td>{index}.123456</td>" for index in range(30))
    rows = f"<tr><th>0</th>{cells}</tr>" * 3
    table = f'<table border="1" class="dataframe"><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return shown({"text/html": table, "text/plain": "frame"})


def lesson() -> list[Any]:
    """The end of a chapter: a question with its answer, two answers of one's own, an exercise that is not right yet."""
    question = "**1.** Why a partition?\n\n<details><summary>An answer</summary>\n\nOrder.\n\n</details>"
    cells = [prose("## Recap\n\n- one"), prose(question), prose("*Your answer:*"), prose("*Your answer:* mine")]
    for cell, tag in zip(cells, ("recap", "question", "answer", "answer"), strict=True):
        cell.metadata.tags = [tag]
    said = Judgement("not yet", "x: expected 4, came 5")._repr_mimebundle_()
    error = raised("NameError", "name 'x' is not defined", "Traceback", "  line 1")
    return [
        *cells,
        code("x", "fill", "exercise", "raises-exception", outputs=[error]),
        code("with exercise() as check: ...", "check", "check", outputs=[shown(said[0], **said[1])]),
        code("deliveries.hearts()", "hearts", outputs=[shown({"text/html": Hearts({"a": drawing})._repr_html_()})]),
    ]


def body() -> list[Any]:
    """A chapter with one of everything."""
    events = Table("Events", (TableColumn("type", "code"), number("n")), (("default", 3), (EVIL, 4)), "in all")
    return [
        code("import pandas as pd\nfrom streaming_lab.analysis import charts", "imports", "machinery"),
        code("seed: int = 205  # of all chance", "parameters", "parameters"),
        prose("The first game only [answers](https://kafka.apache.org/documentation/#kraft):\n\n- one\n- two `code`"),
        code("print(answers)", "answers", outputs=[stream(EVIL + "\n"), stream("look out\n", "stderr")]),
        prose("## A part\n\n| a |\n|---|\n| 1 |\n\n```console\n$ kcat -C\ndefault\n```\n\n```py\nx = 1\n```"),
        code("tables.events(rows)", "table", outputs=[shown({"text/html": events._repr_html_(), "text/plain": "t"})]),
        prose(
            "Math $x^2$ and $\\text{<img src=x onerror=alert(1)>}$, a note[^1].\n\n- [x] done\n\n[^1]: Note.\n\n"
            + EVIL_MATH
        ),
        code("svg", "svg", outputs=[shown({"image/svg+xml": EVIL_SVG}), shown({"text/html": EVIL_MATH + EVIL_STYLE})]),
        code("charts.events(rows)", "chart", outputs=[figure("Events per second")]),
        code("charts.more(rows)", "chart-2", outputs=[figure("Events per player")]),
        code("rows", "frame", outputs=[wide_frame()]),
        code(f"x = '{'long ' * 60}lastword'", "long", outputs=[stream("word " * 60 + "endword\n")]),
        *lesson(),
        code("Markdown(f'{n}')", "say", outputs=[shown({"text/markdown": f"**3** {EVIL}", "text/plain": "x"})]),
    ]


def passed_page() -> str:
    """The page of a run that passed."""
    cluster = {"version": "4.4.0", "cluster_id": "q1Sh", "brokers": [{"id": 1}]}
    return book.page(
        chapter(1, "Start the cluster", *body()),
        chapter(2, "Play the game", *body()),
        ledger=ledger(),
        cluster=cluster,
        ranges={"crowd-events": {"0": [0, 393], "1": [0, 883]}},
    )


def failed_page() -> str:
    """The page of a run that failed: a closed chapter, a failed one, one that did not run."""
    failure = Failure("error", f"AssertionError: 1 event lost {EVIL}", "ledger", "2.2")
    error = raised("AssertionError", f"1 event lost {EVIL}\nNext: -p log confirmed", "Traceback", "  line 2")
    cells = [
        prose("Text"),
        code("x = 1", "before"),
        code("assert closed", "ledger", outputs=[error]),
        code("2", "after"),
    ]
    skipped = ChapterRecord("03-c", 3, "Lose nothing", "skipped", 0.0, (), Failure("set-up", "chapter 2 failed"))
    opened = ledger(lost=1, accepted=ROWS + 1, refused=11, entries=LOST)
    return book.page(
        chapter(1, "Start", *body()), chapter(2, "Read", *cells, failure=failure), (skipped, None), ledger=opened
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Write a passed and a failed page; return their addresses."""
    folder = tmp_path_factory.mktemp("pages")
    for name, made in {"passed": passed_page(), "failed": failed_page()}.items():
        (folder / f"{name}.html").write_text(made, encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in ("passed", "failed")}


class Opened:
    """A page in the browser, with its requests and console messages."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": WIDE, **context})
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def open_all(self) -> None:
        """Unfold everything."""
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


@pytest.mark.parametrize("name", ["passed", "failed"])
def test_the_page_asks_for_nothing_and_complains_of_nothing(browser: Browser, pages: dict[str, str], name: str) -> None:
    """One request, for the page itself, without a network; and the page's own script runs."""
    with Opened(browser, pages[name], offline=True) as opened:
        opened.open_all()
        opened.page.click("text=dark")
        opened.page.mouse.wheel(0, 5000)
        assert (opened.requests, opened.complaints) == ([pages[name]], [])
        assert opened.page.locator(".toc a[aria-current]").count() == 1


@pytest.mark.parametrize("name", ["passed", "failed"])
def test_no_record_value_ever_runs(browser: Browser, pages: dict[str, str], name: str) -> None:
    """Scripts and handlers planted in every kind of output are text, if anything."""
    with Opened(browser, pages[name]) as opened:
        assert opened.page.title() == f"{name.capitalize()}: From request to row, lab report 09"
        assert opened.page.locator("script").count() == 1
        names = "[...document.querySelectorAll('*')].flatMap(element => element.getAttributeNames())"
        assert [name for name in opened.page.evaluate(names) if name.startswith("on")] == []


@pytest.mark.parametrize("viewport", [WIDE], ids=["wide"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["passed", "failed"])
def test_everyone_can_read_the_page(
    browser: Browser, pages: dict[str, str], name: str, theme: Any, viewport: Any
) -> None:
    """axe-core finds no violation, with everything unfolded, in both themes."""
    with Opened(browser, pages[name], color_scheme=theme, viewport=viewport) as opened:
        opened.open_all()
        opened.page.wait_for_timeout(100)
        found = Axe().run(opened.page)
        assert [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found["violations"]] == []


def verdict() -> str:
    """The verdict on a class: one that agrees, one with a contradiction of everything evil, one that is broken."""
    finding = Contradiction("requests.parquet, row 3", EVIL, EVIL)
    checks = tuple(Check(name, "agrees", "400 requests") for name in (*RECORD_CHECKS, *CROWD_CHECKS, "outputs 03"))
    odd = (*checks[:-1], Check("outputs 03", "contradicts", EVIL, (finding,), 7), Check("origin", "cannot tell", "no"))
    rows = [
        Examined("ada", "ada", "Ada", "0.2.0", "passed", checks, marks={}),
        Examined(EVIL, EVIL, EVIL, EVIL, "failed", odd, marks={}, left_out=(EVIL,)),
        Examined("broken.zip", broken=f"no zip {EVIL}", marks={}),
    ]
    return render_verdict(rows, [("run id", EVIL, (EVIL,))], "as handed in", datetime(2026, 11, 27, tzinfo=UTC))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everyone_can_read_the_verdict_on_hand_ins(browser: Browser, tmp_path: Path, theme: Any) -> None:
    """One request, no violation of axe, nothing of a hand-in runs, a phone scrolls in one direction."""
    (tmp_path / "verdict.html").write_text(verdict(), encoding="utf-8")
    url = (tmp_path / "verdict.html").as_uri()
    with Opened(browser, url, color_scheme=theme, offline=True) as opened:
        found = Axe().run(opened.page)
        assert [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found["violations"]] == []
        assert (opened.requests, opened.complaints) == ([url], [])
        assert opened.page.locator("script").count() == 0
        opened.page.set_viewport_size(PHONE)
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("name", ["passed", "failed"])
def test_a_phone_scrolls_in_one_direction(browser: Browser, pages: dict[str, str], name: str) -> None:
    """Wide tables and code scroll in their own boxes; the page does not."""
    with Opened(browser, pages[name], viewport=PHONE) as opened:
        opened.open_all()
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert opened.page.evaluate("document.querySelector('.table:has(.dataframe)').hasAttribute('data-scrolls')")


def test_all_code_is_within_reach(browser: Browser, pages: dict[str, str]) -> None:
    """Shown, hidden, copied; a term's link opens the glossary."""
    with Opened(browser, pages["passed"], permissions=["clipboard-read", "clipboard-write"]) as opened:
        folds, plain = opened.page.locator("details[data-code]"), opened.page.locator("#answers > pre.code")
        opened.page.click("text=Show all code")
        assert folds.count() == opened.page.locator("details[data-code][open]").count() > 4
        opened.page.locator("#say pre.code").hover()
        opened.page.locator("#say .copy").click()
        assert opened.page.evaluate("navigator.clipboard.readText()") == "Markdown(f'{n}')"
        opened.page.click("text=Hide all code")
        assert (opened.page.locator("details[data-code][open]").count(), plain.is_visible()) == (0, False)
        opened.page.locator("a.gloss").first.click()
        opened.page.wait_for_function("document.querySelector('.terms').open")


def test_the_switch_of_themes_wins_over_the_system(browser: Browser, pages: dict[str, str]) -> None:
    """A dark system and a light choice give a light page."""
    with Opened(browser, pages["passed"], color_scheme="dark") as opened:
        colour = "getComputedStyle(document.documentElement).backgroundColor"
        before = opened.page.evaluate(colour)
        opened.page.click("text=light")
        assert (before, opened.page.evaluate(colour)) == ("rgb(18, 23, 21)", "rgb(252, 253, 252)")


def test_paper_has_every_word_and_no_figure_in_two_parts(
    browser: Browser, pages: dict[str, str], tmp_path: Path
) -> None:
    """The last word of a long line, the last column of a wide frame; figures whole."""
    with Opened(browser, pages["passed"]) as opened:
        opened.page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        opened.page.emulate_media(media="print")
        assert opened.page.evaluate("getComputedStyle(document.querySelector('.figure')).breakInside") == "avoid"
    sheets = [sheet.extract_text() for sheet in PdfReader(tmp_path / "page.pdf").pages]
    words = " ".join(sheets)
    assert "lastword" in words
    assert "endword" in words
    assert "".join(words.split()).count("column_29") == 2
    for title, reading in (("Events per second", "Seven."), ("Events per player", "Seven.")):
        assert [title in sheet for sheet in sheets] == [title in sheet and reading in sheet for sheet in sheets]


def outcomes(title: str = "Outcomes") -> Any:
    """Return a table as wide as chapter 04's: a way and twelve numbers, of which one matters."""
    heads = (
        "lost after a 200",
        "200",
        "refused by the rules",
        "503 refused",
        "503 unknown",
        "no answer",
        "in the topic",
    )
    heads += ("there without a 200", "duplicates", "after de-duplication", "named at the end", "longest stall (s)")
    columns = (TableColumn("way"), *(number(head, alarm=head.startswith("lost")) for head in heads))
    ways = ("fire-and-forget", "buffered", "confirmed", "confirmed, asked again", "outbox", "outbox, full disk")
    rows = tuple((way, *(1000 * line + 100 + column for column in range(12))) for line, way in enumerate(ways, 1))
    table = Table(title, columns, rows, "in events")
    return shown({"text/html": table._repr_html_(), "text/plain": "t"})


@pytest.mark.parametrize("size", ["A4", "Letter"])
def test_no_number_breaks_on_paper(browser: Browser, tmp_path: Path, size: str) -> None:
    """Each number of a table of thirteen columns is one word on one line of the sheet, as the PDF places it."""
    cells = [prose("## Outcomes\n\nSix ways:"), code("outcome()", "outcome", outputs=[outcomes(), wide_frame()])]
    (tmp_path / "page.html").write_text(book.page(chapter(4, "Lose", *cells)), encoding="utf-8")
    with Opened(browser, (tmp_path / "page.html").as_uri()) as opened:
        opened.page.pdf(path=tmp_path / "page.pdf", format=size)
    pieces: dict[tuple[int, int], str] = {}
    for index, sheet in enumerate(PdfReader(tmp_path / "page.pdf").pages):

        def visit(text: str, _: Any, place: Any, *__: Any, index: int = index) -> None:
            line = (index, round(place[5]))
            pieces[line] = pieces.get(line, "") + " " + text

        sheet.extract_text(visitor_text=visit)
    words = {word for line in pieces.values() for word in line.split()}
    expected = {f"{1000 * line + 100 + column:,}" for line in range(1, 7) for column in range(11)}
    assert expected - words == set()
    assert {f"{index}.123456" for index in range(30)} - words == set()


def test_a_heading_stands_on_the_sheet_of_its_code_and_the_last_sheet_is_none_of_two_lines(
    browser: Browser, tmp_path: Path
) -> None:
    """Headings in a row of sections of different lengths; the last sheet begins with a heading or has many lines."""
    for filler in range(0, 40, 8):
        cells: list[Any] = []
        for part in range(9):
            before = "Line.  \n" * (filler + part)
            cells += [prose(f"{before}\n\n## Part {part}\n\nText of part {part}:")]
            cells += [code(f"code_of_part_{part}()\n" * 6, f"c{part}", outputs=[outcomes(f"Table of {part}")])]
        (tmp_path / "page.html").write_text(book.page(chapter(4, "Lose", *cells)), encoding="utf-8")
        with Opened(browser, (tmp_path / "page.html").as_uri()) as opened:
            opened.page.pdf(path=tmp_path / "page.pdf", format="A4")
        sheets = [sheet.extract_text() for sheet in PdfReader(tmp_path / "page.pdf").pages]
        for part in range(9):
            at = [n for n, text in enumerate(sheets) if f"Text of part {part}:" in text]
            assert [f"code_of_part_{part}()" in sheets[n] for n in at] == [True]
            assert [f"Table of {part}" in sheets[n] for n in at] == [True]  # an output follows its code
        assert len(sheets[-1].splitlines()) > 8


def test_report_pdf_is_the_page_on_the_paper_that_was_asked_for(browser: Browser, tmp_path: Path) -> None:
    """Printed by the browser's own command; A4 and Letter have their sizes in points."""
    from streaming_lab.report.render.paper import print_page

    (tmp_path / "page.html").write_text(book.page(chapter(1, "A", prose("Text."))), encoding="utf-8")
    sizes = []
    for size in ("A4", "Letter"):
        print_page(tmp_path / "page.html", tmp_path / "page.pdf", size)
        box = PdfReader(tmp_path / "page.pdf").pages[0].mediabox
        sizes.append((round(box.width), round(box.height)))
    assert sizes == [(595, 842), (612, 792)]


def test_without_a_browser_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """--pdf is refused before the run, with what to install."""
    from streaming_lab.errors import LabError
    from streaming_lab.report.render import paper

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(paper, "MAC_BROWSER", tmp_path / "none")
    with pytest.raises(LabError) as caught:
        paper.find_browser()
    assert caught.value.problem == "--pdf needs Chromium or Chrome, and none was found on the PATH"
    assert "apt-get install chromium" in caught.value.cure


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_the_losses_without_scrolling(browser: Browser, tmp_path: Path, theme: Any) -> None:
    """The number that matters is within 390 pixels, in the colour of failures, and what is cut has a shadow."""
    (tmp_path / "page.html").write_text(
        book.page(chapter(4, "Lose", code("outcome()", "outcome", outputs=[outcomes()]))), encoding="utf-8"
    )
    viewport = {"width": 390, "height": 844}
    with Opened(browser, (tmp_path / "page.html").as_uri(), viewport=viewport, color_scheme=theme) as opened:
        boxes = "[...document.querySelectorAll('td .off')].map(e => e.getBoundingClientRect().right)"
        assert [right < 390 - 24 for right in opened.page.evaluate(boxes)] == [True] * 6
        colours = "e => [getComputedStyle(e).color, getComputedStyle(document.querySelector('thead th')).color]"
        assert len(set(opened.page.locator("td .off").first.evaluate(colours))) == 2
        shadow = "getComputedStyle(document.querySelector('.table[data-scrolls]')).backgroundImage"
        assert opened.page.evaluate(shadow).count("linear-gradient") == 4


def test_code_that_scrolls_has_a_shadow_and_code_that_fits_has_none(browser: Browser, pages: dict[str, str]) -> None:
    """At 1280 pixels, where scroll bars may be hidden."""
    with Opened(browser, pages["passed"]) as opened:
        cued = "[...document.querySelectorAll('pre.code')].map(e => [e.scrollWidth > e.clientWidth + 1, "
        cued += "getComputedStyle(e).backgroundImage.includes('gradient')])"
        found = opened.page.evaluate(cued)
        assert {tuple(one) for one in found} == {(True, True), (False, False)}


def test_the_equation_is_aligned_on_a_phone(browser: Browser, pages: dict[str, str]) -> None:
    """Every number ends at the same place."""
    with Opened(browser, pages["passed"], viewport={"width": 390, "height": 844}) as opened:
        ends = "[...document.querySelectorAll('.equation b')].map(e => Math.round(e.getBoundingClientRect().right))"
        assert len(set(opened.page.evaluate(ends))) == 1


def test_paper_is_wide_enough_for_a_wide_frame(browser: Browser, pages: dict[str, str]) -> None:
    """Nothing is cut at the right edge of the sheet."""
    with Opened(browser, pages["passed"], viewport={"width": 643, "height": 900}) as opened:  # A4 without its margins
        opened.page.emulate_media(media="print")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 643


def test_the_failed_page_leads_to_the_failed_cell(browser: Browser, pages: dict[str, str]) -> None:
    """The verdict's link goes to the cell; its traceback is there, folded."""
    with Opened(browser, pages["failed"]) as opened:
        opened.page.click(".verdict .why a")
        assert opened.page.evaluate("document.querySelector(location.hash).className") == "cell"
        assert opened.page.locator(".chapter.skipped .status").inner_text().startswith("Did not run, because chapter 2")
