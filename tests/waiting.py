"""Waiting for what another process or thread does, with a deadline."""

import time
from collections.abc import Callable


def eventually(fact: Callable[[], object], seconds: float = 20.0) -> bool:
    """Does it become true in time?"""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
