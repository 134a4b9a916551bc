"""Waiting, with a deadline, for another thread, process or machine."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

STEP = 0.01  # seconds between two checks


def wait_until(
    condition: Callable[[], _T], seconds: float, problem: Callable[[], Exception] | None = None, step: float = STEP
) -> _T:
    """Wait until `condition` returns a true value, and return that value; checks at once, then every `step` seconds.

    After `seconds` the exception that `problem` makes is raised; it names what is missing. Without a `problem` the
    last, false value is returned. An exception from `condition` ends the wait.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        left = deadline - time.monotonic()
        if left <= 0:
            if problem is not None:
                raise problem()
            break
        time.sleep(min(step, left))
    return found
