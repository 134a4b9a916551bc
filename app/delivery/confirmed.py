"""Confirmed: an answer only after the broker's acknowledgement. The wait is bounded, the delivery is not."""

import json
import logging
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.client.errors import UnknownTopic
from streaming_lab.delivery.event_log import EventLog
from streaming_lab.delivery.outcome import DeliveryFuture, Refused, Undecided
from streaming_lab.delivery.producer import Acknowledged, IdempotentProducer
from streaming_lab.errors import LabError


def find_event_ids(
    connection: Connection, topic: str, wanted: set[str], start: Mapping[int, int], timeout: float = 10.0
) -> set[str]:
    """The wanted event ids that are in the topic at or after `start` (partition -> offset).

    Reads up to the end offsets of this moment; raises a `LabError` when `timeout` seconds do not suffice.
    """
    deadline = time.monotonic() + timeout
    ends = topics.end_offsets(connection, topic)
    # a start beyond the end: the log was cut or made again, and the event may be anywhere in the log
    begin = {partition: at if (at := start.get(partition, 0)) <= end else 0 for partition, end in ends.items()}
    missing = {partition: end for partition, end in ends.items() if begin[partition] < end}
    found: set[str] = set()
    consumer = Consumer(
        {
            **librdkafka_settings(connection),
            "group.id": "read-back",  # librdkafka requires a name; no group is joined, nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": False,
            "isolation.level": "read_uncommitted",
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, begin[partition]) for partition in missing])
        while missing:
            if time.monotonic() > deadline:
                raise LabError(f"topic {topic!r} was not read to its end in {timeout:g} s: {missing}", "Try again.")
            for message in consumer.consume(1000, 0.1):
                if message.error() is not None:
                    continue
                found |= {_event_id(message.value())} & wanted
            for place in consumer.position([TopicPartition(topic, partition) for partition in missing]):
                if place.offset >= missing[place.partition]:
                    del missing[place.partition]
    finally:
        consumer.close()
    return found


def _event_id(value: bytes | None) -> str:
    try:
        return str(json.loads(value or b"{}").get("event_id", ""))
    except (ValueError, AttributeError):
        return ""  # not one of the game's events


READ_BACK_AFTER = 1.0  # seconds in which a broker that was paused handles the last requests of a dead producer
READ_BACK_INTERVAL = 0.2  # seconds between two attempts while no broker answers

logger = logging.getLogger(__name__)


class Confirmed(EventLog):
    """librdkafka with acks=all, idempotent, a delivery report for each event; `append` waits `timeout` seconds for it.

    A delivery never expires, so a time-out is `Undecided` and the report decides the event later. A delivery that ends
    unanswered all the same (a fatal error, a purge) replaces the producer, and the topic is read back to learn whether
    the event is in it.
    """

    guarantee = "The broker has the event, and so have all its in-sync replicas."
    safe = awaits_broker = True
    linger = 0.0  # seconds; a request waits for the report, so no event waits for others

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.replaced = 0  # producers that had to be replaced
        self._acknowledged = Acknowledged()
        self._producer: IdempotentProducer | None = None
        self._dead: list[DeliveryFuture] = []
        self._repairing: threading.Thread | None = None
        self._stopping = threading.Event()

    def ready(self) -> bool:
        if self._producer is None:
            return super().ready() and topics.is_available(self.connection, self.topic)
        return super().ready() and self._producer.answers(self.topic)

    def _open(self) -> None:
        ends = topics.end_offsets(self.connection, self.topic)  # raises for a missing topic or broker
        self._acknowledged = Acknowledged(tuple(ends[partition] for partition in sorted(ends)))
        self._producer = self._new_producer()
        self._producer.answers(self.topic)  # fetches the metadata that the first event needs

    def _new_producer(self) -> IdempotentProducer:
        memory = self.in_flight.memory
        return IdempotentProducer(self.connection, linger=self.linger, events=memory >> 10, memory=memory)

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        outcome = self._produce(key, value, event_id)
        delivered = outcome.wait(self.timeout)
        if delivered is None:
            raise Undecided(outcome, self.timeout)
        if not delivered:
            raise Refused(f"the broker did not take the event: {outcome.why}", "Ask again.")

    def _produce(self, key: str, value: bytes, event_id: str) -> DeliveryFuture:
        outcome = DeliveryFuture(event_id, self._acknowledged.ends)
        self._reserve(outcome, event_id, value)
        producer = self._producer
        assert producer is not None
        try:
            producer.produce(self.topic, value, key, on_delivery=partial(self._report, outcome, producer))
        except (BufferError, KafkaException) as error:
            self.in_flight.release(outcome)
            if isinstance(error, KafkaException) and error.args[0].fatal():
                self._replace(producer)
            raise Refused(f"the producer did not take the event: {error}", "Ask again later.") from error
        if producer is not self._producer:  # replaced meanwhile: purge what it took after its end
            producer.close()
        return outcome

    def _report(self, outcome: DeliveryFuture, producer: IdempotentProducer, error: Any, message: Any) -> None:
        if error is None and not self._acknowledged.moves_on(message.partition(), message.offset()):
            error = f"acknowledged at offset {message.offset()} of partition {message.partition()}, not its own"
        if error is None:
            self._settle(outcome, True)
            outcome.decide(True)
        elif not self._stopping.is_set():
            outcome.why = str(error)
            if message is not None and message.offset() is not None:
                outcome.lower(message.partition(), message.offset())
            self._dead.append(outcome)
            self._replace(producer)

    def _replace(self, producer: IdempotentProducer) -> None:
        with self._lock:
            if self._repairing is None and not self._stopping.is_set():
                self._repairing = threading.Thread(target=self._repair, args=(producer,), name="read-back", daemon=True)
                self._repairing.start()

    def _repair(self, old: IdempotentProducer) -> None:
        """Replace the producer, then read back every dead delivery until each one is decided."""
        if old is self._producer:
            self._producer = self._new_producer()
            self.replaced += 1
        while not self._stopping.is_set():
            old.close()
            with self._lock:
                dead = list(self._dead)
                if not dead:
                    self._repairing = None
                    return
            found = self._read_back(dead)
            if found is None:
                continue
            for outcome in dead:
                self._end(outcome, outcome.event_id in found)

    def _read_back(self, dead: list[DeliveryFuture]) -> set[str] | None:
        """The ids of the dead deliveries that are in the topic; None while no broker answers."""
        try:
            topics.end_offsets(self.connection, self.topic)  # raises until a broker has a leader for every partition
            if self._stopping.wait(READ_BACK_AFTER):
                return None
            return find_event_ids(self.connection, self.topic, {outcome.event_id for outcome in dead}, _lowest(dead))
        except UnknownTopic:
            return set()
        except (LabError, KafkaException):
            self._stopping.wait(READ_BACK_INTERVAL)
            return None

    def _end(self, outcome: DeliveryFuture, delivered: bool) -> None:
        if not delivered:
            logger.warning("event %s was not delivered: %s", outcome.event_id, outcome.why)
        self._dead.remove(outcome)
        if delivered:
            self._settle(outcome, True)
        else:
            self.in_flight.release(outcome)
        if outcome.decide(delivered, outcome.why) and not delivered:  # a waiting request counts as refused
            self._count("failed")

    def _close(self, deadline: float) -> list[str]:
        assert self._producer is not None
        self._producer.flush(deadline - time.monotonic())
        repairing = self._repairing
        if repairing is not None:
            repairing.join(max(0.0, deadline - time.monotonic()))
        self._stopping.set()
        self._producer.close()
        if repairing is not None:
            repairing.join(max(0.0, deadline - time.monotonic()))
        return self.in_flight.ids()


def _lowest(outcomes: list[DeliveryFuture]) -> dict[int, int]:
    """Per partition, the offset below which none of the outcomes can be."""
    width = max(len(outcome.min_offset) for outcome in outcomes)
    floors = [outcome.min_offset + (0,) * (width - len(outcome.min_offset)) for outcome in outcomes]
    return {partition: min(floor[partition] for floor in floors) for partition in range(width)}
