"""Turns terminal text into HTML: escapes removed, carriage returns applied, length bounded; errors and tracebacks."""

import html
import re
from typing import Any, NamedTuple

LINES = 50  # of the beginning, and as many of the end
WIDTH = 2_000  # characters of one line
LONGEST_LINE = 100_000  # characters of one line that are looked at for carriage returns
ERASE = re.compile(r"\x1b\[[012]?K")
ANSI = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|\[[0-?]*[ -/]*[@-~]|[ -/]*[0-Z\\^-~])")
CONTROL = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {127: "\u2421"}
DIRECTION = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)}
VISIBLE = CONTROL | DIRECTION


class Bounded(NamedTuple):
    """The part of a text that is shown, and a note on the rest (empty when the text is complete)."""

    text: str
    note: str


def bounded_text(text: str) -> Bounded:
    """Return the first and last 50 lines of `text` as a terminal would show them, long lines cut."""
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
    """Return one line as a terminal would show it (escapes and carriage returns applied), and whether it was cut."""
    if "\r" in line:
        line = apply_carriage_returns(line[-LONGEST_LINE:])
    if len(line) <= LONGEST_LINE:
        line = visible_text(line)
    if len(line) <= WIDTH:
        return line, False
    return f"{visible_text(line[:WIDTH])} \u2026 {len(line) - WIDTH:,} characters", True


def apply_carriage_returns(line: str) -> str:
    """Apply carriage returns: each part overwrites the part before it, as far as it reaches."""
    shown = ""
    for part in line.removesuffix("\r").split("\r"):
        text = visible_text(part)
        shown = text if ERASE.search(part) else text + shown[len(text) :]
    return shown


def visible_text(text: str) -> str:
    """Remove terminal escapes from `text`; other control and text-direction characters become visible."""
    text = ANSI.sub("", text)
    while "\b" in text:
        shorter = re.sub(r"[^\x08]\x08", "", text).lstrip("\b")
        if shorter == text:
            break
        text = shorter
    return text.translate(VISIBLE)


def size_of_text(text: str) -> str:
    """Return the size of `text` in words: 512 bytes, 3 kB, 17 MB."""
    count = len(text.encode("utf-8", "surrogatepass"))
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB" if count >= 1e3 else f"{count} bytes"


def terminal_html(text: str, title: str, where: str = "") -> str:
    """Render a program's text, bounded and escaped, with a note on what is left out."""
    shown = bounded_text(text)
    note = f'<p class="left">{html.escape(shown.note + where)}</p>' if shown.note else ""
    return f'<pre tabindex="0" role="group" aria-label="{html.escape(title)}">{html.escape(shown.text)}</pre>{note}'


def failure_html(output: Any) -> str:
    """Render an error's name and message."""
    name, message = html.escape(visible_text(output.ename)), html.escape(bounded_text(output.evalue).text)
    return f'<pre><span class="ename">{name}</span>{": " if message else ""}{message}</pre>'


def traceback_text(output: Any) -> str:
    """Join the lines of a traceback."""
    return "\n".join(output.traceback)


def traceback_title(output: Any) -> str:
    """Return the summary line of a folded traceback."""
    count = len(traceback_text(output).splitlines())
    return f"Traceback, {count} line{'s' * (count != 1)}"
