"""Buffered: an answer as soon as the event is in a bounded queue; threads of librdkafka drain it in batches."""

from collections import deque
from typing import Any

from streaming_lab.delivery.confirmed import Confirmed
from streaming_lab.delivery.event_log import EventLog
from streaming_lab.delivery.outcome import DeliveryFuture

MOST_NAMED = 10_000  # lost events whose ids are kept; `counts.failed` has them all


class Buffered(Confirmed):
    """The confirmed log without its wait: at most `memory` bytes are queued, what is over them is `Refused`.

    The queue and its drainer are librdkafka's own: they work without Python's lock, so requests hardly notice them. It
    never gives up; what a dead process had queued is lost. After a fatal error of the producer the topic is read back:
    an event that is not there is not sent again (it would come behind later ones of its player), it counts as failed,
    and `close` counts and names it along with what is still queued.
    """

    guarantee = "The event is in this process's queue and reaches the broker if process and producer live long enough."
    safe = awaits_broker = False
    names_unsent = True
    linger = 0.02  # seconds; nobody waits, so events travel in batches

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._lost: deque[str] = deque(maxlen=MOST_NAMED)

    def ready(self) -> bool:
        """Is there room in the queue? The broker may be away: once connected, the queue waits for it."""
        return super().ready() if self._producer is None else EventLog.ready(self)

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        self._produce(key, value, event_id).late = True

    def _bury(self, outcome: DeliveryFuture, delivered: bool) -> None:
        super()._bury(outcome, delivered)
        if not delivered:
            self.unnamed += len(self._lost) == MOST_NAMED
            self._lost.append(outcome.event_id)

    def _close(self, deadline: float) -> list[str]:
        queued = super()._close(deadline)
        return [*self._lost, *queued]
