"""A broker's place and its configuration."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Seat:
    """A broker's number and its two ports on 127.0.0.1; they stay the same when it restarts."""

    id: int
    port: int
    controller_port: int


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment, all different."""
    with contextlib.ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def properties(seat: Seat, seats: tuple[Seat, ...], data: Path) -> dict[str, object]:
    """The broker's configuration: KRaft, broker and controller in one process, small and quick to recover."""
    copies, in_sync = min(3, len(seats)), min(2, len(seats))
    return {
        "process.roles": "broker,controller",
        "node.id": seat.id,
        "controller.quorum.voters": ",".join(f"{one.id}@127.0.0.1:{one.controller_port}" for one in seats),
        "listeners": f"PLAINTEXT://127.0.0.1:{seat.port},CONTROLLER://127.0.0.1:{seat.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{seat.port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data.as_posix(),
        "auto.create.topics.enable": "false",  # a typo is an error, not a topic
        "default.replication.factor": copies,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        # A killed broker's restart waits for its old registration: with the default of 9 s clients wait 15 s.
        "broker.session.timeout.ms": 1500,
        "broker.heartbeat.interval.ms": 300,
        "controller.quorum.election.timeout.ms": 500,
        "controller.quorum.fetch.timeout.ms": 1000,
        "log.cleaner.dedupe.buffer.size": 16 << 20,  # bytes; the default of 128 MB does not fit into a small heap
        "num.network.threads": 2,
    }
