"""Markdown, code and outputs from notebooks as HTML that can only be read: no script, no handler, no request."""

import html
import re
from collections.abc import Iterator
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

from streaming_lab.report.allowed import clean
from streaming_lab.report.cells import Anchors
from streaming_lab.report.text import bounded, plain

LEXERS = {
    "python": PythonLexer,
    "py": PythonLexer,
    "bash": BashLexer,
    "sh": BashLexer,
    "json": JsonLexer,
    "yaml": YamlLexer,
}
WIDE = r'<pre class="code".*?</pre>|<figure class="term">.*?</figure>|<div class="table".*?</table></div>'
APART = re.compile(rf"(<h[2-4]\b.*?</h[2-4]>|{WIDE})", re.DOTALL)
NESTED = re.compile(r"<(/?)(?:ul|ol|blockquote)\b")


class Renderer(mistune.HTMLRenderer):
    """Markdown as the page wants it: headings one level down and linked, code highlighted, terminals dark."""

    def __init__(self, anchors: Anchors) -> None:
        super().__init__(escape=False, allow_harmful_protocols=False)
        self.anchors = anchors
        self.parts: list[tuple[str, str]] = []

    def heading(self, text: str, level: int, **_: Any) -> str:
        """A heading that links to itself; second-level ones go into the contents."""
        anchor = self.anchors.take(slug(text))
        if level <= 2:
            self.parts.append((anchor, text))
        tag = f"h{min(level + 1, 4) if level > 1 else 3}"
        return f'<{tag} id="{anchor}"><a href="#{anchor}">{text}</a></{tag}>\n'

    def block_code(self, code: str, info: str | None = None) -> str:
        """A fenced block; `console` is what a person typed and what came back."""
        language = (info or "").split()[0] if info else ""
        if language == "console":
            lines = "\n".join(console(line) for line in code.rstrip("\n").split("\n"))
            return f'<figure class="term"><pre tabindex="0" role="group" aria-label="Terminal">{lines}</pre></figure>\n'
        body = code_as_html(code, language)
        return f'<pre class="code" tabindex="0" role="group" aria-label="Code"><code>{body}</code></pre>\n'

    def table(self, text: str) -> str:
        """A table that scrolls on its own."""
        return f'<div class="table" tabindex="0" role="group" aria-label="Table"><table>{text}</table></div>\n'


def console(line: str) -> str:
    """One line of a terminal."""
    if line.startswith("$ "):
        return f'<span class="p">$ </span><span class="cmd">{html.escape(line[2:])}</span>'
    return html.escape(line)


def slug(text: str) -> str:
    """An anchor from a heading."""
    words = re.sub(r"<[^>]+>", "", text).lower()
    return re.sub(r"[^\w]+", "-", html.unescape(words)).strip("-") or "part"


def markdown(renderer: Renderer) -> Any:
    """A Markdown reader with tables, writing through `renderer`."""
    return mistune.create_markdown(renderer=renderer, plugins=["table", "strikethrough"])


def in_prose(markup: str) -> Iterator[str]:
    """Clean `markup` in pieces: headings, code, terminals and tables on their own, the rest at the width of reading."""
    text, depth = "", 0
    for piece in APART.split(clean(markup)):
        if depth == 0 and APART.fullmatch(piece):
            yield from as_prose(text)
            yield piece
            text = ""
        else:
            text += piece
            depth += sum(-1 if close else 1 for close in NESTED.findall(piece))
    yield from as_prose(text)


def as_prose(text: str) -> Iterator[str]:
    """`text` at the width of reading; nothing for nothing."""
    if text.strip():
        yield f'<div class="prose">\n{text.strip()}\n</div>'


def code_as_html(source: str, language: str = "python") -> str:
    """Highlighted code without a wrapper; everything in it is escaped."""
    lexer = LEXERS.get(language, TextLexer)(stripnl=False)
    return str(highlight(source.rstrip("\n"), lexer, HtmlFormatter(nowrap=True))).rstrip("\n")


def terminal(text: str, title: str, where: str = "") -> str:
    """Text as a program wrote it, bounded and escaped, with a note on what is left out."""
    shown = bounded(text)
    note = f'<p class="left">{html.escape(shown.note + where)}</p>' if shown.note else ""
    return f'<pre tabindex="0" role="group" aria-label="{html.escape(title)}">{html.escape(shown.text)}</pre>{note}'


def failure(output: Any) -> str:
    """An error's name and message."""
    name, message = html.escape(plain(output.ename)), html.escape(bounded(output.evalue).text)
    return f'<pre><span class="ename">{name}</span>{": " if message else ""}{message}</pre>'


def traceback_text(output: Any) -> str:
    """A traceback without its colours."""
    return "\n".join(output.traceback)


def traceback_title(output: Any) -> str:
    """The folded traceback's line."""
    count = len(traceback_text(output).splitlines())
    return f"Traceback, {count} line{'s' * (count != 1)}"


def image(data: str, kind: str, alt: str) -> str:
    """A picture inside the page."""
    data = re.sub(r"[^A-Za-z0-9+/=]", "", data)
    return (
        f'<div class="output-image"><img src="data:{kind};base64,{html.escape(data)}" alt="{html.escape(alt)}"></div>'
    )
