"""Buffered: an answer as soon as the event is in a bounded queue; threads of librdkafka drain it in batches."""

from app.stream.confirmed import Confirmed


class Buffered(Confirmed):
    """The confirmed log without its wait: at most `memory` bytes are queued, what is over them is `Refused`.

    The queue and its drainer are librdkafka's own: they work without Python's lock, so requests hardly notice them. It
    never gives up; what a dead process had queued is lost.
    """

    promise = "The event is in this process's queue and will reach the broker if the process lives long enough."
    linger = 0.02  # seconds; nobody waits, so events travel in batches

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        self._produce(key, value, event_id)

    def ready(self) -> bool:
        """Would an event be queued now? The broker may be away: that is what the queue is for."""
        return not self._closed and not self.held.full
