"""Confirmed: an answer only after the broker's acknowledgement. The wait is bounded, the delivery is not."""

import logging
import threading
import time
from functools import partial
from typing import Any

from confluent_kafka import KafkaException

from streaming_lab.client import topics
from streaming_lab.client.errors import UnknownTopic
from streaming_lab.errors import LabError
from streaming_lab.stream.delivery import Refused, Undecided
from streaming_lab.stream.engine import Acknowledged, Engine
from streaming_lab.stream.log import EventLog
from streaming_lab.stream.outcome import Outcome
from streaming_lab.stream.readback import find

SETTLE = 1.0  # seconds; a request that a dead producer had sent may still be in the hands of a broker that woke up
RETRY = 0.2  # seconds between two questions to a broker that does not answer

logger = logging.getLogger(__name__)


class Confirmed(EventLog):
    """librdkafka with acks=all, idempotent, a delivery report for each event; `append` waits `timeout` seconds for it.

    The producer never gives up, so a time-out is `Undecided` and the report decides it later. A delivery that is
    declared dead all the same (a fatal error, a purge) replaces the producer, and the topic is read back to learn what
    became of it.
    """

    guarantee = "The broker has the event, and so have all its in-sync replicas."
    safe = awaits_broker = True
    linger = 0.0  # seconds; whoever waits for the report should not wait for company

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.replaced = 0  # producers that had to be replaced
        self._acknowledged = Acknowledged()
        self._engine: Engine | None = None
        self._dead: list[Outcome] = []
        self._repairing: threading.Thread | None = None
        self._stopping = threading.Event()

    def ready(self) -> bool:
        if self._engine is None:
            return super().ready() and topics.is_available(self.connection, self.topic)
        return super().ready() and self._engine.answers(self.topic)

    def _open(self) -> None:
        ends = topics.end_offsets(self.connection, self.topic)  # a missing topic or broker is said here
        self._acknowledged = Acknowledged(tuple(ends[partition] for partition in sorted(ends)))
        self._engine = self._new_engine()
        self._engine.answers(self.topic)  # fetches the metadata, so that the first event finds its partition at once

    def _new_engine(self) -> Engine:
        memory = self.held.memory
        return Engine(self.connection, linger=self.linger, events=memory >> 10, memory=memory)

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        outcome = self._produce(key, value, event_id)
        delivered = outcome.wait(self.timeout)
        if delivered is None:
            raise Undecided(outcome, self.timeout)
        if not delivered:
            raise Refused(f"the broker did not take the event: {outcome.why}", "Ask again.")

    def _produce(self, key: str, value: bytes, event_id: str) -> Outcome:
        outcome = Outcome(event_id, self._acknowledged.ends)
        self._hold(outcome, event_id, value)
        engine = self._engine
        assert engine is not None
        try:
            engine.produce(self.topic, value, key, on_delivery=partial(self._report, outcome, engine))
        except (BufferError, KafkaException) as error:
            self.held.drop(outcome)
            if isinstance(error, KafkaException) and error.args[0].fatal():
                self._replace(engine)
            raise Refused(f"the producer did not take the event: {error}", "Ask again later.") from error
        if engine is not self._engine:  # replaced meanwhile: whatever came after its end is dead, too
            engine.close()
        return outcome

    def _report(self, outcome: Outcome, engine: Engine, error: Any, message: Any) -> None:
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
            self._replace(engine)

    def _replace(self, engine: Engine) -> None:
        with self._lock:
            if self._repairing is None and not self._stopping.is_set():
                self._repairing = threading.Thread(target=self._repair, args=(engine,), name="read-back", daemon=True)
                self._repairing.start()

    def _repair(self, old: Engine) -> None:
        """Replace the producer, then ask the topic about every dead delivery until each is decided."""
        if old is self._engine:
            self._engine = self._new_engine()
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
                self._bury(outcome, outcome.event_id in found)

    def _read_back(self, dead: list[Outcome]) -> set[str] | None:
        """The ids of those that are in the topic; None while no broker answers."""
        try:
            topics.end_offsets(self.connection, self.topic)  # it works again, and so through what it was sent before
            if self._stopping.wait(SETTLE):
                return None
            return find(self.connection, self.topic, {outcome.event_id for outcome in dead}, _lowest(dead))
        except UnknownTopic:
            return set()
        except (LabError, KafkaException):
            self._stopping.wait(RETRY)
            return None

    def _bury(self, outcome: Outcome, delivered: bool) -> None:
        if not delivered:
            logger.warning("event %s was not delivered: %s", outcome.event_id, outcome.why)
        self._dead.remove(outcome)
        if delivered:
            self._settle(outcome, True)
        else:
            self.held.drop(outcome)
        if outcome.decide(delivered, outcome.why) and not delivered:  # who waits hears of it: that counts as refused
            self._count("failed")

    def _close(self, deadline: float) -> list[str]:
        assert self._engine is not None
        self._engine.flush(deadline - time.monotonic())
        repairing = self._repairing
        if repairing is not None:
            repairing.join(max(0.0, deadline - time.monotonic()))
        self._stopping.set()
        self._engine.close()
        if repairing is not None:
            repairing.join(max(0.0, deadline - time.monotonic()))
        return self.held.ids()


def _lowest(outcomes: list[Outcome]) -> dict[int, int]:
    """Per partition, the offset below which none of the outcomes can be."""
    width = max(len(outcome.floor) for outcome in outcomes)
    floors = [outcome.floor + (0,) * (width - len(outcome.floor)) for outcome in outcomes]
    return {partition: min(floor[partition] for floor in floors) for partition in range(width)}
