"""Can Kafka be reached from here, and where does it send its clients? Asked on plain sockets, step by step.

Clients connect twice: to a bootstrap address, and then to the addresses that the brokers advertise. The second one is
where laptops, containers and VPNs go wrong, and where client libraries only report a time-out.
"""

import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from app.cluster.base import ClusterError

PATIENCE = 2.5  # seconds for one address to accept, and to answer
DEADLINE = 9.0  # seconds for all of it
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Found:
    """A numeric address where a broker answered, and the addresses (id, host, port) that it sends clients to."""

    server: str
    brokers: tuple[tuple[int, str, int], ...]


def find(servers: list[str]) -> Found:
    """The first of these addresses at which a broker answers; raises `ClusterError` with what each one did instead."""
    deadline = time.monotonic() + DEADLINE
    failures: list[str] = []
    for server in servers:
        host, port = split(server)
        for address in resolve(host, port, failures):
            if time.monotonic() > deadline:
                failures.append(f"{shown(address)}: not tried, {DEADLINE:.0f} s are over")
                continue
            try:
                return Found(shown(address), ask(address))
            except (OSError, ValueError, struct.error) as error:
                failures.append(f"{shown(address)}{_for(host)}: {_reason(error)}")
    raise ClusterError(
        f"no broker answers at {','.join(servers)} ({'; '.join(failures)})",
        "Is it running, and is the port right? `-p cluster embedded` starts one of the lab's own.",
    )


def check_advertised(found: Found) -> None:
    """Raise `ClusterError` when a broker sends its clients to a place out of reach, saying which."""
    deadline = time.monotonic() + DEADLINE
    for _, host, port in found.brokers:
        failures: list[str] = []
        told = f"connected to {found.server}, which sends its clients to {host}:{port}"
        addresses = resolve(host, port, failures)
        if not addresses:
            raise ClusterError(
                f"{told}, and the name {host!r} does not resolve here",
                f"Set the broker's advertised.listeners to a name that does, or add {host!r} to the hosts file.",
            )
        for address in addresses:
            try:
                socket.create_connection(address, timeout=max(0.1, min(PATIENCE, deadline - time.monotonic()))).close()
                break
            except OSError as error:
                failures.append(f"{shown(address)}: {_reason(error)}")
        else:
            raise ClusterError(
                f"{told}, and nothing accepts connections there ({'; '.join(failures)})",
                "Set the broker's advertised.listeners to an address that this machine can reach.",
            )


def resolve(host: str, port: int, failures: list[str]) -> list[tuple[str, int]]:
    """The numeric addresses of a host name, IPv6 and IPv4, in the system's order; else none, and a failure."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        failures.append(f"{host}: the name does not resolve ({_reason(error)})")
        return []
    return list(dict.fromkeys((str(one[4][0]), port) for one in found))


def ask(address: tuple[str, int]) -> tuple[tuple[int, str, int], ...]:
    """The brokers that the one at `address` knows (Metadata, version 1); OSError or ValueError if it is not Kafka."""
    from kafka.protocol.metadata import MetadataRequest, MetadataResponse

    request = MetadataRequest[1](topics=[])
    request.with_header(correlation_id=1, client_id="lab")
    with socket.create_connection(address, timeout=PATIENCE) as line:
        line.sendall(request.encode(framed=True, header=True))
        (size,) = struct.unpack(">i", _exactly(line, 4))
        if not 4 <= size <= 1 << 20:
            raise ValueError("it answers, but does not speak Kafka")
        body = _exactly(line, size)
    if body[:4] != b"\0\0\0\1":
        raise ValueError("it answers, but does not speak Kafka")
    answer: Any = MetadataResponse[1].decode(body[4:])
    return tuple((broker.node_id, broker.host, broker.port) for broker in answer.brokers)


def split(server: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` in two."""
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def shown(address: tuple[str, int]) -> str:
    """As clients want it: IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _exactly(line: socket.socket, size: int) -> bytes:
    got = bytearray()
    deadline = time.monotonic() + PATIENCE
    while len(got) < size:
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
        piece = line.recv(size - len(got))
        if not piece:
            raise ConnectionError("it accepts and hangs up: no Kafka, or one that wants TLS")
        got += piece
    return bytes(got)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {PATIENCE:g} s"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__


def _for(host: str) -> str:
    return f" (for {host})" if host not in LOOPBACK[:2] and not host.replace(".", "").isdigit() else ""
