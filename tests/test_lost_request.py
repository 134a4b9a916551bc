"""The first request to a broker is lost, the second is not: no event may be reported delivered for that."""

import asyncio
import struct
import subprocess
import threading
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import Self

import pytest
from peers import needs
from topics_of import new_topic

from streaming_lab.client.connection import Connection, addresses, connection_for
from streaming_lab.delivery.producer import IdempotentProducer

PRODUCE = 0  # Kafka's API key
NOT_LEADER = 6  # what a broker answers that has just started
PATIENCE = 0.5  # seconds that a second request may take to follow the first


class Losing:
    """A way to a broker on which the first produce request is lost.

    If a second one follows before the first has its answer, that is NOT_LEADER, and the second is let through.
    Otherwise the connection breaks, as with a broker that was killed.
    """

    def __init__(self, broker: Connection, topic: str) -> None:
        self._port = int(addresses(broker).rpartition(":")[2])
        self._topic = topic.encode()
        self._lost = self._followed = -1  # correlation ids
        self.lost = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()

    async def _connected(self, client: StreamReader, to_client: StreamWriter) -> None:
        broker, to_broker = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [asyncio.create_task(self._there(client, to_broker)), asyncio.create_task(self._back(broker, to_client))]
        with suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way, writer in zip(ways, (to_broker, to_client), strict=True):
            way.cancel()
            writer.close()

    async def _there(self, client: StreamReader, to_broker: StreamWriter) -> None:
        waiting = None
        with suppress(asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            while True:
                request = await asyncio.wait_for(frame(client), waiting)
                key, _, number = struct.unpack(">hhi", request[:8])
                if key == PRODUCE and self._lost < 0:
                    self._lost, waiting = number, PATIENCE
                    self.lost.set()
                    continue
                if key == PRODUCE and waiting:
                    self._followed, waiting = number, None
                write(to_broker, request)

    async def _back(self, broker: StreamReader, to_client: StreamWriter) -> None:
        ours, its = (b"127.0.0.1" + struct.pack(">i", port) for port in (self.port, self._port))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                answer = (await frame(broker)).replace(its, ours)
                if struct.unpack(">i", answer[:4])[0] == self._followed:
                    at = answer.index(self._topic) + len(self._topic) + 5  # behind a length and the partition's number
                    error = struct.pack(">hq", NOT_LEADER, -1)
                    write(to_client, struct.pack(">i", self._lost) + answer[4:at] + error + answer[at + 10 :])
                write(to_client, answer)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()


async def frame(reader: StreamReader) -> bytes:
    """One request or answer, without its length."""
    return await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])


def write(writer: StreamWriter, message: bytes) -> None:
    writer.write(struct.pack(">i", len(message)) + message)


@pytest.fixture
def topic(kafka: Connection) -> str:
    """A topic that no producer has written to: the broker takes any first sequence number."""
    return new_topic(kafka)


def test_a_lost_first_event_is_sent_again_and_comes_first(kafka: Connection, topic: str) -> None:
    """Both events have the offsets of their own that the broker knows, in the order in which they were given."""
    told: list[tuple[bytes, object, int]] = []
    with Losing(kafka, topic) as way:
        engine = IdempotentProducer(connection_for(f"127.0.0.1:{way.port}"), linger=0.0, events=10, memory=1 << 20)
        report = lambda error, message: told.append((message.value(), error, message.offset()))  # noqa: E731
        engine.produce(topic, b"first", "p", on_delivery=report)
        assert way.lost.wait(10)
        engine.produce(topic, b"second", "p", on_delivery=report)
        engine.flush(10.0)
        engine.close()
    assert told == [(b"first", None, 0), (b"second", None, 1)]
    command = [needs("kcat"), "-C", "-q", "-e", "-b", addresses(kafka), "-t", topic]
    assert subprocess.run(command, check=True, capture_output=True, timeout=20).stdout == b"first\nsecond\n"


def test_a_report_that_fails_ends_no_other(kafka: Connection, topic: str, caplog: pytest.LogCaptureFixture) -> None:
    """An error in one report is logged, and the next event still gets its own."""
    engine = IdempotentProducer(kafka, linger=0.0, events=10, memory=1 << 20)
    try:
        came = threading.Event()
        engine.produce(topic, b"{}", "k", on_delivery=lambda *_: 1 / 0)
        engine.flush(10)
        engine.produce(topic, b"{}", "k", on_delivery=lambda *_: came.set())
        assert came.wait(10)
    finally:
        engine.close()
    assert "a delivery report could not be taken" in caplog.text
