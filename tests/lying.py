"""A proxy before a real broker whose answers are damaged: bits flipped, bytes dropped or put in, cut off, stalled."""

import random
import selectors
import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class LyingBroker:
    """Listens on a port of its own, passes requests on, and damages a share of the answers' bytes by one seed.

    The real port is replaced wherever an answer holds it, so that clients come back here.
    """

    def __init__(self, port: int, seed: int, share: float) -> None:
        self._real, self._dice, self._share = port, random.Random(seed), share
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.lies = 0
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _accept(self) -> None:
        self._server.settimeout(0.05)
        while not self._ended.is_set():
            with suppress(TimeoutError):
                client = self._server.accept()[0]
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            socket.create_connection(("127.0.0.1", self._real)) as broker,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(client, selectors.EVENT_READ)
            ready.register(broker, selectors.EVENT_READ)
            with suppress(OSError):
                while not self._ended.is_set():
                    for key, _ in ready.select(0.05):
                        data = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is client:
                            broker.sendall(data)
                        elif (told := self._told(data)) is None:
                            return
                        else:
                            client.sendall(told)

    def _told(self, data: bytes) -> bytes | None:
        """What the client gets of these bytes; None closes the connection."""
        data = data.replace(struct.pack(">i", self._real), struct.pack(">i", self.port))
        if self._dice.random() > self._share:
            return data
        self.lies += 1
        at, lie = self._dice.randrange(len(data)), self._dice.randrange(6)
        if lie <= 2:
            changed = bytearray(data)
            changed[at] ^= 1 << self._dice.randrange(8)
            return bytes(changed)
        if lie == 3:
            return data[:at] + data[at + self._dice.randrange(1, 9) :]
        if lie == 4:
            return data[:at] + self._dice.randbytes(self._dice.randrange(1, 9)) + data[at:]
        return None if self._dice.random() < 0.5 else data[:at]
