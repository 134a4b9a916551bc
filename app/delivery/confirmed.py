"""Confirmed: an answer only after the broker's acknowledgement. The wait is bounded, the delivery is not."""

import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.client.errors import UnknownTopic
from streaming_lab.delivery.event_log import EventLog
from streaming_lab.delivery.outcome import DeliveryFuture, Refused, Undecided
from streaming_lab.delivery.producer import (
    CHECK_TIMEOUT,
    STALL_CHECK_INTERVAL,
    Acknowledged,
    IdempotentProducer,
    StallWatch,
)
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

FLUSH_STEP = 0.2  # seconds after which `close` looks whether the producer was replaced

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Unanswered:
    """An event whose delivery ended without an answer; `again`: send it again when it is not in the topic."""

    outcome: DeliveryFuture
    key: str | bytes = b""
    value: bytes = b""
    again: bool = True


class Confirmed(EventLog):
    """librdkafka with acks=all, idempotent, a delivery report for each event; `append` waits `timeout` seconds for it.

    A delivery never expires, so a time-out is `Undecided` and the report decides the event later. A delivery that ends
    unanswered all the same (a fatal error, a purge) replaces the producer, and the topic is read back to learn whether
    the event is in it. So does a producer that stands still while a broker answers (the clock was set back): its events
    that are not in the topic are sent again, in their order and before any later one.
    """

    guarantee = "The broker has the event, and so have all its in-sync replicas."
    safe = awaits_broker = True
    linger = 0.0  # seconds; a request waits for the report, so no event waits for others

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.replaced = 0  # producers that had to be replaced
        self._acknowledged = Acknowledged()
        self._producer: IdempotentProducer | None = None
        self._dead: list[Unanswered] = []
        self._cause = ""  # the last error that ended a delivery; those that were purged along with it share it
        self._behind: list[Unanswered] | None = None  # events that wait until those before them were sent again
        self._watch = StallWatch(self.connection, self.topic)
        self._watching: threading.Thread | None = None
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
        self._watching = threading.Thread(target=self._watch_producer, name="stall-watch", daemon=True)
        self._watching.start()

    def _new_producer(self) -> IdempotentProducer:
        memory = self.in_flight.memory
        return IdempotentProducer(self.connection, linger=self.linger, events=memory >> 10, memory=memory)

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        outcome = self._produce(key, value, event_id)
        if outcome.wait(self.timeout) is None:
            raise Undecided(outcome, self.timeout, self._watch.reason)
        if not outcome.delivered:
            raise Refused(f"the broker did not take the event: {outcome.why}", "Ask again.")

    def _produce(self, key: str, value: bytes, event_id: str) -> DeliveryFuture:
        outcome = DeliveryFuture(event_id, self._acknowledged.ends)
        self._reserve(outcome, event_id, value)
        if self._behind is not None and self._goes_behind(Unanswered(outcome, key, value)):
            return outcome
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

    def _goes_behind(self, event: Unanswered) -> bool:
        with self._lock:
            if self._behind is not None:
                self._behind.append(event)
            return self._behind is not None

    def _report(self, outcome: DeliveryFuture, producer: IdempotentProducer, error: Any, message: Any) -> None:
        if error is None and not self._acknowledged.moves_on(message.partition(), message.offset()):
            error = f"acknowledged at offset {message.offset()} of partition {message.partition()}, not its own"
        if error is None:
            producer.last_report = time.monotonic()
            self._settle(outcome, True)
            outcome.decide(True)
        elif not self._stopping.is_set():
            if not _is_purged(error):
                self._cause = str(error)
            outcome.why = self._cause or str(error)
            if message is not None and message.offset() is not None:
                outcome.lower(message.partition(), message.offset())
            if producer.silent:
                self._dead.append(Unanswered(outcome, message.key(), message.value()))
            else:
                self._dead.append(Unanswered(outcome, again=False))
            self._replace(producer)

    def _watch_producer(self) -> None:
        while not self._stopping.wait(STALL_CHECK_INTERVAL):
            producer = self._producer
            if producer is not None and self._repairing is None and self._watch.stands_still(producer):
                logger.warning("topic %s: %s; a new producer goes on", self.topic, self._watch.reason)
                self._replace(producer, silent=True)

    def _replace(self, producer: IdempotentProducer, silent: bool = False) -> None:
        with self._lock:
            if self._repairing is None and not self._stopping.is_set():
                if silent:
                    producer.silent, self._behind = True, []
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
                dead, behind = list(self._dead), self._behind
                if not dead and not behind:
                    self._behind = self._repairing = None
                    return
                if not dead:
                    self._behind = []
            if dead:
                self._decide(dead)
            else:
                self._send_again(behind or [])

    def _decide(self, dead: list[Unanswered]) -> None:
        """Ask the topic about deliveries without an answer: each one ends, or its event is sent again, in order."""
        found = self._read_back([event.outcome for event in dead])
        if found is None:
            return
        lost = {event for event in dead if event.again and event.outcome.event_id not in found}
        for event in dead:
            self._dead.remove(event)
            if event not in lost:
                self._end(event.outcome, event.outcome.event_id in found)
        self._send_again(self.in_flight.in_order(lost, lambda event: event.outcome))

    def _send_again(self, events: list[Unanswered]) -> None:
        producer = self._producer
        assert producer is not None
        for event in events:
            report = partial(self._report, event.outcome, producer)
            try:
                producer.produce(self.topic, event.value, event.key, on_delivery=report)
            except (BufferError, KafkaException) as error:
                event.outcome.why = str(error)
                self._dead.append(event)

    def _read_back(self, dead: list[DeliveryFuture]) -> set[str] | None:
        """The ids of the dead deliveries that are in the topic; None while no broker answers.

        None as well while a log goes beyond what its in-sync replicas have: the events may be there, unseen so far.
        """
        try:
            topics.end_offsets(self.connection, self.topic)  # raises until a broker has a leader for every partition
            if self._stopping.wait(READ_BACK_AFTER):
                return None
            written = topics.log_end_offsets(self.connection, self.topic)
            if self._stopping.wait(READ_BACK_INTERVAL):
                return None
            seen = topics.end_offsets(self.connection, self.topic)
            if any(seen.get(partition, 0) < end for partition, end in written.items()):
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
        if delivered:
            self._settle(outcome, True)
        else:
            self.in_flight.release(outcome)
        if outcome.decide(delivered, outcome.why) and not delivered:  # a waiting request counts as refused
            self._count("failed", why=outcome.why)

    def _waits_for(self) -> str:
        return self._watch.reason

    def _close(self, deadline: float) -> list[str]:
        assert self._producer is not None
        while len(self.in_flight) and (left := deadline - time.monotonic()) > 0:
            self._producer.flush(min(left, FLUSH_STEP))
            self._stopping.wait(min(left, 0.01))
        self._stopping.set()
        self._producer.close()
        for thread in (self._repairing, self._watching):
            if thread is not None:
                thread.join(max(CHECK_TIMEOUT, deadline - time.monotonic()))
        return self.in_flight.ids()


def _is_purged(error: Any) -> bool:
    return isinstance(error, KafkaError) and error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


def _lowest(outcomes: list[DeliveryFuture]) -> dict[int, int]:
    """Per partition, the offset below which none of the outcomes can be."""
    width = max(len(outcome.min_offset) for outcome in outcomes)
    floors = [outcome.min_offset + (0,) * (width - len(outcome.min_offset)) for outcome in outcomes]
    return {partition: min(floor[partition] for floor in floors) for partition in range(width)}
