"""The page shows every output, bounded in size and sanitized."""

import re

import book
import pytest
from book import chapter, code, prose, raised, shown, stream

from streaming_lab.analysis.theme import COLOURS
from streaming_lab.report.record import Failure
from streaming_lab.report.render import terminal_text
from streaming_lab.report.render.page import styles
from streaming_lab.report.render.sanitize import sanitize


def only(*outputs: object, source: str = "1", id: str = "one", tags: tuple[str, ...] = ()) -> str:
    """Render the page of a run with one cell and these outputs."""
    return book.page(chapter(1, "Only", code(source, id, *tags, outputs=list(outputs))))


def pre(page: str) -> list[str]:
    """The texts of the page's outputs."""
    return re.findall(r"<pre [^>]*Output of cell[^>]*>(.*?)</pre>", page, re.DOTALL)


def test_the_head_says_verdict_title_and_time_in_utc() -> None:
    """The tab's title begins with the verdict; the date is UTC."""
    page = only()
    assert "<title>Passed: From request to row, lab report 09</title>" in page
    assert "24 November 2026, 22:14 UTC" in page
    assert "24 November 2026, 22:14:02 to 22:14:17 UTC (14.8 s), exit code 0" in page


def test_a_cell_has_its_number_and_its_own_id_as_anchor() -> None:
    """Cell ids are stable, so links to a cell of the report stay good."""
    page = only(id="start-cluster")
    assert '<a class="count" href="#start-cluster" aria-label="Cell 1.1, start-cluster">1.1</a>' in page


def test_no_id_is_used_twice() -> None:
    """Two chapters with the same cell ids and headings, and one named like the page's own parts."""
    cells = [code("1", "imports", "machinery"), prose("## Provenance\n\ntext"), code("2", "verdict")]
    page = book.page(chapter(1, "One", *cells), chapter(2, "One", *cells))
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert sorted(ids) == sorted(set(ids))


def test_links_in_the_contents_lead_somewhere() -> None:
    """Chapters and their parts are in the table of contents."""
    page = book.page(chapter(1, "One", prose("## A *part*\n\ntext\n\n### Too deep")))
    ids = set(re.findall(r'\sid="([^"]+)"', page))
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= ids
    assert '<a href="#a-part">A <em>part</em></a>' in page.split("</nav>")[0]


@pytest.mark.parametrize(
    ("tags", "source", "said"),
    [
        (("machinery",), "import a\nimport b", "Imports, 2 lines"),
        (("machinery",), "x = 1", "Code, 1 line"),
        (("parameters",), "seed: int = 1", "Parameters, 1 line"),
        (("injected-parameters",), "seed = 1\nx = 2", "Parameters as given, 2 lines"),
    ],
)
def test_machinery_is_one_quiet_line(tags: tuple[str, ...], source: str, said: str) -> None:
    """Imports and parameters are folded under a line that says what they are."""
    assert f"<summary>{said}</summary>" in only(source=source, tags=tags)


def test_hidden_tests_and_readings_show_no_code() -> None:
    """A test that only guards prose is left out; a computed sentence is prose."""
    sentence = shown({"text/markdown": "**3** rows", "text/plain": "<Markdown>"})
    page = book.page(
        chapter(
            1,
            "A",
            code("assert True, 'guard'", "guard", "test"),
            code("Markdown(f'{n} rows')", "say", outputs=[sentence]),
        )
    )
    assert "guard" not in page
    assert "Markdown(" not in page
    assert "<strong>3</strong> rows" in page


def test_a_failed_hidden_test_is_shown() -> None:
    """A failed cell is never hidden."""
    failure = Failure("error", "AssertionError: three", "guard", "1.1")
    cell = code("assert rows == 3", "guard", "test", outputs=[raised("AssertionError", "three", "line 1", "line 2")])
    page = book.page(chapter(1, "A", cell, failure=failure))
    assert 'href="#guard"' in page
    assert "rows" in page
    assert '<span class="ename">AssertionError</span>: three' in page
    assert "<summary>Traceback, 2 lines</summary>" in page


def test_a_failure_without_a_traceback_is_told_in_its_cell() -> None:
    """The page shows the failure of a kernel that died without a traceback."""
    failure = Failure("kernel death", "the kernel died: SIGKILL (-9)", "die", "1.1")
    page = book.page(chapter(1, "A", code("die()", "die"), code("2", "next"), failure=failure))
    assert '<p class="who">Failure in cell 1.1</p><pre>the kernel died: SIGKILL (-9)</pre>' in page
    assert "The cell below did not run." in page


def test_seventeen_megabytes_are_shown_as_a_hundred_lines() -> None:
    """The page stays small and says how much there was and where it is."""
    page = only(stream("".join(f"line {number:06d} {'x' * 43}\n" for number in range(300_000))))
    assert len(page) < 2_000_000
    assert "17 MB, first and last 50 lines shown; all of it is in 01-only.ipynb" in page
    lines = pre(page)[0].split("\n")
    assert [lines[0][:11], lines[49][:11], lines[50], lines[51][:11], lines[-1][:11]] == [
        "line 000000",
        "line 000049",
        "⋮ 299,900 lines",
        "line 299950",
        "line 299999",
    ]


@pytest.mark.parametrize("one", ["x" * 17_000_000, "x\r" * 8_500_000, "\b" * 17_000_000, "\x1b[" * 8_500_000])
def test_one_endless_line_is_cut_in_time(one: str) -> None:
    """Seventeen megabytes without a line end: cut, said, and no expression runs away."""
    shown, note = terminal_text.bounded_text(one)
    assert len(shown) < 3 * terminal_text.WIDTH
    assert note.startswith("17 MB") or shown == "x"


@pytest.mark.slow
def test_many_outputs_do_not_make_a_large_page() -> None:
    """When the page is full, each further output is one line."""
    table = "<table>" + "<tr><td>some cell</td></tr>" * 4000 + "</table>"
    page = only(*[shown({"text/html": table, "text/plain": "t"}) for _ in range(100)])
    assert len(page) < 2_000_000
    assert "left out here, the page is full: all of it is in 01-only.ipynb" in page


def test_a_giant_table_falls_back_to_its_text() -> None:
    """One HTML output of more than 0.4 MB is not worth a slow page."""
    page = only(shown({"text/html": "<table>" + "<tr><td>x</td></tr>" * 100_000 + "</table>", "text/plain": "as text"}))
    assert pre(page) == ["as text"]
    assert "1.9 MB of HTML not shown" in page


def test_carriage_returns_are_applied() -> None:
    """A hundred states of a progress bar are one line, the last; pieces of a stream are one text."""
    states = [stream(f"\r{number:3d}% |{'#' * (number // 10):10}|", "stderr") for number in range(101)]
    assert pre(only(*states, stream("\n", "stderr"))) == ["100% |##########|"]


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "link"),
        ("long text\rshort", "shorttext"),
        ("long text\r\x1b[Kshort", "short"),
        ("a\r\n", "a"),
        ("abc\b\bX", "aX"),
        ("bell\x07 null\x00", "bell␇ null␀"),
        ("\u202edrows", "\\u202edrows"),
        ("\ttab", "\ttab"),
    ],
)
def test_text_is_what_a_terminal_would_show(raw: str, seen: str) -> None:
    """Escapes and carriage returns are applied, and control characters are visible."""
    assert terminal_text.bounded_text(raw).text == seen


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)><script>alert(1)</script></svg>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
        "<iframe src='http://example.com'></iframe>",
        "<object data='http://example.com'></object>",
        "<form action='http://example.com'><button>x</button></form>",
        "<meta http-equiv=refresh content='0;url=http://example.com'>",
        "<link rel=stylesheet href=http://example.com>",
        "<style>@import 'http://example.com'</style>",
        "<div style='background:url(http://example.com)'>x</div>",
        "<svg><image href='http://example.com'/><use href='http://example.com#x'/></svg>",
        "<rect fill='url(http://example.com#x)'/>",
        "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)></style></mglyph></math>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
        "<div style='fill:\\75rl(http://example.com)'>x</div>",
        "<svg><rect clip-path='\\75rl(http://example.com#x)' fill='\\000075 rl(http://example.com)'/></svg>",
        "<div style='background:image-set(\"http://example.com/x.png\" 1x)'>x</div>",
        "<div style='background:src(\"http://example.com\")'>x</div>",
        "<svg><use href='data:image/svg+xml,<svg onload=alert(1)>#x'/></svg>",
        "<svg><image href='data:image/svg+xml,<svg onload=alert(1)/>'/></svg>",
        "<svg><set attributeName=href to=javascript:alert(1) /><animate onbegin=alert(1) dur=1s /></svg>",
        "<svg><foreignObject><iframe src='http://example.com'></iframe></foreignObject></svg>",
        "<math href='javascript:alert(1)'><maction><mi href='http://example.com'>x</mi></maction></math>",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror=alert(1)&gt;'></math>",
        "<math><annotation-xml encoding='text/html'><img src=x onerror=alert(1)></annotation-xml></math>",
        "<button onclick=alert(1)>hi&lt;b&gt;</button>",
        "$\\href{javascript:alert(1)}{x}$ and $\\text{<img src=x onerror=alert(1)>}$",
        "![x](javascript:alert(1)) ![x](http://example.com/x.png) [x](attachment:a)",
    ],
)
def test_no_output_can_act(evil: str) -> None:
    """No script, handler or fetched address is left, in any kind of output."""
    made = [only(shown({kind: evil, "text/plain": evil})) for kind in ("text/html", "text/markdown", "image/svg+xml")]
    made = [
        page.split("<main>")[1].split("</main>")[0] for page in [*made, only(stream(evil), raised(evil, evil, evil))]
    ]
    for page in made:
        tags = re.findall(r"<[a-z][^>]*>", page)
        acting = r"\son\w+=|javascript:|example\.com|<script|<iframe|<form|<button|\\75|\\000075"
        assert not [tag for tag in tags if re.search(acting, tag)]


def test_an_output_can_not_break_out_of_its_place() -> None:
    """Closing tags that nothing opened are dropped, open ones are closed."""
    assert sanitize("</div></section><b>x") == "<b>x</b>"


def test_a_drawing_keeps_its_form() -> None:
    """Shapes, text, clip paths and tokens as colours pass the sanitizer."""
    svg = (
        '<svg class="wide" viewBox="0 0 1 1" aria-hidden="true"><g clip-path="url(#c)"><path class="band" d="M0 0h1" '
        'fill="var(--t1,#0072b2)"></path><text x="1" text-anchor="end">1</text></g></svg>'
    )
    assert sanitize(svg) == svg


def test_every_token_of_the_stylesheet_is_defined_once() -> None:
    """Every token that the rules use is defined once, by the page or by the drawings' theme."""
    rules = styles()
    screen = rules[: rules.index("@media print")]
    defined = re.findall(r"^  --([\w-]+):", screen, re.MULTILINE)
    assert set(re.findall(r"var\(--([\w-]+)\)", rules)) - set(defined) == set()
    assert len(defined) == len(set(defined))
    assert {*COLOURS} <= set(defined)


def test_a_figure_is_drawn_as_the_page_has_it_and_numbered() -> None:
    """A chart in a notebook is a figure on the page, with its data; no placeholder of Vega's."""
    from streaming_lab.analysis.display import FIGURE, Figure, Table, TableColumn, number

    data = Table("Events", (TableColumn("type"), number("n")), (("default", 3),))
    figure = Figure(
        "Events", "in all", "A bar of 3.", "<svg class='wide'></svg>", "<svg class='narrow'></svg>", "Three.", data
    )
    bundle = {FIGURE: figure.html(), "application/vnd.vegalite.v5+json": {"data": {}}, "text/plain": "alt.Chart(...)"}
    page = only(shown({"text/html": data._repr_html_()}), shown(bundle), shown(bundle))
    assert re.findall(r"<b>((?:Table|Figure) \d+\. \w+)</b>", page) == [
        "Table 1. Events",
        "Figure 1. Events",
        "Figure 2. Events",
    ]
    assert "alt.Chart" not in page
    assert page.count("vegalite") == 0


def test_images_keep_their_alternative_text() -> None:
    """nbconvert's own template drops it."""
    page = only(shown({"image/png": "iVBORw0KGgo=", "text/plain": "x"}, **{"image/png": {"alt": "A line that rises"}}))
    assert '<img src="data:image/png;base64,iVBORw0KGgo=" alt="A line that rises">' in page


def test_the_policy_names_the_one_script_by_its_hash() -> None:
    """The hash in the policy is that of the script in the page."""
    import base64
    import hashlib

    page = only()
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:" in page


def test_the_page_names_no_address_but_links() -> None:
    """Nothing is loaded, imported or fetched."""
    page = book.page(chapter(1, "A", prose("[KRaft](https://kafka.apache.org/documentation/#kraft)")))
    assert re.findall(r'(?:src|srcset|data|action)="?(?:https?:|//)|import\(|@import|fetch\(', page) == []


def test_the_verdict_has_the_losses_of_every_way() -> None:
    """What chapter 04 found is in the verdict, losses in the colour of failures; without chapter 04 nothing is."""
    rows = [
        {"variant": "fire-and-forget", "answered": 1310, "lost": 1010, "safe": False},
        {"variant": "confirmed", "answered": 1189, "lost": 0, "safe": True},
    ]
    losses = {"experiments": 6, "variants": rows}
    assert "agrees with all 36 of these:" in book.page(chapter(4, "Lose nothing"), losses={**losses, "checked": 36})
    page = book.page(chapter(4, "Lose nothing"), losses=losses)
    head = page.split('id="lose-nothing"')[0].split("<main>")[1]
    assert "Lost after a 200, in 6 experiments with each way to deliver:" in head
    assert "<dt>fire-and-forget</dt><dd class=off>1,010 of 1,310</dd>" in head
    assert "<dt>confirmed</dt><dd>0 of 1,189</dd>" in head
    assert "Lost after a 200" not in book.page(chapter(1, "Start"))


def test_a_failure_of_many_lines_stands_whole_and_once() -> None:
    """Problem, evidence and cure are in the verdict; a chapter that did not run for it refers to them."""
    problem = "there is no cluster: no format (exit code 1). The end of its log:\n  <disk full>\nfree some space"
    skipped = [
        (book.record.ChapterRecord(f"0{n}-c", n, f"C{n}", "skipped", 0.0, (), Failure("set-up", problem)), None)
        for n in (1, 2)
    ]
    page = book.page(*skipped)
    assert (
        page.count("\n  &lt;disk full&gt;\nfree some space</pre>")
        + page.count(">  &lt;disk full&gt;\nfree some space</pre>")
        == 1
    )
    assert "The end of its log.</span>" in page
    assert page.count('The end of its log. <a href="#verdict">The whole message</a> is above.') == 2


def test_chapters_that_did_not_run_say_why() -> None:
    """The reason is on the page, in place of the chapter."""
    failed, notebook = chapter(1, "A", code("1/0", "x"), failure=Failure("error", "ZeroDivisionError", "x", "1.1"))
    skipped = book.record.ChapterRecord("02-b", 2, "B", "skipped", 0.0, (), Failure("set-up", "chapter 1 failed"))
    page = book.page((failed, notebook), (skipped, None))
    assert "<strong>Did not run</strong>, because chapter 1 failed." in page
    assert "Chapter 2 did not run. The exit code is 1." in page
