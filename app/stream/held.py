"""The events that a log took and no broker has acknowledged yet: counted in bytes, never more than it may hold."""

import threading

OVERHEAD = 1536  # bytes that a waiting event costs beside its value; kafka-python, the dearest, was measured at 1.4 KB


class Held:
    """Undelivered events by ticket, in the order of their acceptance; together they stay within `memory` bytes."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._bytes = 0
        self._events: dict[object, tuple[str, int]] = {}
        self._lock = threading.Lock()  # held for a few instructions only: delivery reports take it, too

    def __len__(self) -> int:
        return len(self._events)

    def add(self, ticket: object, event_id: str, value: bytes) -> bool:
        """Take one more event; False when it does not fit."""
        size = len(value) + OVERHEAD
        with self._lock:
            if self._bytes + size > self.memory:
                return False
            self._bytes += size
            self._events[ticket] = event_id, size
            return True

    def drop(self, ticket: object) -> bool:
        """Let one event go; False when it was gone already, so that each is counted once."""
        with self._lock:
            _, size = self._events.pop(ticket, ("", 0))
            self._bytes -= size
            return size > 0

    def ids(self) -> list[str]:
        """The ids of the events that are still here, oldest first."""
        with self._lock:
            return [event_id for event_id, _ in self._events.values()]

    @property
    def full(self) -> bool:
        """Would an event without any value still be refused?"""
        return self._bytes + OVERHEAD > self.memory
