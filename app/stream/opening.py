"""Opens a connection once, in the process that uses it, and closes it once; remembers a failed attempt for a second."""

import os
import threading
import time
from collections.abc import Callable

from streaming_lab.errors import LabError
from streaming_lab.stream.delivery import Refused

AGAIN = 1.0  # seconds that the failure of one attempt stands for all who come


class Opening:
    """The life of an event log: not open yet, open in one process, closed."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.closed = False
        self._act = act
        self._turn = threading.Lock()
        self._pid: int | None = None
        self._failed_at = -60.0  # monotonic seconds of the last attempt that failed
        self._failure = LabError("")

    def open(self) -> None:
        """Open it, unless it was opened or closed before; raises what the opening raises."""
        with self._turn:
            self._open()

    def check(self) -> None:
        """Return when it is open in this process, opening it on first use.

        Raises `Refused` when it is closed or cannot be opened, and a `LabError` in a forked process.
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

    def close(self, act: Callable[[], None]) -> None:
        """Close it, once; `act` only where it was opened: a forked child owns nothing that it could close."""
        with self._turn:
            if not self.closed:
                self.closed = True
                if self._pid == os.getpid():
                    act()

    def _open_or_refuse(self) -> None:
        # While the broker is away each attempt takes seconds: what one thread learned holds for a moment, also for
        # those who waited for it, so that requests are refused at once instead of piling up.
        with self._turn:
            try:
                if time.monotonic() - self._failed_at > AGAIN:
                    self._open()
                    return
            except LabError as error:
                self._failed_at, self._failure = time.monotonic(), error
        raise Refused(self._failure.problem, self._failure.cure) from self._failure

    def _open(self) -> None:
        if self._pid is None and not self.closed:
            self._act()
            self._pid = os.getpid()
