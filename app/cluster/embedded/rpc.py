"""Requests to the supervisor: one JSON line there, one back, over a socket of its owner; every wait has a deadline.

The socket is a Unix socket in a folder that only its owner can enter. Where the file system has none it is a port of
127.0.0.1, which any user of the machine can connect to: there the token alone decides, and few callers are served at
once, so that a flood of them costs answers but never the cluster.
"""

import contextlib
import hashlib
import hmac
import json
import os
import socket
import socketserver
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from streaming_lab.cluster.base import ClusterError

SocketAddress = str | tuple[Literal["127.0.0.1"], int]  # the path of a Unix socket, or a port
Reply = dict[str, Any]
CALL_TIMEOUT = 5.0  # seconds that a caller has to send its line
CALLERS = 16  # that may be sending their line at the same time
LARGEST_REQUEST = 65536  # bytes of a request
LONGEST_SOCKET_PATH = 103  # bytes; sockaddr_un holds 104 with a closing NUL on macOS, 108 on Linux


def call(address: SocketAddress, token: str, command: str, timeout: float = 5.0, **arguments: Any) -> Reply:
    """The supervisor's answer to one command; OSError when none comes in `timeout` s, ValueError for nonsense."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as connection:
        connection.settimeout(timeout)
        connection.connect(address)
        connection.sendall(json.dumps({"token": token, "command": command, **arguments}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.readline() or b"null")
    if not isinstance(answer, dict):
        raise ConnectionError("the supervisor closed the connection without an answer")
    return answer


def raise_problem(answer: Reply) -> Reply:
    """Returns the answer; raises `ClusterError` when it holds a problem."""
    if "problem" in answer:
        raise ClusterError(answer["problem"], answer["cure"])
    return answer


class Server(socketserver.ThreadingTCPServer):
    """Answers callers that know the token with `answer(command, arguments)`, on a socket for this run folder."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, token: str, answer: Callable[[str, dict[str, Any]], Reply], run: Path) -> None:
        self.token = token
        self.answer = answer
        self.places = threading.BoundedSemaphore(CALLERS)
        self._listen(run)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def _listen(self, run: Path) -> None:
        for path in socket_paths(run):
            self.address_family = socket.AF_UNIX
            with contextlib.suppress(OSError):
                path.parent.mkdir(mode=0o700, exist_ok=True)
                if _is_private(path.parent):
                    path.unlink(missing_ok=True)
                    super().__init__(str(path), _Call)  # type: ignore[arg-type]  # as in UnixStreamServer
                    return
        self.address_family = socket.AF_INET
        super().__init__(("127.0.0.1", 0), _Call)

    @property
    def address(self) -> SocketAddress:
        """The path of the Unix socket, or 127.0.0.1 and a port."""
        found = self.server_address
        return found if isinstance(found, str) else ("127.0.0.1", int(found[1]))

    def get_request(self) -> tuple[Any, Any]:
        """Accepts a connection; without a free file descriptor it waits a moment, and the caller longer."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.05)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts the caller's thread; closes the connection when no place becomes free within a second."""
        if not self.places.acquire(timeout=1.0):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.places.release()
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Writes nothing: a caller without the token must not be able to fill the log."""

    def server_close(self) -> None:
        """Closes the socket, and removes its file."""
        super().server_close()
        if isinstance(self.address, str):
            remove_socket(Path(self.address))


class _Call(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        try:
            command, arguments = self._authenticated()
        except (OSError, ValueError, RecursionError):
            return  # the caller hung up, or its line was no request of ours
        finally:
            self.server.places.release()
        answer = json.dumps(self.server.answer(command, arguments)).encode() + b"\n"
        with contextlib.suppress(OSError):
            self.request.settimeout(CALL_TIMEOUT)
            self.request.sendall(answer)

    def _authenticated(self) -> tuple[str, dict[str, Any]]:
        found = json.loads(self._line())
        if not isinstance(found, dict):
            raise ValueError("no object")
        token, command = str(found.pop("token", "")), str(found.pop("command", ""))
        if not hmac.compare_digest(token.encode(errors="replace"), self.server.token.encode()):
            raise ValueError("another token")
        return command, found

    def _line(self) -> bytes:
        """The caller's line; TimeoutError when its end has not come in time, however slowly bytes come."""
        line, deadline = b"", time.monotonic() + CALL_TIMEOUT
        while not line.endswith(b"\n") and len(line) < LARGEST_REQUEST:
            self.request.settimeout(max(deadline - time.monotonic(), 0.001))
            received = self.request.recv(LARGEST_REQUEST)
            if not received:
                break
            line += received
        return line


def socket_paths(run: Path) -> Iterator[Path]:
    """Where the socket of a run folder may be: inside, or where that path is too long in the temporary folder."""
    if len(os.fsencode(run / "rpc")) <= LONGEST_SOCKET_PATH:
        yield run / "rpc"
    import tempfile  # here: few runs need it

    short = Path(tempfile.gettempdir()) / f"streaming-lab-{os.getuid()}"
    path = short / hashlib.sha256(os.fsencode(run)).hexdigest()[:16]
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield path


def remove_socket(path: Path) -> None:
    """Removes a socket's file, and its folder if that is empty then."""
    with contextlib.suppress(OSError):
        path.unlink()
        path.parent.rmdir()


def _is_private(folder: Path) -> bool:
    """Whether the folder is one, this user's, and closed to all others; raises OSError."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
