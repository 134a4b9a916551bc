"""The outcome of one event: undecided, then delivered or not, however late the report comes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from streaming_lab.errors import LabError

_ADDING = threading.Lock()  # one lock for all outcomes: each holds it for two instructions


class DeliveryFuture:
    """A delivery future: `delivered` is None until the event's outcome is decided, then True or False for good."""

    __slots__ = ("_callbacks", "_waiting", "delivered", "event_id", "late", "min_offset", "why")

    def __init__(self, event_id: str, min_offset: tuple[int, ...] = ()) -> None:
        self.event_id = event_id
        self.min_offset = min_offset  # per partition, an offset that the event cannot be below
        self.delivered: bool | None = None
        self.late = False  # no thread waits for the outcome (any more)
        self.why = ""  # the delivery report's error, when the event was not delivered
        self._callbacks: list[Callable[[bool], None]] = []
        # A bare lock that the decision releases is the cheapest hand-over between two threads that Python has.
        self._waiting = threading.Lock()
        self._waiting.acquire()

    def lower(self, partition: int, offset: int) -> None:
        """Lower `min_offset`: the log was cut or the topic made again, so that the event may be at this offset."""
        if 0 <= offset < (self.min_offset[partition] if partition < len(self.min_offset) else 0):
            self.min_offset = (*self.min_offset[:partition], offset, *self.min_offset[partition + 1 :])

    def wait(self, seconds: float) -> bool | None:
        """Wait for the outcome; None when it is undecided after `seconds`. For one thread only."""
        if not self._waiting.acquire(timeout=seconds):
            with _ADDING:
                self.late = self.delivered is None
        return self.delivered

    def decide(self, delivered: bool, why: str = "") -> bool:
        """Set the outcome once and run the callbacks; returns False for a second decision and while a caller waits."""
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
        """Call `callback(delivered)` once: on the delivery thread at the decision, or now if it has passed."""
        with _ADDING:
            if self.delivered is None:
                self._callbacks.append(callback)
                return
        callback(self.delivered)


class Refused(LabError):
    """The event was not accepted: it is in no queue and will not reach the topic. The game answers 503."""


class Undecided(LabError):
    """The wait ended without an outcome: the event may reach the topic. `outcome` is decided, however late."""

    def __init__(self, outcome: DeliveryFuture, waited: float, why: str = "") -> None:
        cause = f" ({why})" if why else ""
        super().__init__(
            f"no acknowledgement after {waited:g} s: unknown{cause}", "Ask again with the same request id."
        )
        self.outcome = outcome
        self.why = why  # what the event waits for, where it is known


@dataclass(frozen=True)
class Counts:
    """Events by outcome: appended = refused + accepted + unknown = refused + acknowledged + failed + queued.

    accepted: `append` returned. unknown: `append` raised `Undecided`, whatever came later. acknowledged: the broker has
    the event (late reports included). failed: the delivery was reported as failed, or the event is not in the topic
    after the producer was replaced. queued: accepted and not decided yet. relayed: rows of an outbox that the broker
    acknowledged, those of an earlier process included.
    """

    accepted: int = 0
    acknowledged: int = 0
    failed: int = 0
    unknown: int = 0
    queued: int = 0
    relayed: int = 0
    refused: int = 0
