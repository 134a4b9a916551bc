"""One Kafka broker on its own JVM: formatted, started, waited for, paused, ended."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.embedded.jvm import Jvm
from streaming_lab.ports import find_holder, holds_port, is_taken
from streaming_lab.processes import ProcessId, identify_process
from streaming_lab.waiting import wait_until

# A broker's place and its configuration.


@dataclass(frozen=True)
class BrokerPorts:
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


def server_properties(ports: BrokerPorts, seats: tuple[BrokerPorts, ...], data: Path) -> dict[str, object]:
    """The broker's configuration: KRaft, broker and controller in one process, small and quick to recover."""
    copies, in_sync = min(3, len(seats)), min(2, len(seats))
    return {
        "process.roles": "broker,controller",
        "node.id": ports.id,
        "controller.quorum.voters": ",".join(f"{one.id}@127.0.0.1:{one.controller_port}" for one in seats),
        "listeners": f"PLAINTEXT://127.0.0.1:{ports.port},CONTROLLER://127.0.0.1:{ports.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports.port}",
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


PORT_CHECK_INTERVAL = 0.005  # seconds between two looks at a port: a broker is up in half a second
_VERSION = re.compile(r"Kafka version: (\S+)")


class BrokerProcess:
    """A broker's seat, its folder, and the JVM that runs there (or does not)."""

    def __init__(self, jvm: Jvm, ports: BrokerPorts, seats: tuple[BrokerPorts, ...], folder: Path) -> None:
        self.jvm, self.ports, self.folder = jvm, ports, folder
        self.log = folder / "kafka.log"
        self.data = folder / "data"
        self.config = folder / "server.properties"
        self.process: subprocess.Popen[bytes] | None = None
        self.status = "dead"
        (folder / "tmp").mkdir(parents=True)
        lines = server_properties(ports, seats, self.data).items()
        self.config.write_text("".join(f"{name}={value}\n" for name, value in lines))

    def format(self, cluster_id: str, *more: str) -> None:
        """Begin to format the data folder (a JVM of its own): wait for its end, then start."""
        self.process = self._run(
            more, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(self.config)
        )

    def start(self, *more: str) -> None:
        """Begin to start; `wait_for_port` says when it is there."""
        self.process = self._run(more, "kafka.Kafka", str(self.config))
        self.status = "running"

    @property
    def runs(self) -> bool:
        """Is its JVM there (paused or not)?"""
        return self.process is not None and self.process.poll() is None

    @property
    def known(self) -> ProcessId | None:
        """Its JVM as the state file names it."""
        try:
            return identify_process(self.process.pid) if self.process is not None and self.runs else None
        except OSError:
            return None

    def wait_for_port(self, deadline: float) -> None:
        """Return when the broker itself accepts connections; raises `ClusterError` with the end of its log."""

        def accepts() -> bool:
            if self.process and is_listening(self.ports.port) and holds_port(self.process.pid, self.ports.port):
                return True
            if not self.runs:
                raise self.failure("ended while it was starting")
            return False

        late = partial(self.failure, "did not open its port in time")
        wait_until(accepts, deadline - time.monotonic(), late, PORT_CHECK_INTERVAL)

    def failure(self, what: str) -> ClusterError:
        """The error for a broker that is not as it should be: exit code, the log's tail, memory if that was it."""
        tail = self.tail()
        code = self.process.poll() if self.process else None
        ending = "" if code is None else f" (exit code {code})"
        if re.search(
            r"OutOfMemory|heap space|Could not reserve|insufficient memory|cannot allocate memory", tail, re.I
        ):
            return ClusterError(
                f"Kafka's broker {self.ports.id} {what}{ending}: out of memory. The end of its log:\n{tail}",
                "A broker needs about 350 MB of memory: free some, or unset LAB_KAFKA_HEAP if it is set.",
            )
        taken = [port for port in (self.ports.port, self.ports.controller_port) if is_taken(port)]
        if "Address already in use" in tail and taken:
            return ClusterError(
                f"Kafka's broker {self.ports.id} {what}{ending}: port {taken[0]} is taken by {find_holder(taken[0])}",
                "Stop that process, then try again.",
            )
        return ClusterError(
            f"Kafka's broker {self.ports.id} {what}{ending}. The end of its log:\n{tail}",
            f"The whole log is {self.log}.",
        )

    def tail(self, lines: int = 15) -> str:
        """The last lines of Kafka's own log, bounded."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 16384))
            return "\n".join(line[:400] for line in log.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def version(self) -> str | None:
        """Kafka's version as the broker logged it."""
        found = _VERSION.search(self.log.read_text(errors="replace"))
        return found[1] if found else None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)
        self.status = "paused"

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.status = "running"

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone (with a JVM that it may have started to write its cache)."""
        self.status = "killed"
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait()

    def ask_to_end(self) -> None:
        """SIGTERM, which Kafka answers with a clean shutdown; a paused broker is woken for it."""
        if self.process is not None and self.process.poll() is None:
            if self.status == "paused":
                self.resume()
            self.process.terminate()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            raise ClusterError(f"cannot send {number.name} to broker {self.ports.id}", "Is it running?")
        self.process.send_signal(number)

    def _run(self, more: tuple[str, ...], *main: str) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self.jvm.command(self.folder / "tmp", *more), *main],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environment(os.environ),
                start_new_session=True,  # a group of its own: ending it also ends a JVM that it started
            )


def is_listening(port: int) -> bool:
    """Does something accept connections at this port of 127.0.0.1?"""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def kill_group(pid: int) -> None:
    """SIGKILL a process that leads a group, with the whole group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def wait_all(processes: list["subprocess.Popen[bytes]"], deadline: float) -> bool:
    """Have all these ended before the deadline?"""
    return wait_until(
        lambda: all(process.poll() is not None for process in processes),
        deadline - time.monotonic(),
        step=PORT_CHECK_INTERVAL,
    )


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would change the JVM behind our back, or Kafka's own start scripts' settings."""
    return {k: v for k, v in environment.items() if not k.startswith(("JAVA_", "JDK_", "_JAVA", "KAFKA_", "CLASSPATH"))}
