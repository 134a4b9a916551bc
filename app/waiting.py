"""Waiting, with a deadline, for what another thread, process or machine does."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

STEP = 0.01  # seconds between two looks


def wait_until(
    condition: Callable[[], _T], seconds: float, problem: Callable[[], Exception] | None = None, step: float = STEP
) -> _T:
    """What `condition` returns as soon as that is true; it is asked at once, then every `step` seconds.

    After `seconds` without that the exception that `problem` makes is raised (it says what is missing); without a
    `problem` the last, untrue value is returned. What `condition` raises ends the wait.
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
