"""One librdkafka producer with the thread that serves its reports: what confirmed, buffered and outbox share."""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from confluent_kafka import KafkaException, Producer

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.errors import LabError

Report: TypeAlias = Callable[[Any, Any], None]  # (KafkaError or None, Message), on the producer's thread

logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.05  # seconds that the producer's thread waits for reports at once
_NEVER = 0  # librdkafka: message.timeout.ms 0 is infinite
STATISTICS_INTERVAL = 1.0  # seconds
STALL_AFTER = 3.0  # seconds without an acknowledgement, while a broker answers, after which a producer is replaced
STALL_CHECK_INTERVAL = 0.5  # seconds
CHECK_TIMEOUT = 0.5  # seconds for a broker to answer a stall's check
_JOIN_TIMEOUT = 2.0  # seconds; after a clock step back the thread may sleep in `poll` for as long as the step


class Acknowledged:
    """The progress of a producer's acknowledgements: `ends` holds, per partition, the last offset plus one."""

    def __init__(self, ends: tuple[int, ...] = ()) -> None:
        self.ends = ends  # replaced, never changed: a reader keeps the tuple of its moment

    def moves_on(self, partition: int, offset: int | None) -> bool:
        """Record an acknowledgement; False when its offset does not follow the one before on its partition.

        In that case the broker took the event for a repetition of an older one (their sequence numbers agree where a
        producer lost its count), and the event may be missing in the topic. The same holds without an offset, where
        librdkafka inferred the acknowledgement from that of a later event.
        """
        if offset is None:
            return False
        ends = self.ends + (0,) * (partition + 1 - len(self.ends))
        self.ends = (*ends[:partition], max(0, offset + 1), *ends[partition + 1 :])
        return offset >= ends[partition]


class IdempotentProducer:
    """An idempotent producer whose deliveries never expire, and the thread that polls it.

    `linger` is in seconds. At most `memory` bytes of values and keys and `events` events wait in the producer; one more
    and `produce` raises `BufferError`. A delivery never expires: an expired one might be in the topic, and the
    idempotent sequence behind it would be broken. Only a purge and librdkafka's fatal errors end a delivery unanswered.
    """

    def __init__(self, connection: Connection, *, linger: float, events: int, memory: int) -> None:
        settings = {
            **librdkafka_settings(connection),
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": _NEVER,
            # One request at a time. A broker that knows nothing of a producer yet takes any first sequence number
            # (ProducerAppendInfo.checkSequence), so after a lost first request it would write the second, and
            # librdkafka would report both delivered. The setting costs nothing: what waits travels in one batch.
            "max.in.flight": 1,
            "linger.ms": linger * 1000,
            "queue.buffering.max.messages": max(1, events),
            "queue.buffering.max.kbytes": max(1, memory >> 10),
            "partitioner": "murmur2_random",  # Kafka's own: a player has the same partition whichever client wrote
            "socket.nagle.disable": True,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,  # finds a restarted broker within half a second
            "topic.metadata.refresh.interval.ms": 60_000,
            "allow.auto.create.topics": False,
            "log_level": 0,  # delivery reports and errors tell of failures, stderr does not
            "statistics.interval.ms": int(STATISTICS_INTERVAL * 1000),
            "stats_cb": self._keep_statistics,
        }
        try:
            self._producer = Producer(settings)
        except KafkaException as error:
            raise LabError(
                f"no producer can be made for this connection: {error.args[0].str()}",
                "Check the connection's names that begin with ssl_ and sasl_.",
            ) from error
        self.silent = False  # replaced because it stood still: what it held is to be sent again
        self.last_report = time.monotonic()  # of an acknowledgement, or when nothing waited
        self._statistics = (0.0, "{}")  # when librdkafka told, and what
        self.produce = self._producer.produce  # (topic, value, key, on_delivery=Report); a bound method: the hot path
        self._stopping = threading.Event()
        self._flushing = threading.Event()
        self._served = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="delivery-reports", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that have no delivery report yet."""
        return len(self._producer)

    @property
    def stalled(self) -> float:
        """Seconds without an acknowledgement while events wait."""
        return time.monotonic() - self.last_report if self.waiting else 0.0

    @property
    def in_touch(self) -> bool:
        """Is librdkafka awake and connected to a broker? The broker, not the producer, is then what an event waits for.

        False without fresh statistics: after a step back of the clock librdkafka's threads sleep through it, since they
        wait for moments of the wall clock (its issue 2145).
        """
        told, statistics = self._statistics
        if time.monotonic() - told > STALL_AFTER:
            return False
        brokers = json.loads(statistics).get("brokers", {}).values()
        return any(broker["state"] == "UP" and broker["nodeid"] >= 0 for broker in brokers)

    def answers(self, topic: str, seconds: float = 1.0) -> bool:
        """Does a broker answer, with a leader for each partition of the topic?"""
        try:
            found = self._producer.list_topics(topic, timeout=seconds).topics[topic]
        except KafkaException:
            return False
        return found.error is None and all(partition.leader >= 0 for partition in found.partitions.values())

    def flush(self, seconds: float) -> None:
        """Send what lingers and wait until every event has its report, `seconds` at most.

        The reports come on the producer's thread, as always: two threads would serve them out of order.
        """
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            self._producer.flush(max(0.0, seconds))
            return
        self._flushing.set()
        with self._served:
            self._served.wait_for(lambda: not self.waiting, max(0.0, seconds))
        self._flushing.clear()

    def purge(self) -> None:
        """Give up what waits: each event gets a report with an error, as after a fatal error."""
        self._producer.purge(in_queue=True, in_flight=True)

    def close(self) -> None:
        """Drop what is not delivered and end the thread; the dropped events' reports (errors) come first."""
        self.purge()
        self.flush(1.0)
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_TIMEOUT)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve_reports()
            except Exception:  # of one report; without the thread no event would be decided any more
                logger.exception("a delivery report could not be taken")

    def _serve_reports(self) -> None:
        if self._flushing.is_set():
            self._producer.flush(POLL_INTERVAL)
            with self._served:
                self._served.notify_all()
        else:
            self._producer.poll(POLL_INTERVAL)
        if not self.waiting:
            self.last_report = time.monotonic()

    def _keep_statistics(self, statistics: str) -> None:
        self._statistics = time.monotonic(), statistics


def check_settings(connection: Connection) -> None:
    """Raise the `LabError` of a connection that no producer can be made for, without a connection to its brokers."""
    IdempotentProducer({**connection, "bootstrap_servers": []}, linger=0.0, events=1, memory=1 << 10).close()


class StallWatch:
    """Tells when a producer stands still though a broker answers, and what the events wait for otherwise.

    A broker that holds a request back (too few in-sync replicas, for one) is no reason for a new producer: the events
    are in its log already and would be there twice.
    """

    def __init__(self, connection: Connection, topic: str) -> None:
        self.reason = ""  # why nothing is acknowledged, while nothing is
        self._connection, self._topic = connection, topic
        self._answering_since: float | None = None

    def stands_still(self, producer: IdempotentProducer, after: float = STALL_AFTER) -> bool:
        """Has nothing been acknowledged for `after` seconds in which a broker answered? Takes a second at most."""
        if producer.stalled < min(1.0, after):
            self.reason, self._answering_since = "", None
            return False
        try:
            topics.end_offsets(self._connection, self._topic, CHECK_TIMEOUT)
        except LabError as error:
            self.reason, self._answering_since = error.problem, None
            return False
        self.reason = f"a broker answers, and has acknowledged nothing for {producer.stalled:.0f} s"
        if producer.in_touch:
            self._answering_since = None
            return False
        now = time.monotonic()
        self._answering_since = self._answering_since or now
        return now - self._answering_since >= after
