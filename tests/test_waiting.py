"""Waiting: what is there in time is returned, what is missing is said."""

from itertools import count

import pytest

from streaming_lab.errors import LabError
from streaming_lab.waiting import wait_until


def test_what_the_condition_returns_is_returned() -> None:
    """The first true value ends the wait, and it is asked no more."""
    looks = count()
    assert wait_until(lambda: next(looks) // 2, 30.0, step=0.001) == 1
    assert next(looks) == 3


def test_without_time_it_is_asked_once() -> None:
    """A deadline that is over already still looks, and returns what it saw."""
    assert (wait_until(lambda: "there", -1.0), wait_until(lambda: "", 0.0)) == ("there", "")


def test_what_is_missing_is_said_when_it_is_too_late() -> None:
    """The problem is made after the last look, so it can tell what that saw."""
    looks: list[int] = []

    def look() -> None:
        looks.append(len(looks))

    with pytest.raises(LabError, match=r"^after look \d+$") as raised:
        wait_until(look, 0.02, lambda: LabError(f"after look {looks[-1]}"), step=0.005)
    assert raised.value.problem == f"after look {looks[-1]}"
    assert len(looks) > 1


def test_an_error_ends_the_wait() -> None:
    """What the condition raises is raised at once."""
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 // 0, 30.0)
