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

from kafka.protocol.metadata.api_versions import ApiVersionsRequest, ApiVersionsResponse

# kafka-python's compiled decoders, without their copy of every record batch. With that copy a read with the native
# core takes 18% more CPU (400,000 events of 253 bytes: 0.283 s for 0.239 s, medians of 9 interleaved rounds). The
# trick stays as long as it saves more than 5%.

_SHORT = 64  # bytes; ids and similar fields, which their protocol classes want as bytes


def decode_in_place(answer: Any, data: memoryview, version: int) -> Any:
    """Decode `data` as the protocol class `answer`; its record batches are views of `data`, and valid as long."""
    return _decoder(answer, version)(data, 0)[0]


@cache
def _decoder(answer: Any, version: int) -> Callable[[memoryview, int], tuple[Any, int]]:
    """A copy of kafka-python's decoder for one version, in which `bytes` leaves long slices as they are.

    The generated code reads `bytes(data[a:b])`, which for a Fetch answer copies nearly everything that was received.
    """
    flexible = answer.flexible_version_q(version)
    compiled = answer._struct.compiled_decode_from(version, compact=flexible, tagged=flexible, data_class=answer)
    return FunctionType(compiled.__code__, {**compiled.__globals__, "bytes": _bytes_if_short})


def _bytes_if_short(part: memoryview) -> bytes | memoryview:
    return bytes(part) if len(part) <= _SHORT else part


Address = tuple[str, int]

REQUEST_TIMEOUT = 5.0  # seconds without a byte after which a broker counts as gone; a Fetch waits half a second at most
_RECEIVE_BUFFER = 4 << 20
_TLS_ALERT = 0x1503  # the first two bytes of a TLS alert, which read as the size of a huge answer
_HTTP = int.from_bytes(b"HTTP")  # the first four bytes of a web server's answer
_LARGEST_ANSWER = 64 << 20  # bytes of an answer that holds no records
_STEPS = 8  # buffer sizes between one power of two and the next, so that a spare buffer fits the next answer
_SPARE = 8  # buffers kept for reuse


def format_address(address: Address) -> str:
    """Format an address as clients want it: `host:port`, IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class ConnectionBroken(Exception):
    """The connection broke, or its bytes are no answer; another connection may do better."""


class TlsExpected(ConnectionBroken):
    """The port speaks TLS, and this connection does not."""


class Unsupported(Exception):
    """The broker and this client share no version of a request."""


class Buffers:
    """A pool of receive buffers: answers are large, and the first touch of fresh memory is expensive."""

    def __init__(self) -> None:
        self._spare: list[bytearray] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> bytearray:
        """Take a buffer of at least `size` bytes."""
        with self._lock:
            for index, buffer in enumerate(self._spare):
                if len(buffer) >= size:
                    return self._spare.pop(index)
        step = max(1 << size.bit_length(), 64 << 10) // (2 * _STEPS)
        return bytearray((size // step + 1) * step)

    def give_back(self, buffer: bytearray) -> None:
        """Return a buffer that nobody reads any more; any thread may call this."""
        with self._lock:
            self._spare.append(buffer)
            del self._spare[:-_SPARE]


class BrokerConnection:
    """A connection to the broker at `address`; waits end at `deadline` (monotonic seconds) or after REQUEST_TIMEOUT.

    Connecting, sending and receiving raise `ConnectionBroken`; a request in no common version raises `Unsupported`.
    """

    def __init__(self, address: Address, deadline: float, buffers: Buffers | None = None) -> None:
        self.address = address
        self.deadline = deadline
        self._buffers = buffers or Buffers()
        self._pending: tuple[int, Any, int] | None = None  # the request without its answer: id, answer class, version
        self._largest = _LARGEST_ANSWER
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
        """The socket's descriptor, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, any number of times; an answer on its way is lost."""
        with suppress(OSError):
            self._socket.close()

    @property
    def busy(self) -> bool:
        """Is a request without its answer?"""
        return self._pending is not None

    def version(self, request: Any, least: int = 0) -> int:
        """The newest version of a request class that both sides speak; one below `least` raises `Unsupported`."""
        low, high = self._ranges.get(request.API_KEY, (0, -1))
        version = min(high, int(request.max_version))
        if version < max(low, least):
            raise Unsupported(f"{self} speaks versions {low} to {high} of {request.__name__}")
        return version

    def send(self, request: Any, answer: Any, most: int = _LARGEST_ANSWER) -> None:
        """Send a request (made for one version); `receive` takes its answer, of at most `most` bytes."""
        self._last += 1
        self._largest = most
        request.with_header(correlation_id=self._last, client_id="streaming-lab")
        self._pending = self._last, answer, request.API_VERSION
        try:
            self._socket.settimeout(self._wait())
            self._socket.sendall(request.encode(framed=True, header=True))
        except OSError as error:
            raise ConnectionBroken(f"{self}: {error}") from error

    def receive(self) -> tuple[Any, bytearray]:
        """Receive the answer and the buffer that holds its bytes; give the buffer back when the answer is used up."""
        assert self._pending is not None
        (correlation, answer, version), self._pending = self._pending, None
        (size,) = struct.unpack(">i", self._exactly(bytearray(4), 4))
        if size >> 16 == _TLS_ALERT:
            raise TlsExpected(f"{self} speaks TLS")
        if size == _HTTP:
            raise ConnectionBroken(f"{self} speaks HTTP, so it is no Kafka broker")
        if not 5 <= size <= self._largest:
            raise ConnectionBroken(f"{self}: an answer of {size} bytes, where 5 to {self._largest} are possible")
        buffer = self._buffers.take(size)
        view = self._exactly(buffer, size)
        if struct.unpack_from(">i", view)[0] != correlation:
            raise ConnectionBroken(f"{self}: an answer to another request")
        flexible = answer.flexible_version_q(version) and answer.API_KEY != ApiVersionsRequest.API_KEY
        try:
            return decode_in_place(answer, view[5 if flexible else 4 :], version), buffer  # 5: no tagged header fields
        except Exception as error:  # whatever a decoder makes of bytes that are no answer: IndexError, TypeError, ...
            raise ConnectionBroken(f"{self}: bytes that are no {answer.__name__} ({type(error).__name__})") from error

    def give_back(self, buffer: bytearray) -> None:
        """Return an answer's buffer to the pool."""
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
