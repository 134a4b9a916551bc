"""Markdown, code and outputs from notebooks as HTML that can only be read: no script, no handler, no request."""

import html
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import mistune
import nh3
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

# Text from outside, made fit to be shown: escapes removed, carriage returns applied, length bounded.


LINES = 50  # of the beginning, and as many of the end
WIDTH = 2_000  # characters of one line
LONGEST_LINE = 100_000  # characters of one line that are looked at for carriage returns
ERASE = re.compile(r"\x1b\[[012]?K")
ANSI = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|\[[0-?]*[ -/]*[@-~]|[ -/]*[0-Z\\^-~])")
CONTROL = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {127: "\u2421"}
DIRECTION = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)}
VISIBLE = CONTROL | DIRECTION


class Bounded(NamedTuple):
    """What of a text is shown, and a note on what is not (empty when all is)."""

    text: str
    note: str


def bounded_text(text: str) -> Bounded:
    """The first and last 50 lines of `text` as a terminal would show them, long lines cut."""
    lines = text.removesuffix("\n").split("\n")
    notes = []
    if len(lines) > 2 * LINES:
        left = len(lines) - 2 * LINES
        notes.append(f"first and last {LINES} lines shown")
        lines = [*lines[:LINES], f"\u22ee {left:,} lines", *lines[-LINES:]]
    shown = [as_terminal(line) for line in lines]
    if any(was_cut for _, was_cut in shown):
        notes.append(f"lines cut at {WIDTH:,} characters")
    return Bounded("\n".join(line for line, _ in shown), ", ".join([size_of_text(text), *notes]) if notes else "")


def as_terminal(line: str) -> tuple[str, bool]:
    """One line as it stands when all has been written (escapes gone, overwriting done), and whether it was cut."""
    if "\r" in line:
        line = overwritten(line[-LONGEST_LINE:])
    if len(line) <= LONGEST_LINE:
        line = visible_text(line)
    if len(line) <= WIDTH:
        return line, False
    return f"{visible_text(line[:WIDTH])} \u2026 {len(line) - WIDTH:,} characters", True


def overwritten(line: str) -> str:
    """What carriage returns leave of a line: each part covers the one before it, as far as it reaches."""
    now = ""
    for part in line.removesuffix("\r").split("\r"):
        new = visible_text(part)
        now = new if ERASE.search(part) else new + now[len(new) :]
    return now


def visible_text(text: str) -> str:
    """`text` without terminal escapes; other control characters, and those that turn text around, become visible."""
    text = ANSI.sub("", text)
    while "\b" in text:
        shorter = re.sub(r"[^\x08]\x08", "", text).lstrip("\b")
        if shorter == text:
            break
        text = shorter
    return text.translate(VISIBLE)


def size_of_text(text: str) -> str:
    """How much text that is: 512 bytes, 3 kB, 17 MB."""
    count = len(text.encode("utf-8", "surrogatepass"))
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB" if count >= 1e3 else f"{count} bytes"


# What an output may put on the page: names of HTML and SVG that only show. Anything else is taken out.


SVG = """
svg g path text tspan rect circle ellipse line polyline polygon defs clipPath linearGradient radialGradient stop title
desc marker mask pattern
"""
HTML = "figure figcaption section small details summary"
EVERYWHERE = "class id role tabindex title lang dir style scope colspan rowspan open"
SHAPES = """
viewBox width height x y x1 x2 y1 y2 cx cy r rx ry d points dx dy transform preserveAspectRatio offset fill fill-opacity
fill-rule stroke stroke-width stroke-opacity stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin
stroke-miterlimit opacity clip-path clip-rule clipPathUnits gradientUnits gradientTransform stop-color stop-opacity
text-anchor dominant-baseline font-family font-size font-weight font-style letter-spacing paint-order vector-effect
"""
STYLES = """
width min-width max-width height text-align vertical-align white-space color font-weight font-style font-size fill
stroke stroke-width stroke-dasharray opacity text-anchor display overflow-wrap paint-order
"""
NO_PICTURE = re.compile(r"<img(?![^>]*\ssrc=)[^>]*>")
OWN_ANCHOR = re.compile(r"url\([\"']?#[\w-]+[\"']?\)")


def is_harmless(tag: str, name: str, value: str) -> str | None:
    """Addresses only where a reader clicks, and pictures only inside the page: nothing fetches anything."""
    if tag == "img" and name == "src":
        return value if value.startswith("data:image/") else None
    if name == "href" and value.lstrip().lower().startswith("data:"):
        return None
    if "url(" in value.replace(" ", "").lower() and not OWN_ANCHOR.fullmatch(value):
        return None
    return value


SANITIZER = nh3.Cleaner(
    tags=(nh3.ALLOWED_TAGS | set(SVG.split()) | set(HTML.split())) - {"map", "area"},
    clean_content_tags={"script", "style", "noscript", "template"},
    attributes={"*": set((EVERYWHERE + SHAPES).split()), "a": {"href"}, "img": {"src", "alt"}, "ol": {"start"}},
    generic_attribute_prefixes={"data-", "aria-"},
    url_schemes={"http", "https", "mailto", "data"},
    attribute_filter=is_harmless,
    filter_style_properties=set(STYLES.split()),
    link_rel=None,
    strip_comments=True,
)


def sanitize(markup: str) -> str:
    """`markup` reduced to what is allowed, and balanced; of a picture from elsewhere nothing is left."""
    return NO_PICTURE.sub("", SANITIZER.clean(markup))


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
            lines = "\n".join(console_html(line) for line in code.rstrip("\n").split("\n"))
            return f'<figure class="term"><pre tabindex="0" role="group" aria-label="Terminal">{lines}</pre></figure>\n'
        body = code_as_html(code, language)
        return f'<pre class="code" tabindex="0" role="group" aria-label="Code"><code>{body}</code></pre>\n'

    def table(self, text: str) -> str:
        """A table that scrolls on its own."""
        return f'<div class="table" tabindex="0" role="group" aria-label="Table"><table>{text}</table></div>\n'


def console_html(line: str) -> str:
    """One line of a terminal."""
    if line.startswith("$ "):
        return f'<span class="p">$ </span><span class="cmd">{html.escape(line[2:])}</span>'
    return html.escape(line)


def slug(text: str) -> str:
    """An anchor from a heading."""
    words = re.sub(r"<[^>]+>", "", text).lower()
    return re.sub(r"[^\w]+", "-", html.unescape(words)).strip("-") or "part"


def markdown_to_html(renderer: Renderer) -> Any:
    """A Markdown reader with tables, writing through `renderer`."""
    return mistune.create_markdown(renderer=renderer, plugins=["table", "strikethrough"])


def in_prose(markup: str) -> Iterator[str]:
    """Clean `markup` in pieces: headings, code, terminals and tables on their own, the rest at the width of reading."""
    text, depth = "", 0
    for piece in APART.split(sanitize(markup)):
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


def terminal_html(text: str, title: str, where: str = "") -> str:
    """Text as a program wrote it, bounded and escaped, with a note on what is left out."""
    shown = bounded_text(text)
    note = f'<p class="left">{html.escape(shown.note + where)}</p>' if shown.note else ""
    return f'<pre tabindex="0" role="group" aria-label="{html.escape(title)}">{html.escape(shown.text)}</pre>{note}'


def failure_html(output: Any) -> str:
    """An error's name and message."""
    name, message = html.escape(visible_text(output.ename)), html.escape(bounded_text(output.evalue).text)
    return f'<pre><span class="ename">{name}</span>{": " if message else ""}{message}</pre>'


def traceback_text(output: Any) -> str:
    """A traceback without its colours."""
    return "\n".join(output.traceback)


def traceback_title(output: Any) -> str:
    """The folded traceback's line."""
    count = len(traceback_text(output).splitlines())
    return f"Traceback, {count} line{'s' * (count != 1)}"


def image_html(data: str, kind: str, alt: str) -> str:
    """A picture inside the page."""
    data = re.sub(r"[^A-Za-z0-9+/=]", "", data)
    return (
        f'<div class="output-image"><img src="data:{kind};base64,{html.escape(data)}" alt="{html.escape(alt)}"></div>'
    )
