"""Prints of request threads go to their server's lines: in a notebook they would land in whichever cell runs."""

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from streaming_lab.wording import visible

LONGEST_KEPT = 10_000  # characters

_here = threading.local()  # .lines: the stream for this thread's prints while the thread serves a request
_installing = threading.Lock()
_installed: dict[str, "_ByThread"] = {}
_users = 0


class BoundedLines:
    """The newest lines of a log, bounded in lines and in bytes; threads may append as they like.

    A line over `LONGEST_KEPT` characters is cut.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lines: deque[str] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def append(self, line: str) -> None:
        line = cut(line, LONGEST_KEPT)
        with self._lock:
            self._lines.append(line)
            self._bytes += sys.getsizeof(line)
            while len(self._lines) > self._most or self._bytes > self._most_bytes:
                self._bytes -= sys.getsizeof(self._lines.popleft())

    def extend(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.append(line)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._lines))


def cut(text: str, most: int) -> str:
    """`text`, or its first `most` characters and how many follow."""
    return text if len(text) <= most else f"{text[:most]}... and {len(text) - most:,} characters more"


class VisibleStream:
    """This process's standard error as it is now, with control characters as escapes: for tracebacks of requests."""

    def write(self, text: str) -> int:
        sys.stderr.write(visible(text))
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        self.write("".join(texts))

    def flush(self) -> None:
        sys.stderr.flush()


class Lines:
    """A text stream into a list of lines; an unfinished line waits for its end, or for `flush`."""

    def __init__(self, lines: BoundedLines) -> None:
        self._lines = lines
        self._rest = ""

    def write(self, text: str) -> int:
        *whole, self._rest = (self._rest + text).split("\n")
        self._lines.extend(whole)
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        self.write("".join(texts))

    def flush(self) -> None:
        if self._rest:
            self._lines.append(self._rest)
            self._rest = ""


class _ByThread:
    """A text stream that writes where the writing thread's prints go, and is the real stream in everything else."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        written: int = (getattr(_here, "lines", None) or self.stream).write(text)
        return written

    def flush(self) -> None:
        if getattr(_here, "lines", None) is None:  # a line in parts stays one line
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def capture_prints(lines: Lines) -> Iterator[None]:
    """Send the prints of this thread to `lines`."""
    before = getattr(_here, "lines", None)
    _here.lines = lines
    try:
        yield
    finally:
        _here.lines = before
        lines.flush()


def install_capture() -> None:
    """Replace sys.stdout and sys.stderr by streams that know threads, once for all servers."""
    global _users
    with _installing:
        _users += 1
        for name in ("stdout", "stderr"):
            # again when a test or a notebook has replaced the stream since
            if not isinstance(getattr(sys, name), _ByThread):
                _installed[name] = _ByThread(getattr(sys, name))
                setattr(sys, name, _installed[name])


def uninstall_capture() -> None:
    """Restore sys.stdout and sys.stderr with the last server's end."""
    global _users
    with _installing:
        _users -= 1
        if _users == 0:
            for name, stream in _installed.items():
                if getattr(sys, name) is stream:
                    setattr(sys, name, stream.stream)
            _installed.clear()
