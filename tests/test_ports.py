"""Ports for brokers: free, and none that the system would give to an outgoing connection meanwhile."""

import socket

import pytest

from streaming_lab import ports


def test_a_chosen_port_is_never_a_connections() -> None:
    """Where the system's own range leaves room; a broker's restart finds its port as free as it was."""
    first = ports._first_of_connections()
    if first - ports.BELOW_CONNECTIONS.start < 1000:
        pytest.skip("this system gives nearly all ports to connections")
    chosen = ports.free_ports(50)
    assert len(set(chosen)) == 50
    assert max(chosen) < first
    with socket.create_server(("127.0.0.1", chosen[0])) as taken:
        assert ports.is_taken(taken.getsockname()[1])


def test_a_port_that_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a range in which one port is free it is that one; where the range is none, any free one."""
    monkeypatch.setattr(ports, "BELOW_CONNECTIONS", range(21_000, 22_000))
    monkeypatch.setattr(ports, "is_taken", lambda port: port != 21_500)
    assert ports.free_ports(1) == [21_500]
    monkeypatch.setattr(ports, "_first_of_connections", lambda: 1024)
    (other,) = ports.free_ports(1)
    assert other not in range(21_000, 22_000)
