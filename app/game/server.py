"""A server for any WSGI application in a background thread: access log, captured prints, and a stop that ends all."""

import errno
import logging
import resource
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, Self
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from waitress.server import TcpWSGIServer
from waitress.wasyncore import close_all, dispatcher

from streaming_lab.errors import LabError
from streaming_lab.game.capture import (
    BoundedLines,
    Lines,
    VisibleStream,
    capture_prints,
    cut,
    install_capture,
    uninstall_capture,
)
from streaming_lab.ports import PortTaken

logger = logging.getLogger(__name__)

SERVER_THREADS = 8  # requests handled at once
ACCESS_LINES_KEPT = 100_000  # lines of the access log and of captured prints; the oldest go first
LOG_BYTES = 16 << 20  # the most that either of the two takes
LONGEST_TARGET = 2000  # characters of a request's target in the access log
LARGEST_HEADER = 16 << 10  # bytes of a request's headers
LARGEST_UPLOAD = 1 << 20  # bytes of a request's body, unless the application says less (Flask: MAX_CONTENT_LENGTH)
MOST_CONNECTIONS = 1000
SPARE_DESCRIPTORS = 64  # for everything of the process that is no client's connection
IDLE_SECONDS = 30  # after which a connection without a request is closed, and one whose request does not get ready

_by_port: "weakref.WeakValueDictionary[tuple[str, int], GameServer]" = weakref.WeakValueDictionary()


class GameServer:
    """A running server on a free port, or on the given one; `with` or `stop` ends it.

    Garbage collection ends a server as well, and a new server on a fixed port ends the old one: a cell can run again.
    At the end each of the application's `extensions` with a `close(timeout)`, such as an event logger, is closed.
    Without `capture` prints and tracebacks go to this process's own streams instead of `printed`.
    """

    def __init__(
        self,
        app: WSGIApplication,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        threads: int = SERVER_THREADS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        capture: bool = True,
        lines_kept: int = ACCESS_LINES_KEPT,
    ) -> None:
        if predecessor := _by_port.get((host, port)):
            predecessor.stop()
        self._lines = BoundedLines(lines_kept, LOG_BYTES)
        self._printed = BoundedLines(lines_kept, LOG_BYTES)
        watched = _Watched(app, self._lines, self._printed if capture else None, clock)
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
        self, app: WSGIApplication, lines: BoundedLines, printed: BoundedLines | None, clock: Callable[[], datetime]
    ) -> None:
        self.app = app
        self._lines = lines
        self._printed = printed
        self._clock = clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
            self._lines.append(access_line(environ, status, self._clock()))
            return start_response(status, headers, *rest)

        captured = None if self._printed is None else Lines(self._printed)
        errors = captured or VisibleStream()
        environ["wsgi.errors"] = errors
        with capture_prints(captured) if captured else nullcontext():
            try:
                return self.app(environ, start)
            except Exception:
                errors.write(traceback.format_exc())
                start("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
                where = "its server's printed lines have" if captured else "its standard error has"
                return [f"the application failed; {where} the traceback\n".encode()]


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    """waitress' listening socket: accepts while the process has descriptors to spare, and ends slow requests."""

    next_channel_cleanup: float
    _resting_until = 0.0
    _warn_after = 0.0
    _unfinished: "dict[Any, tuple[Any, float]]"  # connection -> its half-received request, and when it was first seen

    def readable(self) -> bool:
        now = time.time()
        if now >= self.next_channel_cleanup:
            self.next_channel_cleanup = now + self.adj.cleanup_interval
            self.maintenance(now)
        if len(self._map) >= self.adj.connection_limit:
            self._warn(f"{self.adj.connection_limit} connections are open; further ones wait")
            return False
        return bool(self.accepting and time.monotonic() >= self._resting_until)

    def accept(self) -> Any:
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._resting_until = time.monotonic() + 0.5
            self._warn(f"no new connection can be accepted: {error.strerror}")
            return None

    def maintenance(self, now: float) -> None:
        """Close idle connections, and those whose request has not come whole within `IDLE_SECONDS`."""
        super().maintenance(now)
        before, self._unfinished = getattr(self, "_unfinished", {}), {}
        for channel in self.active_channels.values():
            if (half := channel.request) is None:
                continue
            known, since = before.get(channel, (half, now))
            self._unfinished[channel] = (half, since if known is half else now)
            if now - self._unfinished[channel][1] > IDLE_SECONDS:
                channel.will_close = True

    def _warn(self, text: str) -> None:
        if time.monotonic() >= self._warn_after:
            self._warn_after = time.monotonic() + 60
            logger.warning("%s", text)


def connection_limit() -> int:
    """The most open connections: fewer where this process may have few file descriptors (macOS: 256 in all)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(16, min(MOST_CONNECTIONS, soft - SPARE_DESCRIPTORS))


def largest_body(app: WSGIApplication) -> int:
    """The most bytes of a request's body: the application's own limit where it has one."""
    return getattr(app, "config", {}).get("MAX_CONTENT_LENGTH") or LARGEST_UPLOAD


class _Running:
    """A waitress server in its thread; without a reference to its GameServer, which can so be garbage-collected."""

    def __init__(self, watched: _Watched, host: str, port: int, threads: int) -> None:
        # waitress warns on stderr of each request that waits for a thread; a crowd's requests do so all the time
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self.watched = watched
        sockets: dict[int, Any] = {}
        try:
            self._server = _Listener(
                watched,
                map=sockets,
                host=host,
                port=port,
                threads=threads,
                connection_limit=connection_limit(),
                channel_timeout=IDLE_SECONDS,
                cleanup_interval=5,
                max_request_header_size=LARGEST_HEADER,
                max_request_body_size=largest_body(watched.app) + 1,  # waitress refuses this size and above
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
    target = cut(_escape(target), LONGEST_TARGET)
    words = f"{_escape(environ['REQUEST_METHOD'])} {target} {_escape(environ['SERVER_PROTOCOL'])}"
    when = f"{at.day:02}/{MONTHS[at.month - 1]}/{at:%Y %H:%M:%S}"
    return f'{environ.get("REMOTE_ADDR", "-")} - - [{when}] "{words}" {status.split(" ", 1)[0]} -'


def _escape(text: str) -> str:
    return text.encode("unicode_escape").decode()


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
