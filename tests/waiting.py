"""Waiting for what another process or thread does, with a deadline."""

from collections.abc import Callable

from app.waiting import wait_until


def eventually(fact: Callable[[], object], seconds: float = 20.0) -> bool:
    """Does it become true in time?"""
    return bool(wait_until(fact, seconds))
