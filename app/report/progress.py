"""What the terminal shows while the chapters run: a line per cell, and never ten seconds of silence."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

BEAT_LIVE, BEAT_PIPED = 0.5, 5.0  # seconds between two signs of life


class Progress:
    """Lines on `stream`. On a terminal the running line counts its seconds; in a file nothing is ever rewritten."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool | None = None,
        beat: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty() if live is None else live
        self.beat = beat or (BEAT_LIVE if self.live else BEAT_PIPED)
        self.clock = clock
        self.running = ""
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

    def begin(self, what: str) -> None:
        """From now on `what` is running."""
        with self.lock:
            self.running, self.since = what, self.clock()
        if self.live:
            self.pulse()

    def end(self, note: str = "") -> None:
        """What was running is done: one line with its seconds."""
        with self.lock:
            what, seconds, self.running = self.running, self.clock() - self.since, ""
        self.say(f"{what:<44}{seconds:7.1f} s  {note}".rstrip())

    def say(self, line: str) -> None:
        """One line of its own."""
        with self.lock:
            self.write(("\r\x1b[K" if self.live else "") + line + "\n")

    def pulse(self) -> None:
        """Say what is running and for how long."""
        with self.lock:
            if self.running:
                line = f"{self.running:<44}{self.clock() - self.since:7.1f} s  running"
                self.write(f"\r\x1b[K{line}" if self.live else f"{line}\n")

    def tick(self) -> None:
        """The heart of the thread."""
        while not self.done.wait(self.beat):
            self.pulse()

    def clear(self) -> None:
        """Leave no half line behind."""
        with self.lock:
            if self.live and self.running:
                self.write("\r\x1b[K")
            self.running = ""

    def write(self, text: str) -> None:
        """Write now: a pipe's reader wants it now, too. A reader that left is no reason to stop a run."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except (BrokenPipeError, ValueError):
            self.done.set()
