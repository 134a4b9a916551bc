"""Outbox: an answer once the event is durable on this machine; a relay delivers it when the broker can."""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka import KafkaException

from streaming_lab.cli import whole
from streaming_lab.client import preflight
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.delivery.event_log import EventLog, InFlight, Option
from streaming_lab.delivery.outbox_store import OutboxStore, Row, rows_in
from streaming_lab.delivery.outcome import DeliveryFuture, Refused, Undecided
from streaming_lab.delivery.producer import Acknowledged, IdempotentProducer
from streaming_lab.errors import LabError
from streaming_lab.paths import lab_home

# The outbox's relay: rows to the topic, in order and at least once, for as long as it takes.


logger = logging.getLogger(__name__)

RELAY_LINGER = 0.005  # seconds; nobody waits for a relay's acknowledgement
ROWS_IN_FLIGHT = (
    4000  # rows that are on their way at once, as far as `memory` allows: a long outage costs disk, not memory
)
RELAY_PAGE = 500  # rows that are read at once
RELAY_INTERVAL = 0.02  # seconds between two looks for new rows
WARN_AFTER = 3.0  # seconds that rows may wait before the log says why
RESTART_PAUSE = 1.0  # seconds before a dead producer's successor begins


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
        self._in_flight = InFlight(memory)  # what is on its way
        self._connection, self._topic, self._rows = connection, topic, rows
        self._calm = time.monotonic()  # when something arrived, or nothing waited
        self._worried = False
        self._dead = ""  # why the producer has to be replaced
        self._acknowledged = Acknowledged()  # by the present producer
        self._stopping = threading.Event()
        self._producer = self._new_engine()
        self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the producer; what is on its way stays in the file."""
        self._stopping.set()
        self._thread.join()
        self._producer.close()

    def _new_engine(self) -> IdempotentProducer:
        return IdempotentProducer(
            self._connection, linger=RELAY_LINGER, events=ROWS_IN_FLIGHT + RELAY_PAGE, memory=1 << 30
        )

    def _run(self) -> None:
        last = 0
        while not self._stopping.wait(RELAY_INTERVAL):
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
        if not self._producer.waiting:
            self._calm, self._worried = now, False
        elif now - self._calm > WARN_AFTER and not self._worried:
            self._worried = True
            why = preflight.diagnose(self._connection)
            logger.warning("outbox: no row was acknowledged for %.0f s, the file keeps them: %s", now - self._calm, why)

    def _send_behind(self, last: int) -> int:
        if self._producer.waiting >= ROWS_IN_FLIGHT:
            return last
        newest = self.newest  # before the query: a row that is added after it must not be passed over
        rows = self._rows.after(last, RELAY_PAGE)
        if not rows:
            return newest  # all of them are delivered already
        for seq, key, value in rows:
            if not self._in_flight.add(seq, "", value) and self._producer.waiting:
                break  # no more until some of it has arrived; a row that is too large travels alone
            try:
                self._producer.produce(self._topic, value, key, on_delivery=partial(self._report, seq))
            except (BufferError, KafkaException) as error:
                self._dead = str(error)
                break
            last = seq
        return last

    def _report(self, seq: int, error: Any, message: Any) -> None:
        self._in_flight.release(seq)
        if error is None and not self._acknowledged.moves_on(message.partition(), message.offset()):
            error = f"row {seq} was acknowledged at offset {message.offset()}, which is not its own"
        if error is None:
            self._calm, self._worried = time.monotonic(), False
            self._rows.delivered(seq)
        else:
            self._dead = str(error)

    def _begin_again(self) -> None:
        self._producer.close()  # its last reports come before this returns
        self._rows.sweep(everything=True)
        self._stopping.wait(RESTART_PAUSE)
        self._dead, self._acknowledged, self._in_flight = "", Acknowledged(), InFlight(self._in_flight.memory)
        self._producer = self._new_engine()


DISK_QUOTA = 256 << 20  # bytes
IDLE_COMMIT = 0.1  # seconds without a commit, after which delivered rows get one of their own
SWEEP_ROWS = 1000  # delivered rows that are worth a commit in any case


class Outbox(EventLog):
    """`append` returns after the commit that holds its event; a row leaves the file after the broker's acknowledgement.

    `path` is the file (default: in the lab's home, named after the topic), `quota` its largest size in bytes: beyond it
    an event is `Refused`. One game per file, a second one is a `LabError`. `connect` needs no broker. What waits,
    waits on the disk: at most `memory` bytes of it are on their way to the broker at once.
    """

    guarantee = "The event is durable on this machine and will reach the broker, in order and at least once."
    safe = survives_restart = True
    options = (
        *EventLog.options,
        Option("path", str, None, "the outbox's file (default: in the lab's home, by topic)", "--outbox", "FILE"),
        Option("quota", whole(1), DISK_QUOTA, "largest size of the outbox, bytes"),
    )

    def __init__(self, *args: Any, path: Path | str | None = None, quota: int = DISK_QUOTA, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.path = Path(path) if path else lab_home() / "outbox" / f"{self.topic}.sqlite"
        self.quota = quota
        self._file: OutboxStore | None = None
        self._relay: Relay | None = None
        self._waiting: deque[tuple[DeliveryFuture, Row]] = deque()
        self._committing = threading.Lock()  # its holder commits for all that wait: one fsync, no hand-over to a writer
        self._committed_at = 0.0
        self._delivered: dict[int, None] = {}  # acknowledged rows that are in the file still
        self._own = 0  # rows behind this one are this process's
        self._rows = 0  # rows that the broker has not acknowledged
        self._empty = threading.Condition(self._lock)

    @property
    def queued(self) -> int:
        """Rows that no broker has acknowledged, those of an earlier process included."""
        return self._rows

    @property
    def disk(self) -> int:
        """The file's quota; SQLite's write-ahead log comes on top."""
        return self.quota

    @classmethod
    def settings_in(cls, folder: Path) -> dict[str, Any]:
        """The outbox's file in that folder."""
        return {"path": folder / "outbox.sqlite"}

    def pending(self) -> Iterable[Row]:
        """The undelivered rows in their order, before or after `connect`.

        A game that rebuilds its world reads them first and the topic second: a row that moves in between is then in
        both, and its id tells.
        """
        return rows_in(self.path)

    def ready(self) -> bool:
        """Would the file take an event now? The broker may be away: that is what the outbox is for."""
        return not self._connect_once.closed and (self._file is None or self._file.has_room())

    def after(self, seq: int, limit: int) -> list[tuple[int, str, bytes]]:
        """For the relay: the next rows in order, without those that are delivered and not removed yet."""
        assert self._file is not None
        found: list[tuple[int, str, bytes]] = []
        while not found and (rows := self._file.after(seq, limit)):
            found, seq = [row for row in rows if row[0] not in self._delivered], rows[-1][0]
        return found

    def delivered(self, seq: int) -> None:
        """For the relay: the broker has acknowledged this row; it may say so again after it began again."""
        with self._lock:
            if seq in self._delivered:
                return
            self._delivered[seq] = None
            self._rows -= 1
            self._tally["relayed"] += 1
            self._tally["acknowledged"] += seq > self._own
            if not self._rows:
                self._empty.notify_all()

    def sweep(self, everything: bool = False) -> None:
        """For the relay: remove delivered rows, unless the next append is about to do it along with its own commit."""
        idle = time.monotonic() - self._committed_at > IDLE_COMMIT
        if self._delivered and (everything or idle or len(self._delivered) > SWEEP_ROWS):
            with self._committing:
                self._commit()

    def _open(self) -> None:
        servers = addresses(self.connection)
        self._file = OutboxStore(self.path, self.topic, self.quota, servers)
        if self._file.elsewhere:
            moved = "%s: %d events that were accepted for the brokers at %s go to %s"
            logger.warning(moved, self.path, self._file.count(), self._file.elsewhere, servers)
        self._own = self._file.newest()
        self._rows = self._file.count()
        try:
            self._relay = Relay(self.connection, self.topic, self, self.in_flight.memory)
        except LabError:
            self._file.close()
            self._file = None
            raise
        self._relay.newest = self._own

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        entry = DeliveryFuture(event_id), (event_id, key, value)
        outcome = entry[0]
        self._waiting.append(entry)
        if self._committing.acquire(timeout=self.timeout):
            try:
                if outcome.delivered is None:  # else the one before has committed this event along with its own
                    self._commit()
            finally:
                self._committing.release()
        elif not self._withdraw(entry):
            raise Undecided(outcome, self.timeout)
        if not outcome.delivered:
            raise Refused(
                f"outbox {self.path} did not take the event: {outcome.why}", "Wait for the broker, or free disk."
            )

    def _withdraw(self, entry: tuple[DeliveryFuture, Row]) -> bool:
        try:
            self._waiting.remove(entry)
        except ValueError:
            return False  # a commit has it
        entry[0].decide(False, f"the disk did not answer for {self.timeout:g} s")
        return True

    def _commit(self) -> None:
        """Commit all that waits, and forget what is delivered; the caller holds `_committing`."""
        assert self._file is not None
        batch = _take_all(self._waiting)
        with self._lock:
            gone = list(self._delivered)
        try:
            newest = self._file.commit([row for _, row in batch], gone)
        except sqlite3.Error as error:
            self._refuse(batch, error)
            return
        self._committed_at = time.monotonic()
        with self._lock:
            self._rows += len(batch)
            for seq in gone:
                del self._delivered[seq]
        if self._relay is not None:
            self._relay.newest = newest
        for outcome, _ in batch:
            outcome.decide(True)

    def _refuse(self, batch: list[tuple[DeliveryFuture, Row]], error: sqlite3.Error) -> None:
        for outcome, _ in batch:
            outcome.decide(False, str(error))

    def _close(self, deadline: float) -> list[str]:
        assert self._file is not None
        assert self._relay is not None
        with self._empty:
            self._empty.wait_for(lambda: not self._rows, max(0.0, deadline - time.monotonic()))
        self._relay.stop()
        with self._committing:
            self._commit()
        unsent = [event_id for event_id, _, _ in rows_in(self.path)]
        self._file.close()
        return unsent


def _take_all(waiting: deque[tuple[DeliveryFuture, Row]]) -> list[tuple[DeliveryFuture, Row]]:
    """All that is in the queue; whoever is tired of waiting may take an entry back meanwhile."""
    found = []
    with suppress(IndexError):
        while True:
            found.append(waiting.popleft())
    return found
