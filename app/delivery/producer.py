"""One librdkafka producer with the thread that serves its reports: what confirmed, buffered and outbox share."""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from confluent_kafka import KafkaException, Producer

from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.errors import LabError

Report: TypeAlias = Callable[[Any, Any], None]  # (KafkaError or None, Message), on the engine's thread

logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.05  # seconds that the engine's thread waits for reports before it looks up
_NEVER = 0  # librdkafka: message.timeout.ms 0 is infinite


class Acknowledged:
    """How far a producer's acknowledgements have come: `ends` has, per partition, one past the last one's offset."""

    def __init__(self, ends: tuple[int, ...] = ()) -> None:
        self.ends = ends  # replaced, never changed: whoever has it keeps what it was

    def moves_on(self, partition: int, offset: int | None) -> bool:
        """Note an acknowledgement; False when it is not behind the one before it on its partition.

        Then the broker took the event for a repetition of an older one (their sequence numbers agree where a producer
        lost its count), and nobody knows whether it is in the topic; nor without an offset, where librdkafka inferred
        the acknowledgement from that of a later event.
        """
        if offset is None:
            return False
        ends = self.ends + (0,) * (partition + 1 - len(self.ends))
        self.ends = (*ends[:partition], max(0, offset + 1), *ends[partition + 1 :])
        return offset >= ends[partition]


class IdempotentProducer:
    """An idempotent producer that never gives up, and its poll thread.

    `linger` is in seconds. At most `memory` bytes of values and keys and `events` events wait in it: beyond that
    `produce` raises `BufferError`. A delivery never expires, since one that did might have been delivered (and the
    idempotent sequence behind it would be broken); only purge and librdkafka's fatal errors end one without an answer.
    """

    def __init__(self, connection: Connection, *, linger: float, events: int, memory: int) -> None:
        settings = {
            **librdkafka_settings(connection),
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": _NEVER,
            # One request at a time. Where a broker knows nothing of a producer yet it takes any first sequence
            # number (ProducerAppendInfo.checkSequence), so after a lost first request it would write the second;
            # librdkafka then reports the first one delivered, too. It costs nothing: what waits is one batch.
            "max.in.flight": 1,
            "linger.ms": linger * 1000,
            "queue.buffering.max.messages": max(1, events),
            "queue.buffering.max.kbytes": max(1, memory >> 10),
            "partitioner": "murmur2_random",  # Kafka's own: a player has the same partition whichever client wrote
            "socket.nagle.disable": True,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,  # a broker that is back is found within half a second
            "topic.metadata.refresh.interval.ms": 60_000,
            "allow.auto.create.topics": False,
            "log_level": 0,  # what goes wrong is said by delivery reports and errors, never on stderr
        }
        try:
            self._producer = Producer(settings)
        except KafkaException as error:
            raise LabError(
                f"no producer can be made for this connection: {error.args[0].str()}",
                "Check the connection's names that begin with ssl_ and sasl_.",
            ) from error
        self.produce = self._producer.produce  # (topic, value, key, on_delivery=Report); a bound method: the hot path
        self._stopping = threading.Event()
        self._hurrying = threading.Event()
        self._served = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="delivery-reports", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that have no delivery report yet."""
        return len(self._producer)

    def answers(self, topic: str, seconds: float = 1.0) -> bool:
        """Does a broker answer, and does it have a leader for each partition of the topic?"""
        try:
            found = self._producer.list_topics(topic, timeout=seconds).topics[topic]
        except KafkaException:
            return False
        return found.error is None and all(partition.leader >= 0 for partition in found.partitions.values())

    def flush(self, seconds: float) -> None:
        """Send what lingers and wait until every event has its report, `seconds` at most.

        The reports come on the engine's thread, as ever: served by two threads they would come out of order.
        """
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            self._producer.flush(max(0.0, seconds))
            return
        self._hurrying.set()
        with self._served:
            self._served.wait_for(lambda: not self.waiting, max(0.0, seconds))
        self._hurrying.clear()

    def purge(self) -> None:
        """Give up what waits: each event gets a report with an error, as after a fatal one."""
        self._producer.purge(in_queue=True, in_flight=True)

    def close(self) -> None:
        """Drop what is not delivered (its reports come, as errors, before this returns) and end the thread."""
        self.purge()
        self.flush(1.0)
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve_reports()
            except Exception:  # of one report; the thread must outlive it, or no event is ever decided again
                logger.exception("a delivery report could not be taken")

    def _serve_reports(self) -> None:
        if self._hurrying.is_set():
            self._producer.flush(POLL_INTERVAL)
            with self._served:
                self._served.notify_all()
        else:
            self._producer.poll(POLL_INTERVAL)
