"""Text from outside, made fit to be shown: escapes removed, carriage returns applied, length bounded."""

import re
from typing import NamedTuple

LINES = 50  # of the beginning, and as many of the end
WIDTH = 2_000  # characters of one line
LONG = 100_000  # characters of one line that are looked at for carriage returns
ERASE = re.compile(r"\x1b\[[012]?K")
ANSI = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|\[[0-?]*[ -/]*[@-~]|[ -/]*[0-Z\\^-~])")
CONTROL = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {127: "\u2421"}
DIRECTION = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)}
VISIBLE = CONTROL | DIRECTION


class Bounded(NamedTuple):
    """What of a text is shown, and a note on what is not (empty when all is)."""

    text: str
    note: str


def bounded(text: str) -> Bounded:
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
    return Bounded("\n".join(line for line, _ in shown), ", ".join([size(text), *notes]) if notes else "")


def as_terminal(line: str) -> tuple[str, bool]:
    """One line as it stands when all has been written (escapes gone, overwriting done), and whether it was cut."""
    if "\r" in line:
        line = overwritten(line[-LONG:])
    if len(line) <= LONG:
        line = plain(line)
    if len(line) <= WIDTH:
        return line, False
    return f"{plain(line[:WIDTH])} \u2026 {len(line) - WIDTH:,} characters", True


def overwritten(line: str) -> str:
    """What carriage returns leave of a line: each part covers the one before it, as far as it reaches."""
    now = ""
    for part in line.removesuffix("\r").split("\r"):
        new = plain(part)
        now = new if ERASE.search(part) else new + now[len(new) :]
    return now


def plain(text: str) -> str:
    """`text` without terminal escapes; other control characters, and those that turn text around, become visible."""
    text = ANSI.sub("", text)
    while "\b" in text:
        shorter = re.sub(r"[^\x08]\x08", "", text).lstrip("\b")
        if shorter == text:
            break
        text = shorter
    return text.translate(VISIBLE)


def size(text: str) -> str:
    """How much text that is: 512 bytes, 3 kB, 17 MB."""
    count = len(text.encode("utf-8", "surrogatepass"))
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB" if count >= 1e3 else f"{count} bytes"
