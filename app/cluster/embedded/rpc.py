"""Requests to the supervisor: one JSON line there, one back, over loopback; every wait has a deadline."""

import hmac
import json
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Any

from streaming_lab.cluster.base import ClusterError

Reply = dict[str, Any]
CALL_TIMEOUT = 5.0  # seconds that a caller has to send its line


def call(address: tuple[str, int], token: str, command: str, timeout: float = 5.0, **arguments: Any) -> Reply:
    """The supervisor's answer to one command; OSError when none comes in `timeout` s, ValueError for nonsense."""
    with socket.create_connection(address, timeout=timeout) as connection:
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
    """Answers callers that know the token with `answer(command, arguments)`, on a free port of 127.0.0.1."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, token: str, answer: Callable[[str, dict[str, Any]], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.token = token
        self.answer = answer
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listening socket."""
        host, port = self.server_address[:2]
        return str(host), int(port)


class _Call(socketserver.StreamRequestHandler):
    timeout = CALL_TIMEOUT
    server: Server

    def handle(self) -> None:
        try:
            call = json.loads(self.rfile.readline(65536) or b"null")
            if not isinstance(call, dict) or not hmac.compare_digest(str(call.pop("token", "")), self.server.token):
                return
            answer = self.server.answer(str(call.pop("command", "")), call)
            self.wfile.write(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError):
            return  # the caller hung up, or its line was no JSON
