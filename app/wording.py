"""Wording of tables, charts and readings: counts with their nouns, and control characters made visible."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# What neither a drawing nor a terminal may get: the characters that XML 1.0 does not know (a single one of them ends
# the process that draws), the other control characters but tab and line ends, and two line separators.
HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def visible(text: str) -> str:
    r"""`text` with each hidden character as its escape: ESC is \x1b, U+FFFE is \ufffe."""
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def visible_everywhere(value: Any) -> Any:
    """A value as JSON has it, with `visible` applied to every text in it, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_everywhere(name): visible_everywhere(one) for name, one in value.items()}
    return [visible_everywhere(one) for one in value] if isinstance(value, (list, tuple)) else value


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 request`, `2,000 requests`; `plural` is needed where an s does not make it."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def rounded(value: float, decimals: int = 1) -> str:
    """A number with at most so many decimals: `30`, `1,234.5`."""
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def closest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """The one of `words` that `word` may have meant; empty if none is near."""
    import difflib  # only for who has mistyped something

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)), "")


def did_you_mean(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a sentence, `: did you mean X?`; empty if no word is near."""
    near = closest(word, words, cutoff)
    return f": did you mean {near}?" if near else ""
