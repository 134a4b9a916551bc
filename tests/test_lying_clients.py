"""What answers at a broker's address and is none: every call ends in time with one of the promised errors."""

import contextlib
import random
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, connection_for
from streaming_lab.client.errors import AccessDenied, BrokerUnavailable
from streaming_lab.client.preflight import reach_any_address
from streaming_lab.delivery import relay
from streaming_lab.delivery.outcome import Refused
from streaming_lab.delivery.ways import open_log

API_VERSIONS, METADATA = 18, 3


def framed(correlation: int, body: bytes) -> bytes:
    """One answer as it is on the wire."""
    return struct.pack(">ii", len(body) + 4, correlation) + body


# ApiVersions, version 0: no error, and the versions of each kind of request.
VERSIONS = struct.pack(">hi", 0, 60) + b"".join(struct.pack(">hhh", key, 0, 20) for key in range(60))
NEWER = b"\x00\x00\x04" + b"\x00\x12\x00\x00\x00\x04\x00" * 3 + b"\x00\x00\x00\x00\x00"  # in a version nobody asked for

Lie = Callable[[int, int], bytes]  # (kind of request, its number) -> bytes

LIES: dict[str, Lie] = {
    "hangs up": lambda kind, number: b"",
    "zeros": lambda kind, number: bytes(64),
    "huge": lambda kind, number: struct.pack(">ii", 2**31 - 1, number),
    "negative": lambda kind, number: struct.pack(">ii", -5, number),
    "noise": lambda kind, number: framed(number, random.Random(kind).randbytes(200)),
    "other question": lambda kind, number: framed(number + 7, VERSIONS),
    "newer version": lambda kind, number: framed(number, NEWER),
    "empty": lambda kind, number: framed(number, b""),
    "no brokers": lambda kind, number: framed(number, VERSIONS if kind == API_VERSIONS else bytes(40)),
    "noise later": lambda kind, number: framed(
        number,
        VERSIONS if kind == API_VERSIONS else random.Random(kind).randbytes(300),
    ),
}


@contextlib.contextmanager
def liar(lie: Lie) -> Iterator[Connection]:
    """A server that answers each request with a lie."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, struct.error):
                while True:
                    (size,) = struct.unpack(">i", self.rfile.read(4))
                    kind, _, number = struct.unpack(">hhi", self.rfile.read(size)[:8])
                    answer = lie(kind, number)
                    if not answer:
                        return
                    self.wfile.write(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield connection_for(f"127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()


CALLS: dict[str, Callable[[Connection], Any]] = {
    "create": lambda connection: topics.create_topic(connection, "t", timeout=1.5),
    "describe": lambda connection: topics.describe_topic(connection, "t", timeout=1.5),
    "ends": lambda connection: topics.end_offsets(connection, "t", timeout=1.5),
    "names": lambda connection: topics.topic_names(connection, timeout=1.5),
    "reach": reach_any_address,
    "confirmed": lambda connection: open_log("confirmed", connection, "t").connect(),
    "fire-and-forget": lambda connection: open_log("fire-and-forget", connection, "t").connect(),
}


# kafka-python 3.0 forgets the socket of a connection that failed.
@pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_a_promised_error(lie: str) -> None:
    """No broker, or no access: never an error from the inside of a decoder, and no wait without an end."""
    with liar(LIES[lie]) as connection, ThreadPoolExecutor(len(CALLS)) as pool:
        calls = {name: pool.submit(call, connection) for name, call in CALLS.items()}
        for name, call in calls.items():
            assert isinstance(call.exception(timeout=12), BrokerUnavailable | AccessDenied), name


@pytest.mark.parametrize("lie", LIES)
def test_an_outbox_outlives_a_lie(
    lie: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes and keeps the event and says why; librdkafka, which may abort the process on a lie, is not asked."""
    monkeypatch.setattr(relay, "WARN_AFTER", 0.3)
    with liar(LIES[lie]) as connection, open_log("outbox", connection, "t", path=tmp_path / "o.sqlite") as log:
        log.append("ann", b"{}", "e1")
        assert eventually(lambda: "no row was acknowledged" in caplog.text)
        assert log._relay is not None  # type: ignore[attr-defined]
        assert log._relay._producer is None  # type: ignore[attr-defined]
        assert log.close(timeout=0) == 1


def test_a_lie_refuses_the_first_event() -> None:
    """The game answers 503 with the reason."""
    with liar(LIES["noise"]) as connection, open_log("confirmed", connection, "t") as log, pytest.raises(Refused):
        log.append("ann", b"{}", "e1")
