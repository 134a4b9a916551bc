"""The page in a real browser: no request, no error, accessible, complete on paper."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import book
import pytest
from axe_core_python.sync_playwright import Axe
from book import chapter, code, prose, raised, shown, stream
from peers import needs
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfReader

from streaming_lab.analysis.display import FIGURE, Figure, Table, TableColumn, number
from streaming_lab.analysis.ledger import Gap, Ledger, RequestThread
from streaming_lab.report.record import ChapterRecord, Failure

pytestmark = pytest.mark.slow  # a browser

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
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
        code("charts.events(rows)", "chart", outputs=[figure("Events per second")]),
        code("charts.more(rows)", "chart-2", outputs=[figure("Events per player")]),
        code("rows", "frame", outputs=[wide_frame()]),
        code(f"x = '{'long ' * 60}lastword'", "long", outputs=[stream("word " * 60 + "endword\n")]),
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
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    found = str(MAC) if MAC.exists() else needs(*CHROMIUM)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if root else [])
        yield chromium
        chromium.close()


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


@pytest.mark.parametrize("name", ["passed", "failed"])
def test_a_phone_scrolls_in_one_direction(browser: Browser, pages: dict[str, str], name: str) -> None:
    """Wide tables and code scroll in their own boxes; the page does not."""
    with Opened(browser, pages[name], viewport=PHONE) as opened:
        opened.open_all()
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert opened.page.evaluate("document.querySelector('.table:has(.dataframe)').hasAttribute('data-scrolls')")


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
