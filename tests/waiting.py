"""Waiting for what another process or thread does, with a deadline."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streaming_lab.waiting import wait_until

SLACK = 4.0  # a busy machine takes so many times longer than a quiet one


def eventually(fact: Callable[[], object], seconds: float = 20.0) -> bool:
    """Does it become true in time?"""
    return bool(wait_until(fact, seconds))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens inside takes no longer, with slack for a machine that has other things to do."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds * SLACK


@contextmanager
def no_new_thread() -> Iterator[None]:
    """Every thread that was started inside ends; those of others may come and go."""
    before = set(threading.enumerate())
    yield
    assert eventually(lambda: not set(threading.enumerate()) - before)
