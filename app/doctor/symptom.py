"""A symptom that the doctor found, and the running of a check within its time."""

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from streaming_lab.errors import LabError

SYMPTOM_TIMEOUT = 12.0  # seconds for one check; a name server that is silent must not hold the doctor

Severity: TypeAlias = Literal["warning", "stands in the way"]


@dataclass(frozen=True)
class Symptom:
    """One finding: in which check, how bad, what it is, why it matters, and what cures it."""

    check: str
    severity: Severity
    what: str
    why: str
    cure: str

    def to_json(self) -> dict[str, str]:
        """A plain dict, for `--json`."""
        return asdict(self)


FindSymptoms: TypeAlias = Callable[[], Iterable[Symptom]]


def run_check(name: str, check: FindSymptoms, timeout: float = SYMPTOM_TIMEOUT) -> list[Symptom]:
    """The symptoms of one check; one that fails or is late is a symptom itself."""
    answers: queue.Queue[list[Symptom] | Exception] = queue.Queue()

    def work() -> None:
        try:
            answers.put(list(check()))
        except Exception as error:  # a doctor that stops at the first odd machine helps nobody
            answers.put(error)

    threading.Thread(target=work, name=f"check {name}", daemon=True).start()
    try:
        found = answers.get(timeout=timeout)
    except queue.Empty:
        what = f"no answer within {timeout:g} s"
        return [
            Symptom(name, "warning", what, "what was asked here does not answer", "Look there, then run this again.")
        ]
    if isinstance(found, LabError):
        return [Symptom(name, "stands in the way", found.problem, "a start ends with this error", found.cure)]
    if isinstance(found, Exception):
        what = f"this could not be checked ({type(found).__name__}: {found})"
        return [Symptom(name, "warning", what, "nothing is known about it", "Check it by hand.")]
    return found
