"""One blocking socket to one broker: requests and answers in kafka-python's protocol classes, versions negotiated."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import FunctionType, TracebackType
from typing import Any, Self

from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse

# Answers decoded where they lie: kafka-python's compiled decoders, without their copy of every record batch. With
# that copy a read with the native core took 18% more CPU (400,000 events of 253 bytes: 0.283 s for 0.239 s, medians
# of 9 interleaved rounds, more in each of them). It is kept as long as it is worth more than 5%.


_SHORT = 64  # bytes; ids and the like, which their classes want as bytes


def decode_in_place(answer: Any, data: memoryview, version: int) -> Any:
    """An object of the protocol class `answer`, whose record batches are views of `data`: valid as long as that is."""
    return _decoder(answer, version)(data, 0)[0]


@cache
def _decoder(answer: Any, version: int) -> Callable[[memoryview, int], tuple[Any, int]]:
    """The library's own decoder of one version, a copy of it in which `bytes` leaves long slices as they are.

    It is generated code of the form `bytes(data[a:b])`: for a Fetch answer, a copy of nearly all that was received.
    """
    flexible = answer.flexible_version_q(version)
    compiled = answer._struct.compiled_decode_from(version, compact=flexible, tagged=flexible, data_class=answer)
    return FunctionType(compiled.__code__, {**compiled.__globals__, "bytes": _kept})


def _kept(part: memoryview) -> bytes | memoryview:
    return bytes(part) if len(part) <= _SHORT else part


Address = tuple[str, int]

REQUEST_TIMEOUT = 5.0  # seconds without a byte after which a broker counts as gone; a Fetch waits half a second at most
_RECEIVE_BUFFER = 4 << 20
_TLS_ALERT = 0x1503  # the first two bytes of what a TLS port says to us, which would be the size of a huge answer
_HTTP = int.from_bytes(b"HTTP")  # likewise for a web server
_MOST = 64 << 20  # bytes of an answer that holds no records
_GRAIN = 8  # buffers come in sizes of so many steps between a power of two and the next: answers vary, buffers fit
_SPARE = 8  # buffers kept for reuse


def format_address(address: Address) -> str:
    """`host:port` as clients want it: IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class ConnectionBroken(Exception):
    """The connection broke, or the bytes on it are no answer; another connection may do better."""


class TlsExpected(ConnectionBroken):
    """The port wants TLS, which is not spoken here."""


class Unsupported(Exception):
    """The broker and this client have no way of saying it in common."""


class Buffers:
    """Answers are large and memory is dear at its first touch: each buffer is given back and used again."""

    def __init__(self) -> None:
        self._spare: list[bytearray] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> bytearray:
        """A buffer of at least `size` bytes."""
        with self._lock:
            for index, buffer in enumerate(self._spare):
                if len(buffer) >= size:
                    return self._spare.pop(index)
        step = max(1 << size.bit_length(), 64 << 10) // (2 * _GRAIN)
        return bytearray((size // step + 1) * step)

    def give_back(self, buffer: bytearray) -> None:
        """The caller no longer looks at it; any thread may say so."""
        with self._lock:
            self._spare.append(buffer)
            del self._spare[:-_SPARE]


class BrokerConnection:
    """A connection to the broker at `address`; every wait ends at `deadline` (monotonic seconds) or after PATIENCE.

    Connecting, sending and receiving raise `WireError`; a request in no common version raises `Unsupported`.
    """

    def __init__(self, address: Address, deadline: float, buffers: Buffers | None = None) -> None:
        self.address = address
        self.deadline = deadline
        self._buffers = buffers or Buffers()
        self._asked: tuple[int, Any, int] | None = None  # correlation id, answer class and version under way
        self._most = _MOST
        self._last = 0
        try:
            self._socket = socket.create_connection(address, self._wait())
        except (OSError, ValueError, OverflowError) as error:  # the last two: no name of a host, no port
            raise ConnectionBroken(f"{self}: {error}") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._ranges = self._api_versions()
        except BaseException:
            self.close()
            raise

    def __str__(self) -> str:
        return format_address(self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Idempotent; an answer under way is lost."""
        with suppress(OSError):
            self._socket.close()

    @property
    def busy(self) -> bool:
        """Is an answer under way?"""
        return self._asked is not None

    def version(self, request: Any, least: int = 0) -> int:
        """The newest version of this request class that both sides speak; below `least` is `Unsupported`."""
        low, high = self._ranges.get(request.API_KEY, (0, -1))
        version = min(high, int(request.max_version))
        if version < max(low, least):
            raise Unsupported(f"{self} speaks versions {low} to {high} of {request.__name__}")
        return version

    def send(self, request: Any, answer: Any, most: int = _MOST) -> None:
        """Put a request (made for one version) on the wire; `receive` takes its answer, of `most` bytes at most."""
        self._last += 1
        self._most = most
        request.with_header(correlation_id=self._last, client_id="streaming-lab")
        self._asked = self._last, answer, request.API_VERSION
        try:
            self._socket.settimeout(self._wait())
            self._socket.sendall(request.encode(framed=True, header=True))
        except OSError as error:
            raise ConnectionBroken(f"{self}: {error}") from error

    def receive(self) -> tuple[Any, bytearray]:
        """The answer, and the buffer that its bytes lie in: give it back when the answer is no longer looked at."""
        assert self._asked is not None
        (correlation, answer, version), self._asked = self._asked, None
        (size,) = struct.unpack(">i", self._exactly(bytearray(4), 4))
        if size >> 16 == _TLS_ALERT:
            raise TlsExpected(f"{self} speaks TLS")
        if size == _HTTP:
            raise ConnectionBroken(f"{self} speaks HTTP, so it is no Kafka broker")
        if not 5 <= size <= self._most:
            raise ConnectionBroken(f"{self}: an answer of {size} bytes, where 5 to {self._most} are possible")
        buffer = self._buffers.take(size)
        view = self._exactly(buffer, size)
        if struct.unpack_from(">i", view)[0] != correlation:
            raise ConnectionBroken(f"{self}: an answer to another question")
        flexible = answer.flexible_version_q(version) and answer.API_KEY != ApiVersionsRequest.API_KEY
        try:
            return decode_in_place(answer, view[5 if flexible else 4 :], version), buffer  # 5: no tagged header fields
        except Exception as error:  # generated code, on bytes that are no answer
            raise ConnectionBroken(f"{self}: an answer that cannot be read ({error!r})") from error

    def give_back(self, buffer: bytearray) -> None:
        """The answer in this buffer is used up."""
        self._buffers.give_back(buffer)

    def request(self, request: Any, answer: Any) -> Any:
        """Send a request and wait for its answer."""
        self.send(request, answer)
        return self.receive()[0]

    def _api_versions(self) -> dict[int, tuple[int, int]]:
        found = self.request(ApiVersionsRequest(version=0), ApiVersionsResponse)
        if found.error_code:
            raise Unsupported(f"{self} answered ApiVersions with error {found.error_code}")
        return {api.api_key: (api.min_version, api.max_version) for api in found.api_keys or ()}

    def _exactly(self, buffer: bytearray, size: int) -> memoryview:
        view = memoryview(buffer)[:size]
        at = 0
        try:
            while at < size:
                self._socket.settimeout(self._wait())
                got = self._socket.recv_into(view[at:])
                if not got:
                    raise ConnectionBroken(f"{self} closed the connection")
                at += got
        except OSError as error:
            raise ConnectionBroken(f"{self}: {error}") from error
        return view

    def _wait(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise ConnectionBroken(f"{self}: no time left")
        return min(left, REQUEST_TIMEOUT)
