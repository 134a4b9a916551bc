"""Outbox: an answer once the event is durable on this machine; a relay delivers it when the broker can."""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from streaming_lab.cli import whole
from streaming_lab.client.connection import addresses
from streaming_lab.delivery.event_log import EventLog, Option
from streaming_lab.delivery.outbox_store import OutboxStore, Row, rows_in
from streaming_lab.delivery.outcome import DeliveryFuture, Refused, Undecided
from streaming_lab.delivery.relay import Relay
from streaming_lab.errors import LabError
from streaming_lab.paths import lab_home

logger = logging.getLogger(__name__)

DISK_QUOTA = 256 << 20  # bytes
IDLE_COMMIT = 0.1  # seconds without a commit, after which delivered rows get a commit of their own
SWEEP_ROWS = 1000  # delivered rows that are worth a commit in any case

REFUSED_CURE = "Wait for the broker, or free disk."


class Outbox(EventLog):
    """`append` returns after the commit that holds its event; a row leaves the file after the broker's acknowledgement.

    `path` is the file (default: in the lab's home, named after the topic), `quota` its largest size in bytes: an event
    above it is `Refused`. One game per file, a second one is a `LabError`. `connect` needs no broker. Events wait on
    the disk: at most `memory` bytes of them are on their way to the broker at once.
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
        self.path = (Path(path) if path else lab_home() / "outbox" / f"{self.topic}.sqlite").resolve()
        self.quota = quota
        self._file: OutboxStore | None = None
        self._relay: Relay | None = None
        self._waiting: deque[tuple[DeliveryFuture, Row]] = deque()
        self._committing = threading.Lock()  # its holder commits all waiting events: one fsync, no separate writer
        self._committed_at = 0.0
        self._intact = True  # at the end
        self._delivered: dict[int, None] = {}  # acknowledged rows that are still in the file
        self._own = 0  # rows after this one are this process's
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

        A game that rebuilds its world reads these rows first and the topic second: a row that is relayed in between is
        then in both, with the same id.
        """
        return rows_in(self.path)

    def ready(self) -> bool:
        """Does the file have room for an event? The broker may be away."""
        if self._connect_once.closed:
            return False
        return self._file is None or (self._file.has_room() and self._file.intact)

    @property
    def keeps_unsent(self) -> bool:
        """Not when the file was removed under the game."""
        return self._intact

    def after(self, seq: int, limit: int) -> list[tuple[int, str, bytes]]:
        """For the relay: the next undelivered rows in order; delivered rows may still be in the file."""
        assert self._file is not None
        found: list[tuple[int, str, bytes]] = []
        while not found and (rows := self._file.after(seq, limit)):
            found, seq = [row for row in rows if row[0] not in self._delivered], rows[-1][0]
        return found

    def delivered(self, seq: int) -> None:
        """For the relay: mark a row acknowledged; a relay that began again may repeat a row."""
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
        """For the relay: remove delivered rows, unless the next append's commit will soon do so."""
        idle = time.monotonic() - self._committed_at > IDLE_COMMIT
        if self._delivered and (everything or idle or len(self._delivered) > SWEEP_ROWS):
            with self._committing:
                self._commit()

    def _open(self) -> None:
        servers = addresses(self.connection)
        self._file = OutboxStore(self.path, self.topic, self.quota, servers)
        if self._file.elsewhere:
            text = "%s: %d events that were accepted for the brokers at %s go to %s"
            logger.warning(text, self.path, self._file.count(), self._file.elsewhere, servers)
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
        self._waiting.append(entry)
        self._commit_with_others(entry)  # one write to the disk for all events that wait
        if not entry[0].delivered:
            raise Refused(f"outbox {self.path} did not take the event: {entry[0].why}", REFUSED_CURE)

    def _commit_with_others(self, entry: tuple[DeliveryFuture, Row]) -> None:
        outcome = entry[0]
        if self._committing.acquire(timeout=self.timeout):
            try:
                if outcome.delivered is None:  # otherwise the thread before has committed this event along with its own
                    self._commit()
            finally:
                self._committing.release()
        elif not self._withdraw(entry):
            raise Undecided(outcome, self.timeout)

    def _withdraw(self, entry: tuple[DeliveryFuture, Row]) -> bool:
        try:
            self._waiting.remove(entry)
        except ValueError:
            return False  # a commit took the entry
        entry[0].decide(False, f"the disk did not answer for {self.timeout:g} s")
        return True

    def _commit(self) -> None:
        """Commit all waiting events and remove delivered rows; the caller holds `_committing`."""
        assert self._file is not None
        batch = _take_all(self._waiting)
        with self._lock:
            delivered = list(self._delivered)
        try:
            newest = self._file.commit([row for _, row in batch], delivered)
        except sqlite3.Error as error:
            self._refuse(batch, error)
            return
        self._committed_at = time.monotonic()
        with self._lock:
            self._rows += len(batch)
            for seq in delivered:
                del self._delivered[seq]
        if self._relay is not None:
            self._relay.newest = newest
        for outcome, _ in batch:
            outcome.decide(True)

    def _refuse(self, batch: list[tuple[DeliveryFuture, Row]], error: sqlite3.Error) -> None:
        for outcome, _ in batch:
            outcome.decide(False, str(error))

    def _waits_for(self) -> str:
        return self._relay.waits_for if self._relay is not None else ""

    def _close(self, deadline: float) -> list[str]:
        assert self._file is not None
        assert self._relay is not None
        with self._empty:
            self._empty.wait_for(lambda: not self._rows, max(0.0, deadline - time.monotonic()))
        self._relay.stop()
        with self._committing:
            self._commit()
        unsent = [event_id for event_id, _, _ in self._file.rows()]
        self._intact = self._file.intact
        self._file.close()
        return unsent


def _take_all(waiting: deque[tuple[DeliveryFuture, Row]]) -> list[tuple[DeliveryFuture, Row]]:
    """Take everything out of the queue, while other threads may withdraw their entries."""
    found = []
    with suppress(IndexError):
        while True:
            found.append(waiting.popleft())
    return found
