"""Exercises: cells that a student fills, the check of what was filled, and how many are done."""

import html
import signal
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from streaming_lab.report.assertions import shorten_value
from streaming_lab.report.chapter import cell_tags

# Tags of cells. What a person writes into the first two is theirs: no given cell, and no part of a changed chapter.
ANSWER = "answer"  # prose: an answer of one's own
EXERCISE = "exercise"  # code: to be filled where three dots stand
CHECK = "check"  # code: looks at the cell above
STUDENTS = frozenset({ANSWER, EXERCISE})
UNANSWERED = "*Your answer:*"  # an answer cell that nobody has filled
LIMIT = 10.0  # seconds for one check: a student's loop may have no end

ExerciseState = Literal["done", "not yet", "unfilled", "not run"]


class NotYet(Exception):
    """A filled exercise that is not right yet."""


class Unfilled(Exception):
    """An exercise that still has its three dots."""


class exercise:  # reads as the statement that it is
    """The check of an exercise, `with exercise() as check:`; it shows what came of it, and raises nothing.

    Whatever the student's code raises is a part of the answer. A check ends after ten seconds where the system has an
    alarm. The output's metadata hold the state, which the report counts.
    """

    def __enter__(self) -> Self:
        self._before: Any = None
        if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGALRM, _too_long)
            signal.setitimer(signal.ITIMER_REAL, LIMIT)
        return self

    def filled(self, value: Any) -> Any:
        """The value, unless it is still the three dots."""
        if value is ...:
            raise Unfilled
        return value

    def equal(self, came: Any, expected: Any, what: str) -> None:
        """Asserts that `came`, the student's, equals `expected`; `what` names the value in a sentence."""
        if self.filled(came) != expected:
            raise NotYet(f"{what}: expected {shorten_value(expected)}, came {shorten_value(came)}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._before is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)
        if error is not None and not isinstance(error, Exception):
            return False
        from IPython.display import display

        display(judged(error))  # type: ignore[no-untyped-call]
        return True


def _too_long(*_: Any) -> None:
    raise NotYet(f"no answer within {LIMIT:g} s: does each loop come to an end?")


class Judgement:
    """What came of a check: a sentence for the page, the state in the output's metadata."""

    def __init__(self, state: ExerciseState, said: str) -> None:
        self.state, self.said = state, said

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        word, said = STATE_WORDS[self.state], html.escape(self.said, quote=False)
        markup = f'<p class="judged {self.state.replace(" ", "-")}"><b>{word}</b> {said}</p>'
        return {"text/html": markup, "text/plain": repr(self)}, {EXERCISE: self.state}

    def __repr__(self) -> str:
        return f"{STATE_WORDS[self.state]} {self.said}"


STATE_WORDS: Mapping[ExerciseState, str] = {"done": "Done.", "not yet": "Not yet.", "unfilled": "Yours to fill."}


def judged(error: Exception | None) -> Judgement:
    """The judgement on an exercise, by what its check raised."""
    if error is None:
        return Judgement("done", "The check agrees.")
    if isinstance(error, Unfilled):
        return Judgement("unfilled", "Put your answer in place of the three dots, then run both cells.")
    if isinstance(error, NotYet):
        return Judgement("not yet", f"{error}.".replace("?.", "?"))
    if isinstance(error, NameError):
        return Judgement("not yet", f"{error}: did the cell above run to its end?")
    problem = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    return Judgement("not yet", f"The cell above should give a value; its code raised {problem}.")


def exercise_states(notebook: Any) -> dict[str, str]:
    """The state of each exercise of an executed notebook, by the id of the cell that checks it."""
    return {str(cell.get("id")): cell_state(cell) for cell in notebook["cells"] if CHECK in cell_tags(cell)}


def cell_state(cell: Any) -> str:
    """The state that a check's outputs name; `not run` without one."""
    for output in cell.get("outputs", ()):
        state = output.get("metadata", {}).get(EXERCISE)
        if state in STATE_WORDS:
            return str(state)
    return "not run"


def count_done(chapters: Any) -> tuple[int, int]:
    """How many exercises of these chapters' records are done, and how many there are."""
    states = [state for chapter in chapters for state in chapter.exercises.values()]
    return states.count("done"), len(states)


def students_cells(notebook: Any) -> Iterator[tuple[str, str]]:
    """Id and source of each cell that is the student's to fill."""
    for cell in notebook["cells"]:
        if STUDENTS & set(cell_tags(cell)):
            yield str(cell.get("id")), "".join(cell["source"])


def is_exercise(cell: Any) -> bool:
    """Is it an exercise or the check of one? What these show depends on a student."""
    return not {EXERCISE, CHECK}.isdisjoint(cell_tags(cell))


def own_answer(source: str) -> str:
    """What a person wrote into an answer cell; empty where nobody has."""
    return source.strip().removeprefix(UNANSWERED).strip()
