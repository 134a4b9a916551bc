"""The server through real sockets: curl, ab, keep-alive connections, and an end that is one."""

import gc
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import requests
from flask import Flask
from peers import needs

from streaming_lab.game import server as server_module
from streaming_lab.game.capture import BoundedLines
from streaming_lab.game.server import LARGEST_UPLOAD, LONGEST_TARGET, GameServer, access_line, connection_limit
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


def test_a_target_is_cut_in_the_access_log() -> None:
    """250 KB of path are 2,000 characters of the log, and the number of the others."""
    with GameServer(seed, lines_kept=2) as server:
        for _ in range(3):
            get(server.url + "/" + "a" * 10_000)
        lines = server.access_log
    assert len(lines) == 2
    assert f"/{'a' * (LONGEST_TARGET - 1)}... and 8,001 characters more HTTP/1.1" in lines[0]


def test_a_log_is_bounded_in_lines_and_in_bytes() -> None:
    """The oldest lines go when either bound is passed, and one line alone is cut."""
    few, small = BoundedLines(3, 1 << 20), BoundedLines(1000, 1000)
    few.extend(map(str, range(10)))
    small.extend("x" * 40 for _ in range(100))
    assert (list(few), len(list(small))) == (["7", "8", "9"], 1000 // sys.getsizeof("x" * 40))
    few.append("y" * 1_000_000)
    assert max(map(len, few)) < 10_100


def answer_to(server: GameServer, sent: bytes) -> bytes:
    """The first bytes that the server answers to these, within 10 s."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(sent)
        return connection.recv(64)


@pytest.mark.parametrize(
    ("limit", "length", "status"),
    [(None, LARGEST_UPLOAD + 1, b"413"), (4096, 4097, b"413"), (4096, 10**9, b"413")],
)
def test_a_large_body_is_refused_by_its_announcement(limit: int | None, length: int, status: bytes) -> None:
    """The answer comes before a byte of the body, by the application's own limit where it has one."""
    app = Flask("bounded")
    app.config["MAX_CONTENT_LENGTH"] = limit
    with GameServer(app) as server:
        head = b"POST / HTTP/1.1\r\nHost: game\r\nContent-Length: %d\r\n\r\n" % length
        assert answer_to(server, head).split()[1] == status


def test_large_headers_are_refused() -> None:
    """More than 16 KB of headers are a 431."""
    with GameServer(seed) as server:
        head = b"GET / HTTP/1.1\r\nHost: game\r\nX: " + b"x" * 17_000 + b"\r\n\r\n"
        assert answer_to(server, head).split()[1] == b"431"


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(256, 192), (1024, 960), (65_536, 1000), (40, 16), (-1, 1000)]
)
def test_connections_are_limited_by_the_descriptors_there_are(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, connections: int
) -> None:
    """macOS gives a process 256 in all; 64 of them are kept for everything else."""
    monkeypatch.setattr(server_module.resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connection_limit() == connections


FLOOD = """
import resource, socket, sys, time
from streaming_lab.game.server import GameServer
from streaming_lab.seed.game_api import app
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
with GameServer(app) as server:  # its limit is made for many descriptors; now there are few
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
    print(server.port, flush=True)
    sys.stdin.readline()
    began = time.process_time()
    time.sleep(2)
    print(time.process_time() - began, flush=True)
    sys.stdin.readline()
"""


def test_a_process_without_a_descriptor_left_waits_and_goes_on() -> None:
    """More connections than descriptors: no spinning, one line on stderr, and an answer as soon as there is room."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", FLOOD], **pipes) as process:  # type: ignore[call-overload]
        port = int(process.stdout.readline())
        flood = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(80)]
        process.stdin.write("\n")
        process.stdin.flush()
        busy = float(process.stdout.readline())
        for connection in flood:
            connection.close()
        assert "Sword Sold!" in requests.get(f"http://127.0.0.1:{port}/sell_a_sword", timeout=20, proxies={}).text
        _, errors = process.communicate("\n", timeout=30)
    assert errors == "no new connection can be accepted: Too many open files\n"
    assert busy < 0.5


def test_silent_and_trickling_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a whole request in time ends, a byte now and then does not keep it."""
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 1)
    with GameServer(seed) as server:
        server._running._server.adj.cleanup_interval = 0.2
        server._running._server.next_channel_cleanup = 0
        with socket.create_connection(("127.0.0.1", server.port), 10) as trickling:
            deadline = time.monotonic() + 20
            with suppress(OSError):  # reset, or a broken pipe
                while time.monotonic() < deadline:
                    trickling.sendall(b"G")
                    time.sleep(0.2)
        assert time.monotonic() < deadline
        assert "Sword Sold!" in get(server.url + "/sell_a_sword")


@pytest.mark.parametrize("kind", ["flask", "wsgi"])
def test_without_capture_a_traceback_is_on_standard_error(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A game in a process of its own has its log there; control characters come as escapes."""
    app = Flask("broken, uncaptured")

    @app.route("/")
    def broken() -> str:
        raise ZeroDivisionError("by \x1b[2J zero")

    def bare(environ: object, start_response: object) -> list[bytes]:
        raise ZeroDivisionError("by \x1b[2J zero")

    logging.getLogger(app.name).propagate = False
    with GameServer(app if kind == "flask" else bare, capture=False) as server:  # type: ignore[arg-type]
        get(server.url)
    errors = capsys.readouterr().err
    assert (errors.count(r"ZeroDivisionError: by \x1b[2J zero"), "\x1b" in errors, server.printed) == (1, False, [])
