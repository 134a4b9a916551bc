"""The kinds of answer that a request can have: each one's name, colour, and whether it promised the event.

Experiments sort their answers by them, tables have a column for each, charts draw them in these colours.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerKind:
    """One kind of answer; `colour` is a token of the page, `promised`: the player was told that the event is kept."""

    name: str
    colour: str
    promised: bool = False


ACCEPTED = "200"
LOST = "200, lost"  # a 200 whose event is not in the topic: known afterwards only, nobody is answered that
REFUSED_BY_RULES = "refused by the rules"
REFUSED = "503 refused"
UNKNOWN = "503 unknown"
NO_ANSWER = "no answer"

# From good to bad, as they are stacked. Good is green, lost red; what promised nothing is grey.
ANSWER_KINDS: Mapping[str, AnswerKind] = {
    kind.name: kind
    for kind in (
        AnswerKind(ACCEPTED, "accent", promised=True),
        AnswerKind(LOST, "bad", promised=True),
        AnswerKind(REFUSED_BY_RULES, "band"),
        AnswerKind(REFUSED, "ink-2"),
        AnswerKind(UNKNOWN, "ink"),
        AnswerKind(NO_ANSWER, "line"),
    )
}
ANSWERS = tuple(name for name in ANSWER_KINDS if name != LOST)  # each request of a crowd has one of these
PROMISES = tuple(kind.name for kind in ANSWER_KINDS.values() if kind.promised)


def answer_kind(status: int | None, delivery: str | None = None) -> str:
    """The name of an answer's kind: its HTTP status (None: there was none), and what a 503 says of the delivery."""
    if status is None:
        return NO_ANSWER
    if status == 503:
        return ANSWER_KINDS[f"503 {delivery}"].name
    return ACCEPTED if status // 100 == 2 else REFUSED_BY_RULES
