"""Buffered: an answer as soon as the event is in a bounded queue; threads of librdkafka drain it in batches."""

from collections import deque
from typing import Any

from streaming_lab.delivery.confirmed import Confirmed
from streaming_lab.delivery.event_log import EventLog
from streaming_lab.delivery.outcome import DeliveryFuture

MOST_NAMED = 10_000  # lost events whose ids are kept; `counts.failed` counts them all


class Buffered(Confirmed):
    """The confirmed log without its wait: at most `memory` bytes are queued, an event above them is `Refused`.

    The queue and its threads are librdkafka's own and work without Python's lock, so requests hardly notice them. A
    delivery never expires; what a dead process had queued is lost. After a fatal error of the producer the topic is
    read back: an event that is not in the topic is not sent again (it would come behind later events of its player),
    counts as failed, and is counted and named by `close` along with what is still queued.
    """

    guarantee = "The event is in this process's queue and reaches the broker if process and producer live long enough."
    safe = awaits_broker = False
    names_unsent = True
    linger = 0.02  # seconds; no request waits, so events travel in batches

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._lost: deque[str] = deque(maxlen=MOST_NAMED)

    def ready(self) -> bool:
        """Is there room in the queue? Once connected, the broker may be away: the queue waits for it."""
        return super().ready() if self._producer is None else EventLog.ready(self)

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        self._produce(key, value, event_id).late = True

    def _end(self, outcome: DeliveryFuture, delivered: bool) -> None:
        super()._end(outcome, delivered)
        if not delivered:
            self.unnamed += len(self._lost) == MOST_NAMED
            self._lost.append(outcome.event_id)

    def _close(self, deadline: float) -> list[str]:
        queued = super()._close(deadline)
        return [*self._lost, *queued]
