"""The outbox's relay: rows to the topic, in order and at least once, for as long as it takes."""

import logging
import threading
import time
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaException
from kafka.errors import KafkaError

from streaming_lab.client import preflight
from streaming_lab.client.connection import Connection
from streaming_lab.delivery.event_log import InFlight
from streaming_lab.delivery.producer import (
    CHECK_TIMEOUT,
    STALL_CHECK_INTERVAL,
    Acknowledged,
    IdempotentProducer,
    StallWatch,
    check_settings,
)
from streaming_lab.errors import LabError

logger = logging.getLogger(__name__)

RELAY_LINGER = 0.005  # seconds; no request waits for a relay's acknowledgement
ROWS_IN_FLIGHT = 4000  # rows on their way at once, as far as `memory` allows: a long outage costs disk, not memory
RELAY_PAGE = 500  # rows in one read
RELAY_INTERVAL = 0.02  # seconds between two checks for new rows
WARN_AFTER = 3.0  # seconds that rows may wait before the log says why
RESTART_PAUSE = 1.0  # seconds before a dead producer's successor begins


class Rows(Protocol):
    """The relay's view of an outbox."""

    @property
    def queued(self) -> int: ...  # rows without an acknowledgement
    def after(self, seq: int, limit: int) -> list[tuple[int, str, bytes]]: ...  # rows after `seq`, in order
    def delivered(self, seq: int) -> None: ...  # called on the producer's thread
    def sweep(self, everything: bool = False) -> None: ...  # remove delivered rows, now or when they are worth a commit


class Relay:
    """A thread that produces the rows in their order and reports each one delivered on its acknowledgement.

    When a delivery ends unanswered (a fatal error of the producer, a missing topic), a new producer begins again with
    the first row that was not acknowledged: a row can be in the topic twice, none is skipped. The same where a producer
    stands still while a broker answers. A producer is made only when a broker has passed the preflight: librdkafka
    aborts the process on some answers that no broker gives.
    """

    def __init__(self, connection: Connection, topic: str, rows: Rows, memory: int) -> None:
        self.newest = 0  # the highest sequence number; the outbox raises it
        self._in_flight = InFlight(memory)  # rows on their way
        self._connection, self._topic, self._rows = connection, topic, rows
        self._last_progress = time.monotonic()  # when a row arrived, or none waited
        self._warned = False
        self._dead = ""  # why the producer has to be replaced
        self._failure = ""  # the same, until a row is acknowledged
        self._acknowledged = Acknowledged()  # by the present producer
        self._stopping = threading.Event()
        check_settings(connection)
        self._producer: IdempotentProducer | None = None
        self._watch, self._next_check = StallWatch(connection, topic), 0.0
        self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the producer; rows on their way stay in the file."""
        self._stopping.set()
        self._thread.join()
        if self._producer is not None:
            self._producer.close()

    @property
    def waits_for(self) -> str:
        """Why nothing is acknowledged, as far as it is known; empty while rows arrive."""
        return self._failure or self._watch.reason

    def _new_producer(self) -> IdempotentProducer:
        return IdempotentProducer(
            self._connection, linger=RELAY_LINGER, events=ROWS_IN_FLIGHT + RELAY_PAGE, memory=1 << 30
        )

    def _run(self) -> None:
        last = 0
        while not self._stopping.wait(RELAY_INTERVAL):
            try:
                if self._dead:
                    self._failure = self._dead
                    logger.warning("the relay begins again: %s", self._dead)
                    self._begin_again()
                    last = 0
                if self._producer is None and self._rows.queued:
                    self._producer = self._make_producer()
                if self._producer is not None:
                    last = self._send_all_after(last, self._producer)
                    self._check(self._producer)
                self._rows.sweep()
                self._warn_when_stuck(time.monotonic())
            except Exception as error:  # without the thread the rows would wait for ever
                self._dead = f"{type(error).__name__}: {error}"

    def _make_producer(self) -> IdempotentProducer | None:
        try:
            preflight.find_accepting_server(self._connection, time.monotonic() + CHECK_TIMEOUT)
        except (LabError, KafkaError) as error:
            self._watch.reason = error.problem if isinstance(error, LabError) else f"no broker answers: {error}"
            return None
        self._watch.reason = ""
        return self._new_producer()

    def _check(self, producer: IdempotentProducer) -> None:
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + STALL_CHECK_INTERVAL
            if self._watch.stands_still(producer):
                self._dead = self._watch.reason

    def _send_all_after(self, last: int, producer: IdempotentProducer) -> int:
        before = -1
        while before != last < self.newest and not self._dead and not self._stopping.is_set():
            before, last = last, self._send_after(last, producer)
        return last

    def _warn_when_stuck(self, now: float) -> None:
        """Log once, each time that rows begin to wait, the reason, for example a wrong password."""
        if not self._rows.queued:
            self._last_progress, self._warned = now, False
        elif now - self._last_progress > WARN_AFTER and not self._warned:
            self._warned = True
            why = self._failure or preflight.diagnose(self._connection)
            logger.warning(
                "outbox: no row was acknowledged for %.0f s, the file keeps them: %s", now - self._last_progress, why
            )

    def _send_after(self, last: int, producer: IdempotentProducer) -> int:
        if producer.waiting >= ROWS_IN_FLIGHT:
            return last
        newest = self.newest  # read before the query, so that no row added after it is passed over
        rows = self._rows.after(last, RELAY_PAGE)
        if not rows:
            return newest  # all rows are delivered already
        for seq, key, value in rows:
            if not self._in_flight.add(seq, "", value) and producer.waiting:
                break  # wait for acknowledgements; a row over the limit travels alone
            try:
                producer.produce(self._topic, value, key, on_delivery=partial(self._report, producer, seq))
            except (BufferError, KafkaException) as error:
                self._dead = str(error)
                break
            last = seq
        return last

    def _report(self, producer: IdempotentProducer, seq: int, error: Any, message: Any) -> None:
        self._in_flight.release(seq)
        if error is None and not self._acknowledged.moves_on(message.partition(), message.offset()):
            error = f"row {seq} was acknowledged at offset {message.offset()}, which is not its own"
        if error is None:
            producer.last_report, self._failure = time.monotonic(), ""
            self._last_progress, self._warned = time.monotonic(), False
            self._rows.delivered(seq)
        else:
            self._dead = str(error)

    def _begin_again(self) -> None:
        if self._producer is not None:
            self._producer.close()  # its last reports come before this returns
        self._rows.sweep(everything=True)
        self._stopping.wait(RESTART_PAUSE)
        self._dead, self._acknowledged, self._in_flight = "", Acknowledged(), InFlight(self._in_flight.memory)
        self._producer = None
