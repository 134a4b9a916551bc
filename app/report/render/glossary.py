"""The glossary: each term's meaning in one place, and a link to it at the term's first use in the page's prose."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

ANCHOR = "glossary"
ANY_TAG = re.compile(r"(<[^>]*>)")
SKIPPED = {"a", "code", "pre", "h1", "h2", "h3", "h4", "summary", "details", "math", "svg", "table", "figure"}


@dataclass(frozen=True)
class GlossaryTerm:
    """One term: its name, its meaning in a sentence or two, and the pattern of its forms in prose."""

    name: str
    meaning: str
    forms: str

    @property
    def anchor(self) -> str:
        """The id of the term's place on the page."""
        return "term-" + self.name.replace(" ", "-")


GLOSSARY: tuple[GlossaryTerm, ...] = (
    GlossaryTerm(
        "topic",
        "A named log of records. It only grows at its end; reading takes nothing away, so any number of programs can "
        "read it, each at its own pace.",
        r"topics?",
    ),
    GlossaryTerm(
        "partition",
        "One of the logs that a topic is split into. Order holds within a partition and nowhere else, and one broker "
        "at a time, its leader, takes its writes.",
        r"partitions?",
    ),
    GlossaryTerm(
        "offset",
        "The number of a record in its partition, counted from 0 and never given twice. Partition and offset together "
        "name a record for good.",
        r"offsets?",
    ),
    GlossaryTerm(
        "key",
        "The bytes beside a record's value that choose its partition: by their hash, so equal keys share a partition, "
        "and with it an order.",
        r"keys?",
    ),
    GlossaryTerm(
        "acknowledgement",
        "The broker's answer that it has a record, with the record's offset. Before it comes nobody knows: a record "
        "without one may be lost, on its way, or there.",
        r"acknowledge(?:s|d|ment|ments)?",
    ),
    GlossaryTerm(
        "in-sync replica",
        "A broker's copy of a partition that has all that the leader has, as far as its leader knows. With `acks=all` "
        "a record counts as written when every in-sync replica has it.",
        r"in-sync replicas?|in[ -]sync",
    ),
    GlossaryTerm(
        "at least once",
        "A delivery that is repeated until it is acknowledged. Nothing is lost, and a record may come twice, since an "
        "acknowledgement can be lost as well.",
        r"at[ -]least[ -]once",
    ),
    GlossaryTerm(
        "idempotence",
        "Doing a thing twice has the effect of doing it once. It makes repetition harmless: a reader that knows an "
        "event by its id may see the event again.",
        r"idempoten(?:t|ce)",
    ),
)


class GlossaryLinks:
    """Links each term once, where the page's prose first has it; `used` tells whether there is any link."""

    def __init__(self) -> None:
        self._left = {term.anchor: term for term in GLOSSARY}

    @property
    def used(self) -> bool:
        """Does the page's prose have any of the terms?"""
        return len(self._left) < len(GLOSSARY)

    def link(self, markup: str) -> str:
        """Prose with links at first uses; headings, links, code, tables and folded text stay as they are."""
        return "".join(self._linked(markup)) if self._left else markup

    def _linked(self, markup: str) -> Iterator[str]:
        closing, depth = "", 0  # of the element that is skipped
        for piece in ANY_TAG.split(markup):
            if piece.startswith("<") and (tag := re.match(r"</?([a-z0-9]+)", piece)):
                if not closing and tag[1] in SKIPPED and not piece.startswith("</"):
                    closing = tag[1]
                if tag[1] == closing:
                    depth += -1 if piece.startswith("</") else 1
                    closing = closing if depth else ""
                yield piece
            else:
                yield piece if closing else self._link_terms(piece)

    def _link_terms(self, text: str) -> str:
        if not self._left or not text.strip():
            return text
        names = {f"t{number}": term for number, term in enumerate(self._left.values())}
        pattern = "|".join(f"(?P<{name}>{term.forms})" for name, term in names.items())
        seen: set[str] = set()

        def linked(match: re.Match[str]) -> str:
            term = names[str(match.lastgroup)]
            if term.anchor in seen:
                return match[0]
            seen.add(term.anchor)
            return f'<a class="gloss" href="#{term.anchor}">{match[0]}</a>'

        made = re.sub(rf"(?<![\w-])(?:{pattern})(?![\w-])", linked, text, flags=re.IGNORECASE)
        for anchor in seen:
            del self._left[anchor]
        return made
