"""Progress on the terminal: a line per cell, and never ten seconds of silence."""

import shutil
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from streaming_lab.cli import printable

BEAT_LIVE, BEAT_PIPED = 0.5, 5.0  # seconds between two lines while a cell runs


class Progress:
    """Lines on `stream`. On a terminal the running line counts its seconds; in a file no line is rewritten."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool | None = None,
        beat: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty() if live is None else live
        self.beat = beat or (BEAT_LIVE if self.live else BEAT_PIPED)
        self.clock, self.columns = clock, columns
        self.running = ""
        self.detail: Callable[[], str] = str
        self.since = 0.0
        self.lock = threading.Lock()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.tick, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done.set()
        self.thread.join()
        self.clear()

    def begin(self, what: str, detail: Callable[[], str] = str) -> None:
        """Show `what` as running, with what `detail` answers at each beat."""
        with self.lock:
            self.running, self.since, self.detail = printable(what), self.clock(), detail
        if self.live:
            self.pulse()

    def end(self, note: str = "") -> None:
        """Write the line of the step that ended, with its seconds."""
        with self.lock:
            what, seconds, self.running = self.running, self.clock() - self.since, ""
        self.say(f"{what:<44}{seconds:7.1f} s  {note}".rstrip())

    def say(self, line: str) -> None:
        """Write one line."""
        with self.lock:
            self.write(("\r\x1b[K" if self.live else "") + printable(line) + "\n")

    def pulse(self) -> None:
        """Write or rewrite the line of the running step with its seconds."""
        with self.lock:
            if self.running:
                detail = printable(self.detail()).replace("\n", " ") or "running"
                line = f"{self.running:<44}{self.clock() - self.since:7.1f} s  {detail}"
                if self.live and len(line) >= (room := self.columns()):
                    # a line that wraps could not be rewritten: only its last row would go
                    line = f"{self.running}  {self.clock() - self.since:.1f} s  {detail}"[: room - 1]
                self.write(f"\r\x1b[K{line}" if self.live else f"{line}\n")

    def tick(self) -> None:
        """Pulse until the end; the thread's function."""
        while not self.done.wait(self.beat):
            self.pulse()

    def clear(self) -> None:
        """Remove an unfinished line."""
        with self.lock:
            if self.live and self.running:
                self.write("\r\x1b[K")
            self.running = ""

    def write(self, text: str) -> None:
        """Write and flush; a reader that left, or a terminal that was closed, does not stop the run."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            self.done.set()
