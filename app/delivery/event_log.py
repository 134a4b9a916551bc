"""The event log that a game writes to, and what its answer means: one interface for every way to deliver.

A way is a class of its own, listed in `delivery.ways`. Its `guarantee` says what a returned `append`, and so a 200 of
the game, means; other differences between ways are attributes of the class, and no caller compares a way's name.
"""

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from streaming_lab.cli import positive
from streaming_lab.client.connection import Connection
from streaming_lab.delivery.outcome import Counts, Refused, Undecided
from streaming_lab.errors import LabError

_Item = TypeVar("_Item")

OVERHEAD = 1536  # bytes of memory for a waiting event beside its value; kafka-python needs most, 1.4 KB (measured)


class InFlight:
    """Accepted events without an acknowledgement, by token, oldest first; together they stay within `memory` bytes."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._bytes = 0
        self._events: dict[object, tuple[str, int]] = {}
        self._lock = threading.Lock()  # held for a few instructions only, since delivery reports take it as well

    def __len__(self) -> int:
        return len(self._events)

    def add(self, token: object, event_id: str, value: bytes) -> bool:
        """Add one event; False when the event does not fit."""
        size = len(value) + OVERHEAD
        with self._lock:
            if self._bytes + size > self.memory:
                return False
            self._bytes += size
            self._events[token] = event_id, size
            return True

    def release(self, token: object) -> bool:
        """Remove one event; False when it was removed before, so that each event counts once."""
        with self._lock:
            _, size = self._events.pop(token, ("", 0))
            self._bytes -= size
            return size > 0

    def in_order(self, items: Iterable[_Item], token_of: Callable[[_Item], object]) -> list[_Item]:
        """The items in the order in which their tokens were added."""
        with self._lock:
            places = {token: place for place, token in enumerate(self._events)}
        return sorted(items, key=lambda item: places.get(token_of(item), 0))

    def ids(self) -> list[str]:
        """The ids of the events in flight, oldest first."""
        with self._lock:
            return [event_id for event_id, _ in self._events.values()]

    @property
    def full(self) -> bool:
        """Is there no room even for an event without a value?"""
        return self._bytes + OVERHEAD > self.memory


FAILURE_REMEMBERED = 1.0  # seconds during which a failed attempt answers for all callers


class ConnectOnce:
    """Serializes the first connection and remembers a failed attempt for one second; one process, one close."""

    def __init__(self, connect: Callable[[], None]) -> None:
        self.closed = False
        self._connect = connect
        self._attempt = threading.Lock()
        self._pid: int | None = None
        self._failed_at = -60.0  # monotonic seconds of the last attempt that failed
        self._failure = LabError("")

    def open(self) -> None:
        """Connect, unless connected or closed before; raises what the attempt raises."""
        with self._attempt:
            self._open()

    def check(self) -> None:
        """Return when the log is connected in this process, connecting on first use.

        Raises `Refused` when the log is closed or cannot connect, and a `LabError` in a forked process.
        """
        if self._pid == os.getpid() and not self.closed:
            return
        if self.closed:
            raise Refused("the event log is closed", "Open a new one.")
        if self._pid is not None:
            raise LabError(
                f"the event log was connected in process {self._pid} and is used in process {os.getpid()}",
                "Connect after the fork, in the process that serves: no preloading, or one log for each worker.",
            )
        self._open_or_refuse()

    def close(self, disconnect: Callable[[], None]) -> None:
        """Close once; `disconnect` runs only in the process that connected: a forked child owns nothing to close."""
        with self._attempt:
            if not self.closed:
                self.closed = True
                if self._pid == os.getpid():
                    disconnect()

    def _open_or_refuse(self) -> None:
        # While the broker is away each attempt takes seconds. One thread's failure answers for a second, also for the
        # threads that waited for it, so that requests are refused at once instead of piling up.
        with self._attempt:
            try:
                if time.monotonic() - self._failed_at > FAILURE_REMEMBERED:
                    self._open()
                    return
            except LabError as error:
                self._failed_at, self._failure = time.monotonic(), error
        raise Refused(self._failure.problem, self._failure.cure) from self._failure

    def _open(self) -> None:
        if self._pid is None and not self.closed:
            self._connect()
            self._pid = os.getpid()


MEMORY_LIMIT = 32 << 20  # bytes that undelivered events may take, each counted as its value plus 1.5 KB
LARGEST_EVENT = 512 << 10  # bytes of one event: below a broker's message.max.bytes, so that no broker refuses it later
LONGEST_REASON = 300  # characters
TIMEOUT = 2.0  # seconds that one append waits at most, by default


@dataclass(frozen=True)
class Option:
    """A setting of a way that a person may choose: its keyword, its reader of text, its default, its meaning."""

    name: str
    read: Callable[[str], Any]
    default: Any
    meaning: str
    flag: str = ""
    metavar: str | None = None

    @property
    def switch(self) -> str:
        """The option's name on a command line."""
        return self.flag or f"--{self.name}"


class EventLog(ABC):
    """Takes events: `append` from any number of threads; `connect` or the first `append` connects, `with` closes."""

    guarantee: ClassVar[str]
    safe: ClassVar[bool] = False  # is no accepted event ever lost, whatever happens to broker and game?
    awaits_broker: ClassVar[bool] = False  # does `append` wait for the broker's acknowledgement?
    survives_restart: ClassVar[bool] = False  # does the next start deliver what this process did not?
    names_unsent: ClassVar[bool] = False  # does `close` name each accepted event that did not arrive?
    options: ClassVar[tuple[Option, ...]] = (
        Option("timeout", positive, TIMEOUT, "seconds that one request waits for its event"),
    )

    def __init__(
        self, connection: Connection, topic: str, *, timeout: float = TIMEOUT, memory: int = MEMORY_LIMIT
    ) -> None:
        self.connection = connection
        self.topic = topic
        self.timeout = timeout  # seconds that one append waits at most
        self.in_flight = InFlight(memory)
        self.unsent: list[str] = []
        self.unnamed = 0  # undelivered events that `unsent` has no room for
        self._tally = dict.fromkeys(("accepted", "acknowledged", "failed", "unknown", "relayed", "refused"), 0)
        self._reasons: dict[str, str] = {}  # count -> why its last event is in it
        self._lock = threading.Lock()  # guards the tally; held for a few instructions only
        self._connect_once = ConnectOnce(self._open)

    def append(self, key: str, value: bytes, event_id: str) -> None:
        """Deliver one event under its key (the player); returns when `guarantee` holds.

        Waits `timeout` seconds at most, plus five for a first connection. Raises `Refused` or `Undecided`, and a
        `LabError` in a forked process.
        """
        try:
            self._check(value)
            self._deliver(key, value, event_id)
        except Refused as error:
            self._count("refused", why=error.problem)
            raise
        except Undecided as error:
            self._count("unknown", why=error.why or error.problem)
            raise
        self._count("accepted")

    def connect(self) -> None:
        """Connect now instead of on first use; raises `UnknownTopic` or `BrokerUnavailable` within five seconds."""
        self._connect_once.open()

    @property
    def counts(self) -> Counts:
        """The counts of this moment; running requests change them."""
        with self._lock:
            return Counts(queued=self.queued, **self._tally)

    @property
    def last_reasons(self) -> dict[str, str]:
        """By count (failed, refused, unknown): why its last event is in it; `queued`: what waiting events wait for."""
        with self._lock:
            found = dict(self._reasons)
        return {**found, "queued": waits_for} if self.queued and (waits_for := self._waits_for()) else found

    @property
    def queued(self) -> int:
        """Accepted events whose delivery is not decided yet."""
        return len(self.in_flight)

    def ready(self) -> bool:
        """Would an event be accepted now? Takes a second at most."""
        return not self._connect_once.closed and not self.in_flight.full

    @property
    def disk(self) -> int:
        """The bytes that the log's file may take; 0 for a way without a file."""
        return 0

    @property
    def keeps_unsent(self) -> bool:
        """Are the events that `close` could not deliver kept for the next start?"""
        return self.survives_restart

    @classmethod
    def settings_in(cls, folder: Path) -> dict[str, Any]:
        """The settings that put the way's file into `folder`."""
        del folder
        return {}

    def pending(self) -> Iterable[tuple[str, str, bytes]]:
        """(event id, key, value) of events that outlive this process undelivered: the rows of an outbox."""
        return ()

    def close(self, timeout: float = 10.0) -> int:
        """Deliver what waits, for about `timeout` seconds; returns how many were not delivered, `unsent` names them."""
        deadline = time.monotonic() + timeout

        def close() -> None:
            self.unsent = self._close(deadline)

        self._connect_once.close(close)
        return len(self.unsent) + self.unnamed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _open(self) -> None:
        """Connect; called once, in the process that appends."""

    @abstractmethod
    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        """Deliver one event as `guarantee` says."""

    @abstractmethod
    def _close(self, deadline: float) -> list[str]:
        """Drain until `deadline` (monotonic seconds), release everything, return the ids of undelivered events."""

    def _waits_for(self) -> str:
        """Why no waiting event is acknowledged, as far as it is known."""
        return ""

    def _count(self, name: str, by: int = 1, why: str = "") -> None:
        with self._lock:
            self._tally[name] += by
            if why:
                self._reasons[name] = why[:LONGEST_REASON]

    def _reserve(self, token: object, event_id: str, value: bytes) -> None:
        if not self.in_flight.add(token, event_id, value):
            raise Refused(f"{len(self.in_flight)} events wait for the broker: the queue is full", "Ask again later.")

    def _settle(self, token: object, acknowledged: bool, why: str = "") -> None:
        if self.in_flight.release(token):
            self._count("acknowledged" if acknowledged else "failed", why=why)

    def _check(self, value: bytes) -> None:
        if len(value) > LARGEST_EVENT:
            raise Refused(
                f"an event of {len(value)} bytes is over the limit of {LARGEST_EVENT}", "Send less in one event."
            )
        self._connect_once.check()


class NoLog(EventLog):
    """No log at all: the baseline for the other ways."""

    guarantee = "The game did what was asked, and no event of it is kept anywhere."

    def _open(self) -> None:
        pass

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        pass

    def _close(self, deadline: float) -> list[str]:
        return []
