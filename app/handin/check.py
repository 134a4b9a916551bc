"""A check of a hand-in and its word: it agrees, it contradicts, or it cannot tell. Nobody's intention is judged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from streaming_lab.wording import visible

Word = Literal["agrees", "contradicts", "cannot tell"]
Shared: TypeAlias = tuple[str, str, tuple[str, ...]]  # what several hand-ins have, its value, their names
WORDS: tuple[Word, ...] = ("agrees", "contradicts", "cannot tell")
MOST_FINDINGS = 5  # of one check that are shown; the others are counted
LONGEST_SHOWN = 160  # characters of a value that is shown


@dataclass(frozen=True)
class Contradiction:
    """One contradiction: its place (a file and a row, or a cell), the value there, and the value made again."""

    place: str
    there: str
    again: str


@dataclass(frozen=True)
class Check:
    """One check by name: its word, what was compared or why it can't tell, and the first contradictions."""

    name: str
    word: Word
    said: str
    findings: tuple[Contradiction, ...] = ()
    more: int = 0
    seconds: float = field(default=0.0, compare=False)


def found(place: str, there: Any, again: Any) -> Contradiction:
    """A finding with its values as short text, control characters made visible."""
    return Contradiction(visible(place)[:LONGEST_SHOWN], shown_value(there), shown_value(again))


def shown_value(value: Any) -> str:
    """A value as text of bounded length."""
    text = visible(value if isinstance(value, str) else repr(value))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… ({len(text):,} characters)"


def conclude(name: str, said: str, findings: Sequence[Contradiction], *, doubt: str = "") -> Check:
    """The check of these findings: none of them agrees; a `doubt` says why they can't tell all the same."""
    shown, more = tuple(findings[:MOST_FINDINGS]), max(0, len(findings) - MOST_FINDINGS)
    if not findings:
        return Check(name, "agrees", said)
    return Check(name, "cannot tell" if doubt else "contradicts", doubt or said, shown, more)


def cannot_tell(name: str, why: str) -> Check:
    """A check whose premise is missing."""
    return Check(name, "cannot tell", why)


def count_words(checks: Iterable[Check]) -> dict[Word, int]:
    """How many checks say each word."""
    words = [check.word for check in checks]
    return {word: words.count(word) for word in WORDS}
