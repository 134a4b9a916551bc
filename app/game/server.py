"""A server for any WSGI application in a background thread: access log, captured prints, and a stop that ends all."""

import errno
import logging
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from waitress.server import create_server
from waitress.wasyncore import close_all, dispatcher

from streaming_lab.errors import LabError
from streaming_lab.ports import PortTaken

# Prints of request threads go to their server's list; in a notebook they would land in whichever cell happens to run.

_here = threading.local()  # .lines: the stream for this thread's prints while the thread serves a request
_installing = threading.Lock()
_installed: dict[str, "_ByThread"] = {}
_users = 0


class Lines:
    """A text stream into a list of lines; an unfinished line waits for its end, or for `flush`."""

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


SERVER_THREADS = 8  # requests handled at once
ACCESS_LINES_KEPT = 100_000  # lines of the access log and of what was printed; the oldest go first

_by_port: "weakref.WeakValueDictionary[tuple[str, int], GameServer]" = weakref.WeakValueDictionary()


class GameServer:
    """A running server on a free port, or on the given one; `with` or `stop` ends it.

    Garbage collection ends a server as well, and a new server on a fixed port ends the old one: a cell can run again.
    At the end each of the application's `extensions` with a `close(timeout)`, such as an event logger, is closed.
    """

    def __init__(
        self,
        app: WSGIApplication,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        threads: int = SERVER_THREADS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if predecessor := _by_port.get((host, port)):
            predecessor.stop()
        self._lines: deque[str] = deque(maxlen=ACCESS_LINES_KEPT)
        self._printed: deque[str] = deque(maxlen=ACCESS_LINES_KEPT)
        watched = _Watched(app, self._lines, self._printed, clock)
        self._running = _Running(watched, host, port, threads)
        self.port: int = self._running.port
        self.url = f"http://{host}:{self.port}"
        self.unsent = 0
        _by_port[host, self.port] = self
        self._end = weakref.finalize(self, _end, self._running, app, 5.0)

    @property
    def access_log(self) -> list[str]:
        """A line for each request as Flask's own server writes it, in UTC; written before the client has its answer."""
        return list(self._lines)

    @property
    def printed(self) -> list[str]:
        """The lines that the application printed while it served, and the tracebacks of its errors."""
        return list(self._printed)

    def stop(self, timeout: float = 10.0) -> int:
        """Finish the requests in flight, close every connection, then close the application's extensions.

        Waits `timeout` seconds at most; returns the number of events that the application reports as undelivered.
        """
        if self._end.detach():
            self.unsent = _end(self._running, self._running.watched.app, timeout)
        return self.unsent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Watched:
    """The application with its access log and its captured prints."""

    def __init__(
        self, app: WSGIApplication, lines: "deque[str]", printed: "deque[str]", clock: Callable[[], datetime]
    ) -> None:
        self.app = app
        self._lines = lines
        self._printed = printed
        self._clock = clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
            self._lines.append(access_line(environ, status, self._clock()))
            return start_response(status, headers, *rest)

        errors = Lines(self._printed)
        environ["wsgi.errors"] = errors
        with capture_prints(errors):
            try:
                return self.app(environ, start)
            except Exception:
                errors.write(traceback.format_exc())
                start("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
                return [b"the application failed; the server's printed lines have the traceback\n"]


class _Running:
    """A waitress server in its thread; without a reference to its GameServer, which can so be garbage-collected."""

    def __init__(self, watched: _Watched, host: str, port: int, threads: int) -> None:
        # waitress warns on stderr of each request that waits for a thread; a crowd's requests do so all the time
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self.watched = watched
        sockets: dict[int, Any] = {}
        try:
            self._server = create_server(
                watched,
                map=sockets,
                host=host,
                port=port,
                threads=threads,
                connection_limit=1000,
                asyncore_use_poll=True,
            )
        except (OSError, ValueError) as error:  # ValueError: waitress cannot resolve the host
            close_all(sockets)
            reason = error.errno if isinstance(error, OSError) else None
            if reason == errno.EADDRINUSE:
                raise PortTaken(port, "Use port=0 for a free one, or stop what holds it.") from error
            cure = "Use port=0 for a free one." if reason == errno.EACCES else "Use 127.0.0.1, as by default."
            raise LabError(
                f"port {port} of {host} cannot be used: {getattr(error, 'strerror', None) or error}", cure
            ) from error
        self._server.trigger.lock = threading.RLock()
        self._server.pull_trigger = self._pull  # the workers' way to wake the loop
        self._open = True
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(target=self._server.run, name=f"game-server-{self.port}", daemon=True)
        install_capture()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop listening, finish the requests in flight, close the connections; waitress' own `close` does none of it.

        Sockets are closed on the server's thread, by its trigger; closed by another thread they would stay half open.
        """
        started = time.monotonic()
        server = self._server
        self._pull(lambda: dispatcher.close(server))
        server.task_dispatcher.shutdown(cancel_pending=False, timeout=timeout / 2)
        self._pull(self._close_all)
        self._thread.join(max(0.1, timeout - (time.monotonic() - started)))
        uninstall_capture()

    def _pull(self, thunk: Callable[[], object] | None = None) -> None:
        """Run `thunk` on the server's thread.

        waitress itself notes the thunk and then writes to the trigger. Another wake-up in between runs the thunk, and
        if the thunk closes the trigger, the write goes to a closed file descriptor, or to another file that has its
        number by then. The loop runs thunks under this lock.
        """
        trigger = self._server.trigger
        with trigger.lock:
            if self._open:
                if thunk is not None:
                    trigger.thunks.append(thunk)
                trigger._physical_pull()

    def _close_all(self) -> None:
        self._open = False
        close_all(self._server._map)  # the loop ends when nothing is open


def access_line(environ: WSGIEnvironment, status: str, at: datetime) -> str:
    """One line as werkzeug's server writes it: `127.0.0.1 - - [16/Mar/2019 05:08:40] "GET / HTTP/1.1" 200 -`."""
    target = environ.get("REQUEST_URI") or environ.get("PATH_INFO", "")
    words = f"{environ['REQUEST_METHOD']} {target} {environ['SERVER_PROTOCOL']}".encode("unicode_escape").decode()
    when = f"{at.day:02}/{MONTHS[at.month - 1]}/{at:%Y %H:%M:%S}"
    return f'{environ.get("REMOTE_ADDR", "-")} - - [{when}] "{words}" {status.split(" ", 1)[0]} -'


# strftime's %b would follow the machine's language
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _end(running: _Running, app: WSGIApplication, timeout: float) -> int:
    deadline = time.monotonic() + timeout
    running.stop(timeout)
    unsent = 0
    for extension in getattr(app, "extensions", {}).values():
        close = getattr(extension, "close", None)
        if callable(close):
            unsent += close(max(0.1, deadline - time.monotonic())) or 0
    return unsent
