"""Hostile requests to a game: it answers in kind or hangs up, forgets nothing, and keeps nothing of them."""

import json
import random
import socket
import string
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from harness import Game
from topics_of import new_topic
from waiting import eventually

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.game.game import ANSWERS_BYTES
from streaming_lab.game.server import LOG_BYTES

MB = 1 << 20
CLIENTS = 8
SLACK = 48 * MB  # the allocator's and the threads'; what is stated comes on top
PATHS = (
    b"/",
    b"/purchase_a_sword",
    b"/sell_a_sword",
    b"/join_a_guild",
    b"/metrics",
    b"/ready",
    b"/../etc/passwd",
    b"//",
)

Draw = random.Random
Hostile = Callable[[Draw], bytes]


def noise(draw: Draw, most: int) -> bytes:
    return draw.randbytes(draw.randrange(most))


def text(draw: Draw, most: int) -> bytes:
    return "".join(draw.choices(string.printable + "äß\u202e😀\0", k=draw.randrange(most))).encode()


def request(draw: Draw, target: bytes, *headers: bytes, body: bytes = b"", method: bytes = b"") -> bytes:
    method = method or draw.choice((b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"BREW"))
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: x", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def json_body(draw: Draw) -> bytes:
    value: object = draw.choice(
        (None, True, -1, 10**400, "x" * draw.randrange(9000), [], {"player": {"a": []}}, [[]] * 99)
    )
    body = json.dumps({draw.choice(("player", "guild", "x")): value}).encode()
    return draw.choice((body, body[: len(body) // 2], b"[" * draw.randrange(60_000), b"\xff\xfe" + body))


def with_body(draw: Draw) -> bytes:
    body = json_body(draw)
    length = draw.choice((len(body), 0, -1, 10**30, len(body) + 7, "1e3", "+5"))
    kind = draw.choice(
        (b"application/json", b"text/plain", b"multipart/form-data; boundary=" + noise(draw, 9).hex().encode())
    )
    return request(draw, draw.choice(PATHS), b"Content-Type: " + kind, b"Content-Length: %a" % length, body=body)


def chunked(draw: Draw) -> bytes:
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (draw.choice((len(x), 2**63, 0)), x) for x in (noise(draw, 300), json_body(draw))
    )
    return request(draw, draw.choice(PATHS), b"Transfer-Encoding: chunked", body=pieces)


HOSTILE: dict[str, Hostile] = {
    "noise": lambda draw: noise(draw, 4000),
    "text": lambda draw: text(draw, 4000) + b"\r\n\r\n",
    "long target": lambda draw: request(draw, b"/" + b"a" * draw.randrange(300_000)),
    "odd target": lambda draw: request(
        draw, draw.choice(PATHS) + b"?player=" + noise(draw, 200).hex().encode() + b"%00%ff%zz&" * 9
    ),
    "text in a target": lambda draw: request(
        draw, draw.choice(PATHS) + b"?player=" + text(draw, 300).replace(b"\r\n", b"")
    ),
    "many headers": lambda draw: request(
        draw, b"/", *[b"X-%d: %b" % (n, b"v" * 90) for n in range(draw.randrange(400))]
    ),
    "odd headers": lambda draw: request(
        draw, b"/?player=a", b"X-Request-Id: " + text(draw, 500), b"Host: " + text(draw, 90)
    ),
    "two lengths": lambda draw: request(draw, b"/?player=a", b"Content-Length: 3", b"Content-Length: 30", body=b"abc"),
    "body": with_body,
    "chunked": chunked,
    "many at once": lambda draw: (
        request(draw, b"/?player=p%d" % draw.randrange(9), method=b"GET") * draw.randrange(1, 60)
    ),
    "half": lambda draw: (whole := with_body(draw))[: draw.randrange(len(whole))],
    "long refusal": lambda draw: request(
        draw, b"/sell_a_sword?player=" + b"%F0%9F%98%80" * 64, b"X-Request-Id: %b" % draw.randbytes(64).hex().encode()
    ),
}


class Attack:
    """Requests of every kind, and what was answered to them."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.sent = self.bytes = 0
        self.statuses = Counter[str]()

    def one(self, draw: Draw) -> None:
        """Connect, send, read what comes, and go without a word."""
        said = draw.choice(list(HOSTILE.values()))(draw)
        answers = b""
        with suppress(OSError), socket.create_connection(self.address, 10) as connection:
            connection.settimeout(draw.choice((0.01, 0.2)))
            with suppress(OSError):
                connection.sendall(said)
                if draw.random() < 0.5:
                    connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(1 << 16):
                    answers += piece
        self.sent, self.bytes = self.sent + 1, self.bytes + len(said)
        self.statuses.update(
            line[9:12].decode("latin-1") for line in answers.split(b"\n") if line.startswith(b"HTTP/1.")
        )

    def go_on(self, seed: int, seconds: float) -> None:
        """One client's requests, one after another, until the time is up."""
        draw, end = Draw(seed), time.monotonic() + seconds
        while time.monotonic() < end:
            self.one(draw)


def state(process: psutil.Process) -> tuple[int, int]:
    """Threads and descriptors of the game."""
    return process.num_threads(), process.num_fds()


@pytest.mark.parametrize("seconds", [3.0, pytest.param(None, marks=pytest.mark.long)], ids=["short", "long"])
def test_hostile_requests_leave_nothing(
    kafka: Connection, tmp_path: Path, minutes: float, seconds: float | None
) -> None:
    """No 500, no end, no thread, descriptor or memory beyond what is stated; an honest player is answered after it."""
    game = Game(addresses(kafka), new_topic(kafka), "confirmed", tmp_path)
    game.start()
    try:
        assert game.process is not None
        process, attack = psutil.Process(game.process.pid), Attack(game.address)
        attack.go_on(0, 1.0)  # what an idle game never made: threads, connections to the broker, caches
        assert eventually(
            lambda: (
                not [
                    one
                    for one in process.net_connections()
                    if one.status == "ESTABLISHED" and one.laddr.port == game.address[1]
                ]
            ),
            60,
        )
        before, memory = state(process), process.memory_info().rss
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda seed: attack.go_on(seed, seconds or 60 * minutes), range(1, 1 + CLIENTS)))
        assert eventually(lambda: all(now <= then for now, then in zip(state(process), before, strict=True)), 90), (
            state(process)
        )
        grown = process.memory_info().rss - memory
        sent = f"{attack.sent:,} requests, {attack.bytes / MB:,.0f} MB"
        kept = f"memory {memory / MB:.0f} MB, then {(memory + grown) / MB:.0f} MB"
        sys.stdout.write(f"{sent}; answers {dict(attack.statuses)}; {kept}\n")
        assert attack.sent > 100
        assert {"200", "400", "404"} <= set(attack.statuses), attack.statuses
        assert not {"500", "502"} & set(attack.statuses), attack.statuses
        assert grown < LOG_BYTES + ANSWERS_BYTES + SLACK
        with socket.create_connection(game.address, 10) as honest:
            honest.sendall(b"GET /?player=honest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert honest.recv(100).startswith(b"HTTP/1.1 200 ")
        game.signal("TERM")
        assert game.process.returncode == 0
        assert "Traceback" not in (tmp_path / "errors").read_text()
    finally:
        game.signal("KILL")
