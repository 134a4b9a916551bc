"""Turns Markdown and code from notebooks into HTML: prose at reading width, headings linked, code highlighted."""

import html
import re
from collections.abc import Callable, Iterator
from typing import Any

import mistune
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import (  # type: ignore[import-untyped]
    BashLexer,
    JsonLexer,
    PythonLexer,
    TextLexer,
    YamlLexer,
)

from streaming_lab.report.render.cell_view import Anchors
from streaming_lab.report.render.mathml import register_math
from streaming_lab.report.render.sanitize import sanitize
from streaming_lab.report.render.tables import mark_cells

LEXERS = {
    "python": PythonLexer,
    "py": PythonLexer,
    "bash": BashLexer,
    "sh": BashLexer,
    "json": JsonLexer,
    "yaml": YamlLexer,
}
WIDE_TABLE = r'<pre class="code".*?</pre>|<figure class="term">.*?</figure>|<div class="table".*?</table></div>'
APART = re.compile(rf"(<h[2-4]\b.*?</h[2-4]>|{WIDE_TABLE})", re.DOTALL)
NESTED = re.compile(r"<(/?)(?:ul|ol|blockquote)\b")


class Renderer(mistune.HTMLRenderer):
    """Renders Markdown for the page: headings one level down and linked, code highlighted, terminals dark."""

    def __init__(self, anchors: Anchors) -> None:
        super().__init__(escape=False, allow_harmful_protocols=["attachment:"])
        self.anchors = anchors
        self.footnote_anchors: dict[str, str] = {}
        self.parts: list[tuple[str, str]] = []

    def heading(self, text: str, level: int, **_: Any) -> str:
        """Render a heading that links to itself; second-level headings go into the contents."""
        anchor = self.anchors.take(slug(text))
        if level <= 2:
            self.parts.append((anchor, text))
        tag = f"h{min(level + 1, 4) if level > 1 else 3}"
        return f'<{tag} id="{anchor}"><a href="#{anchor}">{text}</a></{tag}>\n'

    def block_code(self, code: str, info: str | None = None) -> str:
        """Render a fenced block; `console` shows commands and their output."""
        language = (info or "").split()[0] if info else ""
        if language == "console":
            lines = "\n".join(console_html(line) for line in code.rstrip("\n").split("\n"))
            return f'<figure class="term"><pre tabindex="0" role="group" aria-label="Terminal">{lines}</pre></figure>\n'
        body = code_as_html(code, language)
        return f'<pre class="code" tabindex="0" role="group" aria-label="Code"><code>{body}</code></pre>\n'

    def table(self, text: str) -> str:
        """Render a table that scrolls on its own."""
        return f'<div class="table" tabindex="0" role="group" aria-label="Table"><table>{text}</table></div>\n'

    def task_list_item(self, text: str, checked: bool = False) -> str:
        """Render an item of a task list: a box with or without its tick, nothing to click on."""
        box, state = ("\u2611", "done") if checked else ("\u2610", "to do")
        return f'<li class="task"><span role="img" aria-label="{state}">{box}</span> {text}</li>\n'

    def footnote_ref(self, key: str, index: int) -> str:
        """Render a footnote's number; its anchors are unique on the page."""
        if key not in self.footnote_anchors:
            self.footnote_anchors[key] = self.anchors.take(f"note-{index}")
            place = f' id="{self.footnote_anchors[key]}-ref"'
        else:
            place = ""
        return f'<sup class="footnote"{place}><a href="#{self.footnote_anchors[key]}">{index}</a></sup>'

    def footnote_item(self, text: str, key: str, index: int) -> str:
        """Render a footnote, with a link back to its number."""
        anchor = self.footnote_anchors.pop(key, "") or self.anchors.take(f"note-{index}")
        back = f' <a href="#{anchor}-ref" aria-label="Back to the text">\u21a9</a>'
        text = text.rstrip()
        text = f"{text[:-4]}{back}</p>" if text.endswith("</p>") else text + back
        return f'<li id="{anchor}">{text}</li>\n'

    def footnotes(self, text: str) -> str:
        """Render the footnotes of a cell."""
        return f'<div class="footnotes" role="group" aria-label="Footnotes"><ol>{text}</ol></div>\n'


def console_html(line: str) -> str:
    """Render one line of a terminal."""
    if line.startswith("$ "):
        return f'<span class="p">$ </span><span class="cmd">{html.escape(line[2:])}</span>'
    return html.escape(line)


def slug(text: str) -> str:
    """Make an anchor of a heading."""
    words = re.sub(r"<[^>]+>", "", text).lower()
    return re.sub(r"[^\w]+", "-", html.unescape(words)).strip("-") or "part"


def markdown_to_html(renderer: Renderer) -> Any:
    """Make a Markdown parser with tables, task lists, footnotes and formulas that writes through `renderer`."""
    plugins: list[Any] = ["table", "strikethrough", "task_lists", "footnotes", register_math]
    return mistune.create_markdown(renderer=renderer, plugins=plugins)


def split_prose(markup: str, clean: Callable[[str], str] = sanitize) -> Iterator[str]:
    """Yield sanitized `markup` in pieces: headings, code, terminals and tables on their own, the rest as prose."""
    text, depth = "", 0
    for piece in APART.split(mark_cells(clean(markup))):
        if depth == 0 and APART.fullmatch(piece):
            yield from wrap_prose(text)
            yield piece
            text = ""
        else:
            text += piece
            depth += sum(-1 if close else 1 for close in NESTED.findall(piece))
    yield from wrap_prose(text)


def wrap_prose(text: str) -> Iterator[str]:
    """Yield `text` at reading width; nothing when it is blank."""
    if text.strip():
        yield f'<div class="prose">\n{text.strip()}\n</div>'


def code_as_html(source: str, language: str = "python") -> str:
    """Highlight code, without a wrapper; the highlighter escapes everything."""
    lexer = LEXERS.get(language, TextLexer)(stripnl=False)
    return str(highlight(source.rstrip("\n"), lexer, HtmlFormatter(nowrap=True))).rstrip("\n")
