"""The outbox's relay: rows to the topic, in order and at least once, for as long as it takes."""

import logging
import threading
import time
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaException

from streaming_lab.client import preflight
from streaming_lab.client.connection import Connection
from streaming_lab.stream.engine import Acknowledged, Engine
from streaming_lab.stream.held import Held

logger = logging.getLogger(__name__)

LINGER = 0.005  # seconds; nobody waits for a relay's acknowledgement
AHEAD = 4000  # rows that are on their way at once, as far as `memory` allows: a long outage costs disk, not memory
PAGE = 500  # rows that are read at once
TICK = 0.02  # seconds between two looks for new rows
WORRY = 3.0  # seconds that rows may wait before the log says why
PAUSE = 1.0  # seconds before a dead producer's successor begins


class Rows(Protocol):
    """What the relay needs of an outbox."""

    def after(self, seq: int, limit: int) -> list[tuple[int, str, bytes]]: ...  # rows behind `seq`, in order
    def delivered(self, seq: int) -> None: ...  # called on the engine's thread
    def sweep(self, everything: bool = False) -> None: ...  # forget delivered rows, now or when it is worth a commit


class Relay:
    """A thread that produces each row behind the last one, and reports it delivered on its acknowledgement.

    When a delivery is declared dead (a fatal error of the producer, a topic that is missing), a new producer begins
    again with the first row that was not acknowledged: a row can be in the topic twice, none is skipped.
    """

    def __init__(self, connection: Connection, topic: str, rows: Rows, memory: int) -> None:
        self.newest = 0  # the highest sequence number there is; the outbox moves it
        self._held = Held(memory)  # what is on its way
        self._connection, self._topic, self._rows = connection, topic, rows
        self._calm = time.monotonic()  # when something arrived, or nothing waited
        self._worried = False
        self._dead = ""  # why the producer has to be replaced
        self._acknowledged = Acknowledged()  # by the present producer
        self._stopping = threading.Event()
        self._engine = self._new_engine()
        self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the producer; what is on its way stays in the file."""
        self._stopping.set()
        self._thread.join()
        self._engine.close()

    def _new_engine(self) -> Engine:
        return Engine(self._connection, linger=LINGER, events=AHEAD + PAGE, memory=1 << 30)

    def _run(self) -> None:
        last = 0
        while not self._stopping.wait(TICK):
            try:
                if self._dead:
                    logger.warning("the relay begins again: %s", self._dead)
                    self._begin_again()
                    last = 0
                last = self._send_all_behind(last)
                self._rows.sweep()
                self._look_after(time.monotonic())
            except Exception as error:  # the thread must outlive it, or the rows wait for ever
                self._dead = f"{type(error).__name__}: {error}"

    def _send_all_behind(self, last: int) -> int:
        before = -1
        while before != last < self.newest and not self._dead and not self._stopping.is_set():
            before, last = last, self._send_behind(last)
        return last

    def _look_after(self, now: float) -> None:
        """Say once, each time that rows begin to wait, what they wait for: a wrong password would be no news else."""
        if not self._engine.waiting:
            self._calm, self._worried = now, False
        elif now - self._calm > WORRY and not self._worried:
            self._worried = True
            why = preflight.diagnose(self._connection)
            logger.warning("outbox: no row was acknowledged for %.0f s, the file keeps them: %s", now - self._calm, why)

    def _send_behind(self, last: int) -> int:
        if self._engine.waiting >= AHEAD:
            return last
        newest = self.newest  # before the query: a row that is added after it must not be passed over
        rows = self._rows.after(last, PAGE)
        if not rows:
            return newest  # all of them are delivered already
        for seq, key, value in rows:
            if not self._held.add(seq, "", value) and self._engine.waiting:
                break  # no more until some of it has arrived; a row that is too large travels alone
            try:
                self._engine.produce(self._topic, value, key, on_delivery=partial(self._report, seq))
            except (BufferError, KafkaException) as error:
                self._dead = str(error)
                break
            last = seq
        return last

    def _report(self, seq: int, error: Any, message: Any) -> None:
        self._held.drop(seq)
        if error is None and not self._acknowledged.moves_on(message.partition(), message.offset()):
            error = f"row {seq} was acknowledged at offset {message.offset()}, which is not its own"
        if error is None:
            self._calm, self._worried = time.monotonic(), False
            self._rows.delivered(seq)
        else:
            self._dead = str(error)

    def _begin_again(self) -> None:
        self._engine.close()  # its last reports come before this returns
        self._rows.sweep(everything=True)
        self._stopping.wait(PAUSE)
        self._dead, self._acknowledged, self._held = "", Acknowledged(), Held(self._held.memory)
        self._engine = self._new_engine()
