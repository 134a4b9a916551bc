"""What becomes of one event: undecided, then delivered or not, however late the report comes."""

import threading
from collections.abc import Callable

_ADDING = threading.Lock()  # one for all outcomes: it is held for two instructions


class Outcome:
    """The fate of one event; `delivered` is None until it is decided, then True or False for good."""

    __slots__ = ("_callbacks", "_waiting", "delivered", "event_id", "floor", "late", "why")

    def __init__(self, event_id: str, floor: tuple[int, ...] = ()) -> None:
        self.event_id = event_id
        self.floor = floor  # per partition, an offset that the event cannot be below
        self.delivered: bool | None = None
        self.late = False  # nobody waits for it (any more)
        self.why = ""  # what the delivery report said, when it was not delivered
        self._callbacks: list[Callable[[bool], None]] = []
        # A bare lock that the decision releases is the cheapest hand-over between two threads that Python has.
        self._waiting = threading.Lock()
        self._waiting.acquire()

    def lower(self, partition: int, offset: int) -> None:
        """The event may be at this offset of this partition, too: the log was cut, or the topic made anew."""
        if 0 <= offset < (self.floor[partition] if partition < len(self.floor) else 0):
            self.floor = (*self.floor[:partition], offset, *self.floor[partition + 1 :])

    def wait(self, seconds: float) -> bool | None:
        """Wait for the decision; None when there is none after `seconds`. For one thread only."""
        if not self._waiting.acquire(timeout=seconds):
            with _ADDING:
                self.late = self.delivered is None
        return self.delivered

    def decide(self, delivered: bool, why: str = "") -> bool:
        """Set the outcome and call back; a second decision changes nothing. False when a waiting caller hears of it."""
        with _ADDING:
            if self.delivered is not None:
                return False
            late = self.late
            self.why = why
            self.delivered = delivered
            callbacks, self._callbacks = self._callbacks, []
        self._waiting.release()
        for callback in callbacks:
            callback(delivered)
        return late

    def add_done_callback(self, callback: Callable[[bool], None]) -> None:
        """Call `callback(delivered)` once: from the delivery thread when it is decided, or now if it already is."""
        with _ADDING:
            if self.delivered is None:
                self._callbacks.append(callback)
                return
        callback(self.delivered)
