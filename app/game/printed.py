"""What request threads print goes to their server's list, and never into whichever notebook cell happens to run."""

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_here = threading.local()  # .lines: where this thread's prints go, while it serves a request
_installing = threading.Lock()
_installed: dict[str, "_ByThread"] = {}
_users = 0


class Lines:
    """A text stream into a list of lines; what has no end of line yet waits for it, or for `flush`."""

    def __init__(self, lines: "list[str] | deque[str]") -> None:
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
    """A text stream that asks the writing thread where to write; anything else is the real stream's."""

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
def printing_to(lines: Lines) -> Iterator[None]:
    """What this thread prints meanwhile goes to `lines`."""
    before = getattr(_here, "lines", None)
    _here.lines = lines
    try:
        yield
    finally:
        _here.lines = before
        lines.flush()


def install() -> None:
    """Put the streams that know threads before sys.stdout and sys.stderr; once for all servers."""
    global _users
    with _installing:
        _users += 1
        for name in ("stdout", "stderr"):
            # again when somebody (a test, a notebook) has put a stream of their own in its place since
            if not isinstance(getattr(sys, name), _ByThread):
                _installed[name] = _ByThread(getattr(sys, name))
                setattr(sys, name, _installed[name])


def uninstall() -> None:
    """Take them away again with the last server."""
    global _users
    with _installing:
        _users -= 1
        if _users == 0:
            for name, stream in _installed.items():
                if getattr(sys, name) is stream:
                    setattr(sys, name, stream.stream)
            _installed.clear()
