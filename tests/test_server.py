"""The server through real sockets: curl, ab, keep-alive connections, and an end that is one."""

import gc
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
import requests
from flask import Flask
from peers import needs

from streaming_lab.game.server import GameServer, access_line
from streaming_lab.ports import PortTaken
from streaming_lab.seed.game_api import app as seed

AT = datetime(2019, 3, 16, 5, 8, 40, tzinfo=UTC)
SEED_LINES = ["/", "/", "/purchase_a_sword", "/", "/purchase_a_sword", "/purchase_a_sword"]


def get(url: str) -> str:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=5).text


def test_the_seeds_curls_give_the_seeds_access_log() -> None:
    """Six requests with curl, six lines in the format of 2019."""
    curl = needs("curl")
    with GameServer(seed, clock=lambda: AT) as server:
        for path in SEED_LINES:
            subprocess.run(
                [curl, "-s", "--noproxy", "*", server.url + path], check=True, capture_output=True, timeout=10
            )
        assert server.access_log == [
            f'127.0.0.1 - - [16/Mar/2019 05:08:40] "GET {path} HTTP/1.1" 200 -' for path in SEED_LINES
        ]


@pytest.mark.parametrize("keep_alive", [[], ["-k"]])
def test_ab_finds_no_failed_request(keep_alive: list[str]) -> None:
    """An independent client, with and without keep-alive."""
    ab = needs("ab")
    with GameServer(seed) as server:
        ran = subprocess.run(
            [ab, "-q", "-n", "200", "-c", "8", *keep_alive, server.url + "/"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert re.findall(r"(?:Complete|Failed|Non-2xx) re\w+: +(\d+)", ran.stdout) == ["200", "0"], ran.stdout + ran.stderr


@pytest.mark.parametrize("path", ["/", "/purchase_a_sword", "/sell_a_sword", "/nothing"])
def test_the_socket_gives_what_flasks_client_gives(path: str) -> None:
    """Bodies are the same byte for byte."""
    with GameServer(seed) as server:
        assert get(server.url + path) == seed.test_client().get(path).text


def closed(connection: socket.socket) -> bool:
    """Has the other side ended this connection?"""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:  # it had not read all that we sent
        return True


def test_stop_ends_everything_with_connections_open() -> None:
    """With an idle keep-alive connection and a half-sent request: no thread, no listener, both connections closed."""
    before = set(threading.enumerate())
    server = GameServer(seed)
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, 5) as idle, socket.create_connection(address, 5) as half:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: game\r\n\r\n")
        answer = b""
        while not answer.endswith(b"sale!\n"):
            answer += idle.recv(4096)
        half.sendall(b"GET / HT")
        server.stop()
        assert (closed(idle), closed(half)) == (True, True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)
    assert server.stop() == 0
    assert not set(threading.enumerate()) - before


def test_stop_answers_what_is_in_hand() -> None:
    """A request that is being handled gets its answer."""
    app, entered, go = Flask("slow"), threading.Event(), threading.Event()

    @app.route("/")
    def slow() -> str:
        entered.set()
        assert go.wait(10)
        return "done"

    with GameServer(app) as server:
        answers: list[str] = []
        client = threading.Thread(target=lambda: answers.append(get(server.url)))
        client.start()
        assert entered.wait(10)
        threading.Timer(0.1, go.set).start()
    client.join(10)
    assert answers == ["done"]


def test_a_cell_can_run_again() -> None:
    """The variable's old server ends when the new one takes its name: one listener, and it answers."""
    before = set(threading.enumerate())
    for _ in range(5):
        server = GameServer(seed)
    gc.collect()
    assert "Sword Sold!" in get(server.url + "/sell_a_sword")
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("game-server-")]
    assert names == [f"game-server-{server.port}"]
    server.stop()
    assert not set(threading.enumerate()) - before


def test_the_same_fixed_port_is_taken_over() -> None:
    """A server of this process on that port is replaced; someone else's is a clear error."""
    first = GameServer(seed)
    with GameServer(seed, port=first.port) as second:
        assert (second.port, "default" in get(second.url)) == (first.port, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            GameServer(seed, port=port)
    assert caught.value.problem.startswith(f"port {port} is taken by ")
    assert str(caught.value).endswith("Use port=0 for a free one, or stop what holds it.")


def test_stop_while_a_worker_wakes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop may close its trigger only after the write that asked it to: here another wake-up comes just before."""
    server = GameServer(Flask("woken"))
    trigger = server._running._server.trigger
    pull = trigger._physical_pull

    def woken_before() -> None:
        pull()
        time.sleep(0.1)
        pull()

    monkeypatch.setattr(trigger, "_physical_pull", woken_before)
    server.stop()
    assert not server._running._thread.is_alive()


def test_what_the_application_prints_is_in_the_servers_list(capsys: pytest.CaptureFixture[str]) -> None:
    """100 requests that print: nothing on this process's streams, everything in `printed`, in order of lines."""
    app = Flask("chatty")

    @app.route("/")
    def chatty() -> str:
        print("to", "stdout")  # noqa: T201
        print("to stderr", file=sys.stderr)  # noqa: T201
        return "done"

    with GameServer(app) as server:
        for _ in range(100):
            get(server.url)
        print("the cell's own")  # noqa: T201
    assert capsys.readouterr() == ("the cell's own\n", "")
    assert server.printed == ["to stdout", "to stderr"] * 100
    assert "_ByThread" not in repr(sys.stdout)


@pytest.mark.parametrize("kind", ["flask", "wsgi"])
def test_a_failing_application_is_a_500_with_its_traceback_kept(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback is in `printed`, not on the terminal; the server goes on."""
    app = Flask("broken")
    logging.getLogger("broken").propagate = False  # pytest listens at the root, where a notebook has nobody

    @app.route("/")
    def broken() -> str:
        raise ZeroDivisionError("by zero")

    def bare(environ: object, start_response: object) -> list[bytes]:
        raise ZeroDivisionError("by zero")

    with GameServer(app if kind == "flask" else bare) as server, requests.Session() as session:  # type: ignore[arg-type]
        session.trust_env = False
        assert [session.get(server.url, timeout=5).status_code for _ in range(2)] == [500, 500]
    assert server.printed.count("ZeroDivisionError: by zero") == 2
    assert [line[-7:] for line in server.access_log] == ['" 500 -'] * 2
    assert capsys.readouterr() == ("", "")


def test_waiting_requests_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """More clients than threads: waitress would warn of its queue on stderr."""
    with caplog.at_level(logging.WARNING), GameServer(seed, threads=1) as server:
        clients = [threading.Thread(target=get, args=(server.url,)) for _ in range(8)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(10)
        assert len(server.access_log) == 8
    assert caplog.records == []


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/?player=a%0Ab", "/?player=a%0Ab"),
        ("/a\nb", "/a\\nb"),
        ("/\x1b[31m", "/\\x1b[31m"),
        ("/é", "/\\xe9"),
        ('/"', '/"'),
    ],
)
def test_a_line_of_the_access_log_is_one_line(target: str, shown: str) -> None:
    """Whatever a client sends as its target, control characters do not reach the log as such."""
    environ = {"REQUEST_METHOD": "GET", "REQUEST_URI": target, "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "::1"}
    assert access_line(environ, "404 NOT FOUND", AT) == f'::1 - - [16/Mar/2019 05:08:40] "GET {shown} HTTP/1.1" 404 -'
