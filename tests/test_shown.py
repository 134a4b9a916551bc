"""Whatever a notebook shows, the page shows, or a line says what is missing and why."""

import base64
import html
import re
from pathlib import Path
from typing import Any

import book
import pytest
from book import chapter, code, prose, shown

from streaming_lab.report.render import pictures, vega
from streaming_lab.report.render.mathml import math_to_html
from streaming_lab.report.render.sanitize import inline_styles, sanitize
from streaming_lab.report.render.tables import mark_cells

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
BAR = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.1.0.json",
    "title": "Swords",
    "data": {"values": [{"guild": "owls", "n": 3}, {"guild": "foxes", "n": 5}]},
    "mark": "bar",
    "encoding": {"x": {"field": "guild", "type": "nominal"}, "y": {"field": "n", "type": "quantitative"}},
}


def body(page: str) -> str:
    """Return the page's main part without its provenance."""
    return page.split("<main>")[1].split('id="provenance"')[0]


def of_output(data: dict[str, Any], **metadata: Any) -> str:
    """Render the page of one cell with one output."""
    return body(book.page(chapter(5, "Own", code("1", "one", outputs=[shown(data, **metadata)]))))


def of_prose(text: str, folder: Path | None = None, attachments: dict[str, Any] | None = None) -> str:
    """Render the page of one cell of Markdown; `folder` has the pictures beside the notebook."""
    cell = prose(text)
    if attachments:
        cell["attachments"] = attachments
    return body(book.page(chapter(5, "Own", cell), folder=folder))


def left_out(page: str) -> list[str]:
    """Return the lines that say what the page leaves out."""
    return [html.unescape(line) for line in re.findall(r'class="left">([^<]*)<', page)]


@pytest.mark.parametrize("kind", ["html", "mimetype"])
def test_a_chart_of_ones_own_is_a_drawing(kind: str) -> None:
    """An Altair chart, as its default renderer leaves it or as its specification, is SVG in the page."""
    import altair as alt

    bundle = (
        alt.Chart.from_dict(BAR)._repr_mimebundle_() if kind == "html" else {"application/vnd.vegalite.v6+json": BAR}
    )
    page = of_output({**(bundle[0] if isinstance(bundle, tuple) else bundle), "text/plain": "alt.Chart(...)"})
    assert '<div class="drawing" role="img" aria-label="Swords"><svg aria-hidden="true"' in page
    assert re.findall(r">(owls|foxes)</text>", page) == ["foxes", "owls"]
    assert ("alt.Chart" in page, left_out(page)) == (False, [])


def test_a_chart_with_characters_that_xml_does_not_know_ends_no_report() -> None:
    """vl-convert aborts its process on a NUL in a label; the chart is drawn without it."""
    values = [{"guild": "ow\x00ls\ufffe\u2028", "n": 3}]
    assert r">ow\x00ls\ufffe\u2028<" in vega.draw_chart({**BAR, "data": {"values": values}})


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/events.csv", "file:///etc/passwd", "../events.csv"])
def test_a_chart_fetches_nothing(address: str) -> None:
    """A chart whose data is at an address is left out, with the reason."""
    page = of_output({"application/vnd.vegalite.v5+json": {**BAR, "data": {"url": address}}, "text/plain": "x"})
    assert left_out(page) == [
        f"left out here: a chart, because it could not be drawn here (its data is at {address}, and the report fetches "
        "nothing: read the data with pandas first); all of it is in 05-own.ipynb"
    ]


def test_two_charts_share_no_id() -> None:
    """Ids within drawings carry the cell's number, so that a clip path of one is not taken for another's."""
    svg = '<svg><defs><clipPath id="c"><rect/></clipPath><path id="m"/></defs>'
    svg += '<g clip-path="url(#c)"/><use xlink:href="#m"/></svg>'
    cells = [code("1", name, outputs=[shown({"image/svg+xml": svg})]) for name in ("one", "two")]
    page = body(book.page(chapter(5, "Own", *cells)))
    assert re.findall(r'(?:id="|url\(#|href="#)(d5[\w-]*)', page) == [
        *("d5-1-c", "d5-1-m", "d5-1-c", "d5-1-m"),
        *("d5-2-c", "d5-2-m", "d5-2-c", "d5-2-m"),
    ]


def test_a_drawing_can_not_multiply_itself() -> None:
    """`use` repeats a shape only: nested groups would grow without bound."""
    svg = '<svg><path id="m" d="M0 0"></path><g id="a"><use href="#m"></use><use href="#m"></use></g>'
    svg += '<use href="#a"></use></svg>'
    assert sanitize(svg).count("<use") == 2


def test_pictures_are_embedded(tmp_path: Path) -> None:
    """A file beside the notebook, one with a space, an attachment and an image tag with a width."""
    (tmp_path / "pic.png").write_bytes(PNG)
    (tmp_path / "my plan.svg").write_text('<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>')
    encoded = base64.b64encode(PNG).decode()
    page = of_prose(
        '![a](pic.png) ![b](my%20plan.svg) ![c](attachment:c.png) <img src="pic.png" width="120" alt="d">',
        tmp_path,
        {"c.png": {"image/png": encoded}},
    )
    images = re.findall(r"<img[^>]*>", page)
    assert [re.search(r'alt="(.)"', image)[1] for image in images] == ["a", "b", "c", "d"]  # type: ignore[index]
    assert [re.search(r"data:(image/[\w+]+)", image)[1] for image in images] == [  # type: ignore[index]
        *("image/png", "image/svg+xml", "image/png", "image/png")
    ]
    assert [encoded in image for image in images] == [True, False, True, True]
    assert 'width="120"' in images[3]
    assert left_out(page) == []


def test_each_picture_that_is_left_out_has_a_line(tmp_path: Path) -> None:
    """Too large, missing, outside the folder, no picture, on another server, not attached."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "big.png").write_bytes(PNG + bytes(5_000_000))
    (folder / "notes.png").write_text("password")
    (tmp_path / "outside.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    names = [
        "big.png",
        "gone.png",
        "../outside.png",
        "link.png",
        "notes.png",
        "https://example.com/x.png",
        "attachment:a",
    ]
    page = of_prose(" ".join(f"![x]({name})" for name in names), folder)
    assert left_out(page) == [
        "picture left out: big.png has 5.0 MB, more than 2 MB: make it smaller",
        "picture left out: gone.png was not found beside the notebook",
        "picture left out: ../outside.png is outside the notebook's folder: put it beside the notebook",
        "picture left out: link.png is outside the notebook's folder: put it beside the notebook",
        "picture left out: notes.png is no PNG, JPEG, GIF, WebP, AVIF or SVG file",
        "picture left out: https://example.com/x.png is on another server, and this page makes no request",
        "picture left out: a is not attached to its cell",
    ]
    assert "<img" not in page


def test_pictures_fill_the_page_only_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the page's room for pictures is taken, each further one is a line."""
    monkeypatch.setattr(pictures, "PICTURE_ROOM", 200)
    encoded = base64.b64encode(PNG).decode()
    page = body(book.page(chapter(5, "Own", *(code("1", n, outputs=[shown({"image/png": encoded})]) for n in "abc"))))
    assert (page.count("<img"), ["pictures already" in line for line in left_out(page)]) == (2, [True])


def test_formulas_are_mathml() -> None:
    """Inline, display, an environment, and what only looks like one."""
    page = of_prose(
        "$e^{i\\pi}+1=0$, $5 and $6, `$x$`\n\n$$\\sum_i x_i$$\n\n\\begin{align}\na &= b\n\\end{align}\n\n"
        "- in $x^2$ a list"
    )
    assert re.findall(r'<(\w+) class="math"><math display="(\w+)">', page) == [
        *(("span", "inline"), ("div", "block"), ("div", "block"), ("span", "inline"))
    ]
    assert "$5 and $6, <code>$x$</code>" in page
    assert "<msup><mi>e</mi><mrow><mi>i</mi><mi>π</mi></mrow></msup>" in page


@pytest.mark.parametrize(
    ("latex", "reason"),
    [
        ("\\unheard{x}", "using \\unheard, which has no MathML form here"),
        ("\\frac{1}{", "malformed (NoAvailableTokensError)"),
        ("x" * 6000, "longer than 5,000 characters"),
    ],
)
def test_latex_without_a_form_stays_as_text(latex: str, reason: str) -> None:
    """The source is there, with the reason beside it."""
    assert math_to_html(latex, display=False) == (
        f'<span class="math"><code>{latex}</code> <span class="left">'
        f"LaTeX shown as text, because it is {reason}</span></span>"
    )


def test_the_text_of_a_formula_is_text() -> None:
    """The converter does not escape; the page does."""
    made = math_to_html("a < b \\text{ if <img src=x> & y}", display=False)
    assert "<mo>&#x0003C;</mo>" in made
    assert "&lt;img" in made
    assert "&amp;" in made
    assert "<img" not in made


def test_latex_outputs_are_formulas() -> None:
    """sympy's and IPython's LaTeX, not their plain text or picture."""
    page = of_output({"text/latex": "$\\displaystyle x^{2}$", "image/png": "iVBORw0KGgo=", "text/plain": "x**2"})
    assert "<msup><mi>x</mi>" in page
    assert ("<img" in page, "x**2" in page) == (False, False)


def test_footnotes_and_tasks_are_drawn() -> None:
    """Footnotes of two cells have anchors of their own; a task's box cannot be clicked."""
    text = "A[^1] and B[^1].\n\n- [ ] open\n- [x] done\n\n[^1]: The note."
    page = body(book.page(chapter(5, "Own", prose(text), prose(text))))
    assert re.findall(r'<li id="(note[\w-]*)">', page) == ["note-1", "note-1-2"]
    assert re.findall(r'href="#(note[\w-]*)"', page) == [
        *("note-1", "note-1", "note-1-ref", "note-1-2", "note-1-2", "note-1-2-ref")
    ]
    assert re.findall(r'aria-label="(to do|done)">(.)<', page)[:2] == [("to do", "☐"), ("done", "☑")]
    assert ("[^1]" in page, "<input" in page) == (False, False)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider()"},
            "a widget, which needs a live notebook",
        ),
        ({"application/javascript": "alert(1)"}, "a script: the page runs none but its own"),
        ({"text/html": "<div><script>plot()</script></div>", "text/plain": "Figure()"}, "a script"),
        ({"text/html": "<iframe src='http://x'></iframe>"}, "a frame with another page"),
        ({"text/html": "<audio controls></audio><button>hi</button>"}, "sound or video, a form"),
        ({"application/pdf": "JVBE"}, "a PDF"),
        (
            {"application/vnd.plotly.v1+json": {"data": []}, "text/html": "<div><script>plot()</script></div>"},
            "a Plotly figure, which needs a script; figure.to_image() makes a picture of it",
        ),
        (
            {"application/vnd.bokehjs_exec.v0+json": "", "text/html": "<div id=b>loading</div>", "text/plain": "F"},
            "a Bokeh figure, which needs a script; export_png makes a picture of it",
        ),
        ({"application/x-unheard": "1"}, "an output of type application/x-unheard"),
    ],
)
def test_each_output_that_is_left_out_has_a_line(data: dict[str, Any], said: str) -> None:
    """The line names what is missing and the notebook that has it."""
    assert left_out(of_output(data)) == [f"left out here: {said}; all of it is in 05-own.ipynb"]


def test_a_frame_in_prose_has_a_line_and_a_button_leaves_no_text() -> None:
    """What an author wrote as HTML is named as well; nothing of a button stays."""
    page = of_prose("<iframe src='http://x'></iframe>\n\n<button>hi&lt;b&gt;</button>")
    assert left_out(page) == ["left out here: a frame with another page, a form; all of it is in 05-own.ipynb"]
    assert "hi" not in re.sub(r"<[^>]*>", "", page.split('<p class="status">')[1].split("left out")[0])


def test_what_has_no_picture_shows_its_picture() -> None:
    """An HTML form that is only a script gives way to the drawing beside it."""
    picture = {"image/png": base64.b64encode(PNG).decode()}
    page = of_output({"text/html": "<script>plot()</script>", **picture})
    assert 'src="data:image/png;base64,' in page
    page = of_output({"application/vnd.plotly.v1+json": {}, **picture}, **{"image/png": {"width": 300}})
    assert re.findall(r'<img src="data:image/png[^>]* width="300">', page)
    assert left_out(page) == []


def test_a_styled_frame_keeps_its_colours() -> None:
    """pandas' Styler names cells by id in a style sheet, which is taken out: its rules move into the cells."""
    markup = '<style>#T_1_row0_col0, #T_1_row1_col0 { background-color: gold; }</style><td id="T_1_row1_col0">1</td>'
    assert sanitize(inline_styles(f"<table><tr>{markup}</tr></table>")).count("background-color:gold") == 1


@pytest.mark.parametrize(
    ("cell", "marked"),
    [
        ("<td>1,234.5</td>", '<td class="num">1,234.5</td>'),
        ('<td class="n">2</td>', '<td class="n num">2</td>'),
        (f"<td>{'x' * 21}</td>", f'<td class="wraps">{"x" * 21}</td>'),
        ("<td>player-06</td>", '<td class="short">player-06</td>'),
        ("<th>after de-duplication</th>", "<th>after de-duplication</th>"),
        ("<td>two words</td>", "<td>two words</td>"),
    ],
)
def test_cells_say_what_they_hold(cell: str, marked: str) -> None:
    """Numbers and ids never break, long words may."""
    assert mark_cells(cell) == marked
