"""One Kafka broker on its own JVM: configured, formatted, started, waited for, paused, ended."""

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
from streaming_lab.cluster.embedded.jvm import HOSTS, Jvm
from streaming_lab.cluster.embedded.places import make_temporary, properties_text, remove_temporary
from streaming_lab.ports import find_holder, holds_port, is_taken
from streaming_lab.processes import ProcessId, await_freeze, identify_process
from streaming_lab.waiting import wait_until


@dataclass(frozen=True)
class BrokerPorts:
    """A broker's node id and its two ports on 127.0.0.1; a restart keeps them."""

    id: int
    port: int
    controller_port: int


DATA = "data"  # below the broker's folder, in which its JVM runs: `log.dirs` is a list with commas


def copies_among(brokers: int) -> int:
    """How many of so many brokers keep each record by default."""
    return min(3, brokers)


def server_properties(
    ports: BrokerPorts, quorum: tuple[BrokerPorts, ...], auto_create: bool = False, secured: str = ""
) -> dict[str, object]:
    """The broker's configuration: KRaft, broker and controller in one process, small and quick to recover.

    `secured` is the folder of a secured cluster's certificates and passwords; without one every listener is plain text.
    """
    protocol, security = "PLAINTEXT", dict[str, object]()
    if secured:
        from streaming_lab.cluster.embedded.security import secured_properties

        protocol, security = "SASL_SSL", secured_properties(Path(secured))
    copies, in_sync = copies_among(len(quorum)), min(2, len(quorum))
    return {
        "process.roles": "broker,controller",
        "node.id": ports.id,
        "controller.quorum.voters": ",".join(f"{one.id}@127.0.0.1:{one.controller_port}" for one in quorum),
        "listeners": f"{protocol}://127.0.0.1:{ports.port},CONTROLLER://127.0.0.1:{ports.controller_port}",
        "advertised.listeners": f"{protocol}://127.0.0.1:{ports.port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": DATA,
        # By default a mistyped topic is an error, not a new topic.
        "auto.create.topics.enable": "true" if auto_create else "false",
        # Records live as long as the cluster. By default Kafka deletes a record that says it is a week old, at once,
        # however lately it was written; and the offsets of a group that has been away for a week.
        "log.retention.ms": -1,
        "offsets.retention.minutes": 2**31 - 1,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,  # as the active controller says it, for all topics (KIP-966)
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,  # a consumer may ask to be missed sooner than after 6 s
        # A killed broker's restart waits for the end of its old registration: at the default of 9 s clients wait 15 s.
        "broker.session.timeout.ms": 1500,
        "broker.heartbeat.interval.ms": 300,
        "controller.quorum.election.timeout.ms": 500,
        "controller.quorum.fetch.timeout.ms": 1000,
        "log.cleaner.dedupe.buffer.size": 16 << 20,  # bytes; the default of 128 MB does not fit into a small heap
        "num.network.threads": 2,
        **security,
    }


PORT_CHECK_INTERVAL = 0.005  # seconds between two looks at a port: a broker is up after half a second
_VERSION = re.compile(r"Kafka version: (\S+)")


class BrokerProcess:
    """A broker's ports, its folder, and its JVM while there is one."""

    def __init__(
        self,
        jvm: Jvm,
        ports: BrokerPorts,
        quorum: tuple[BrokerPorts, ...],
        folder: Path,
        *,
        kept: Path | None = None,
        auto_create: bool = False,
        secured: str = "",
    ) -> None:
        self.jvm, self.ports, self.folder = jvm, ports, folder
        self.log = folder / "kafka.log"
        self.data = folder / DATA
        self.config = folder / "server.properties"
        self.process: subprocess.Popen[bytes] | None = None
        self.status = "dead"
        folder.mkdir(parents=True)
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            self.data.symlink_to(kept)  # the data outlive the folder
        self.config.touch(mode=0o600)  # a secured broker's has passwords
        self.config.write_text(properties_text(server_properties(ports, quorum, auto_create, secured)))
        (folder / HOSTS).write_text(f"127.0.0.1 localhost {socket.gethostname()}\n", "utf-8", "replace")

    def format(self, cluster_id: str, *more: str) -> None:
        """Begin to format the data folder in a JVM of its own, which must end before `start`."""
        self.process = self._run(
            more, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", self.config.name
        )

    def start(self, *more: str) -> None:
        """Begin to start; `wait_for_port` returns when the broker is up."""
        self.process = self._run(more, "kafka.Kafka", self.config.name)
        self.status = "running"

    @property
    def runs(self) -> bool:
        """Does the broker's JVM exist, paused or not?"""
        return self.process is not None and self.process.poll() is None

    @property
    def known(self) -> ProcessId | None:
        """The broker's JVM as the state file names it."""
        try:
            return identify_process(self.process.pid) if self.process is not None and self.runs else None
        except OSError:
            return None

    def wait_for_port(self, deadline: float) -> None:
        """Returns when the broker itself accepts connections; raises `ClusterError` with the end of its log."""

        def accepts() -> bool:
            if self.process and is_listening(self.ports.port) and holds_port(self.process.pid, self.ports.port):
                return True
            if not self.runs:
                raise self.failure("ended while it was starting")
            return False

        late = partial(self.failure, "did not open its port in time")
        wait_until(accepts, deadline - time.monotonic(), late, PORT_CHECK_INTERVAL)

    def failure(self, what: str) -> ClusterError:
        """The error for a broker that failed: exit code, the log's tail, a lack of memory if that is why."""
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
        """The last lines of Kafka's own log, at most 16 KB."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 16384))
            return "\n".join(line[:400] for line in log.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def version(self) -> str | None:
        """Kafka's version as the broker logged it."""
        found = _VERSION.search(self.log.read_text(errors="replace"))
        return found[1] if found else None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and get no answers."""
        self._signal(signal.SIGSTOP)
        assert self.process is not None
        await_freeze(self.process.pid)
        self.status = "paused"

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.status = "running"

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone, with any JVM that it started to write a cache."""
        self.status = "killed"
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait()
        remove_temporary(self.folder / "tmp")

    def ask_to_end(self) -> None:
        """SIGTERM, which Kafka answers with a clean shutdown; a paused broker is resumed first."""
        if self.process is not None and self.process.poll() is None:
            if self.status == "paused":
                self.resume()
            self.process.terminate()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            raise ClusterError(f"cannot send {number.name} to broker {self.ports.id}", "Is it running?")
        self.process.send_signal(number)

    def _run(self, more: tuple[str, ...], *main: str) -> "subprocess.Popen[bytes]":
        make_temporary(self.folder / "tmp")
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self.jvm.command(self.folder, *more), *main],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environment(os.environ),
                start_new_session=True,  # a group of its own, which ends as one with any JVM that the broker started
            )


def is_listening(port: int) -> bool:
    """Does a process accept connections at this port of 127.0.0.1?"""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def kill_group(pid: int) -> None:
    """SIGKILL for a process group, named by its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def wait_all(processes: list["subprocess.Popen[bytes]"], deadline: float) -> bool:
    """Have all processes ended before the deadline?"""
    return wait_until(
        lambda: all(process.poll() is not None for process in processes),
        deadline - time.monotonic(),
        step=PORT_CHECK_INTERVAL,
    )


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without variables that change a JVM, and without those of Kafka's start scripts."""
    kept = {k: v for k, v in environment.items() if not k.startswith(("JAVA_", "JDK_", "_JAVA", "KAFKA_", "CLASSPATH"))}
    return {**kept, "LC_ALL": "C.UTF-8"}  # Java decodes the path of its working directory with the locale
