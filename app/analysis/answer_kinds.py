"""The kinds of answer to a request: name, colour, and whether the answer promised the event.

Experiments sort their answers by kind, tables have a column and charts a colour for each kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerKind:
    """One kind of answer; `colour` is a token of the page; `promised`: the answer says that the event is kept."""

    name: str
    colour: str
    promised: bool = False


ACCEPTED = "200"
LOST = "200, lost"  # a 200 whose event is not in the topic: no answer, but a finding afterwards
REFUSED_BY_RULES = "refused by the rules"
REFUSED = "503 refused"
UNKNOWN = "503 unknown"
NO_ANSWER = "no answer"

# From good to bad, in the order of the stack. Good is green, lost red, answers without a promise grey.
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
ANSWERS = tuple(name for name in ANSWER_KINDS if name != LOST)  # each request has one of these
PROMISES = tuple(kind.name for kind in ANSWER_KINDS.values() if kind.promised)


def answer_kind(status: int | None, delivery: str | None = None) -> str:
    """The name of an answer's kind, from its HTTP status (None: no answer) and a 503's word about the delivery."""
    if status is None:
        return NO_ANSWER
    if status == 503:
        return ANSWER_KINDS[f"503 {delivery}"].name
    return ACCEPTED if status // 100 == 2 else REFUSED_BY_RULES
