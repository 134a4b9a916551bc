"""The event log that a game writes to: one interface for all ways to deliver.

A way is a class of its own, named in `streaming_lab.stream.ways`. Its `guarantee` says what an `append` that returned, and so a
200 of the game, means; what else differs from way to way is an attribute of the class, never a question for its name.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from streaming_lab.cli import positive
from streaming_lab.client.connection import Connection
from streaming_lab.stream.delivery import Counts, Refused, Undecided
from streaming_lab.stream.held import Held
from streaming_lab.stream.opening import Opening

MEMORY = 32 << 20  # bytes that undelivered events may take, each counted as its value plus 1.5 KB
LARGEST = 512 << 10  # bytes of one event; well below a broker's message.max.bytes, so that no broker refuses it later
TIMEOUT = 2.0  # seconds that one append waits at most, unless it is told otherwise


@dataclass(frozen=True)
class Option:
    """A setting that a person may give a way: its keyword, how text becomes a value, its default, its meaning."""

    name: str
    read: Callable[[str], Any]
    default: Any
    meaning: str
    flag: str = ""
    metavar: str | None = None

    @property
    def switch(self) -> str:
        """The option on a command line."""
        return self.flag or f"--{self.name}"


class EventLog(ABC):
    """Where events go: `append` from any number of threads, `connect` or let the first use connect, `with` closes."""

    guarantee: ClassVar[str]
    safe: ClassVar[bool] = False  # is no accepted event ever lost, whatever happens to broker and game?
    awaits_broker: ClassVar[bool] = False  # does `append` wait for the broker's word?
    survives_restart: ClassVar[bool] = False  # does the next start deliver what this process could not?
    names_unsent: ClassVar[bool] = False  # does `close` name each accepted event that did not arrive?
    options: ClassVar[tuple[Option, ...]] = (
        Option("timeout", positive, TIMEOUT, "seconds that one request waits for its event"),
    )

    def __init__(self, connection: Connection, topic: str, *, timeout: float = TIMEOUT, memory: int = MEMORY) -> None:
        self.connection = connection
        self.topic = topic
        self.timeout = timeout  # seconds that one append waits at most
        self.held = Held(memory)
        self.unsent: list[str] = []
        self.unnamed = 0  # undelivered events that `unsent` has no room for
        self._tally = dict.fromkeys(("accepted", "acknowledged", "failed", "unknown", "relayed", "refused"), 0)
        self._lock = threading.Lock()  # guards the tally; held for a few instructions only
        self._opening = Opening(self._open)

    def append(self, key: str, value: bytes, event_id: str) -> None:
        """Deliver one event under its key (the player); returns when `guarantee` holds.

        Waits `timeout` seconds at most, and while there is no connection yet for that, too (five). Raises `Refused` or
        `Undecided`, and a `LabError` in a forked process.
        """
        try:
            self._check(value)
            self._deliver(key, value, event_id)
        except Refused:
            self._count("refused")
            raise
        except Undecided:
            self._count("unknown")
            raise
        self._count("accepted")

    def connect(self) -> None:
        """Connect now instead of on first use; raises `TopicMissing` or `BrokerGone` within five seconds."""
        self._opening.open()

    @property
    def counts(self) -> Counts:
        """The numbers now; while requests run they are a moment's picture."""
        with self._lock:
            return Counts(queued=self.queued, **self._tally)

    @property
    def queued(self) -> int:
        """Events handed over and not decided yet."""
        return len(self.held)

    def ready(self) -> bool:
        """Would an event be accepted now? Takes a second at most."""
        return not self._opening.closed and not self.held.full

    @property
    def disk(self) -> int:
        """The bytes that the log's file may take; 0 where a way keeps none."""
        return 0

    @classmethod
    def settings_in(cls, folder: Path) -> dict[str, Any]:
        """Settings that put what the way keeps on disk into `folder`."""
        del folder
        return {}

    def pending(self) -> Iterable[tuple[str, str, bytes]]:
        """(event id, key, value) of events that outlive this process undelivered: the rows of an outbox."""
        return ()

    def close(self, timeout: float = 10.0) -> int:
        """Deliver what can be within about `timeout` seconds; returns how many were not, `unsent` names them."""
        deadline = time.monotonic() + timeout

        def close() -> None:
            self.unsent = self._close(deadline)

        self._opening.close(close)
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
        """Hold the guarantee for one event."""

    @abstractmethod
    def _close(self, deadline: float) -> list[str]:
        """Drain until `deadline` (monotonic seconds), release everything, return the ids that were not delivered."""

    def _count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._tally[name] += by

    def _hold(self, ticket: object, event_id: str, value: bytes) -> None:
        if not self.held.add(ticket, event_id, value):
            raise Refused(f"{len(self.held)} events wait for the broker: the queue is full", "Ask again later.")

    def _settle(self, ticket: object, acknowledged: bool) -> None:
        if self.held.drop(ticket):
            self._count("acknowledged" if acknowledged else "failed")

    def _check(self, value: bytes) -> None:
        if len(value) > LARGEST:
            raise Refused(f"an event of {len(value)} bytes is over the limit of {LARGEST}", "Send less in one event.")
        self._opening.check()


class NoLog(EventLog):
    """Nothing is logged: what the other ways are compared with."""

    guarantee = "The game did what was asked, and no event of it is kept anywhere."

    def _open(self) -> None:
        pass

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        pass

    def _close(self, deadline: float) -> list[str]:
        return []
