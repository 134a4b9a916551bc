"""One at a time for each player: locks that exist only while somebody needs them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock per name; memory grows with the names in use at this moment, not with all that ever came."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # with how many hold or await it

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait until nobody else has this name's turn, then have it."""
        with self._guard:
            lock, users = self._locks.get(name) or (threading.Lock(), 0)
            self._locks[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks.pop(name)
                if users > 1:
                    self._locks[name] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._locks)
