"""Apache Kafka from its jars, on the JVM that pip brought: attaches to the running cluster, or starts one."""

import atexit
import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import disk_usage

from streaming_lab.client.client_properties import connection_named
from streaming_lab.cluster.base import BrokerVerb, Cluster, ClusterError, Description
from streaming_lab.cluster.embedded import state
from streaming_lab.cluster.embedded.broker import copies_among
from streaming_lab.cluster.embedded.rpc import Reply, call, raise_problem
from streaming_lab.cluster.embedded.start_stop import (
    STOP_CURE,
    check_ports_free,
    clean_up_orphans,
    make_start_request,
    one_at_a_time,
    start_supervisor,
    wait_until_gone,
)
from streaming_lab.cluster.embedded.state import State
from streaming_lab.processes import is_alive
from streaming_lab.waiting import wait_until

TRIO = 3  # brokers of the cluster `embedded:trio`
REPAIR_TIMEOUT = 1.0  # seconds for a supervisor to write a damaged state file again
SETTLE_TIMEOUT = 150.0  # seconds for another process's start or stop, which may train the start-up cache


class EmbeddedCluster(Cluster):
    """The lab's own Kafka, seen from one of its users."""

    kind = "embedded"

    def __init__(self, found: State, file: Path, user: str, pid: int | None, ready_seconds: float | None) -> None:
        name = "embedded:trio" if len(found.brokers) == TRIO else "embedded"
        super().__init__(name, connection_named(found.locator), ready_seconds)
        self._found, self._file, self._user, self._pid = found, file, user, pid
        atexit.register(self.close)

    @property
    def copies(self) -> int:
        """As the brokers' own default: on each of them, and on three at most."""
        return copies_among(len(self._found.brokers))

    @property
    def locator(self) -> str:
        """The address, or a secured cluster's file of the admin."""
        return self._found.locator

    @property
    def state(self) -> State:
        """The current state; raises `ClusterError` when the cluster is gone."""
        now = state.read_state(self._file)
        if now is None or now.token != self._found.token:
            raise ClusterError("the embedded cluster is gone", "Start it again: attach('embedded').")
        return now

    def describe(self) -> Description:
        """Members and controller as a broker reports them, and the version from its log."""
        from streaming_lab.cluster.base import describe_brokers

        check_alive(self.state)
        return replace(describe_brokers(self.connection, role="broker,controller"), version=self.version())

    def version(self, timeout: float = 2.0) -> str | None:
        """Kafka's version from the first broker's log, written just after its port opens; None after `timeout` s."""
        return wait_until(lambda: self.state.version, timeout)

    def check(self) -> None:
        """Raises `ClusterError` when a broker died, with the end of its log; a full disk is named with its folder."""
        check_alive(self.state)

    def close(self, wait: bool = False, say: Callable[[str], None] | None = None) -> None:
        """Stop using the cluster.

        `wait`: if nobody else uses the cluster, end it now instead of after the grace time, and return when its
        processes are gone; `say` gets a line when the start-up cache is trained, which takes some seconds.
        """
        atexit.unregister(self.close)
        if self._pid != os.getpid():
            return  # closed already, a hold that only `stop` ends, or a forked child of the user
        user, self._pid = self._pid, None
        with contextlib.suppress(OSError, ValueError):
            answer = self._ask("detach", user=self._user, pid=user, now=wait)
            if wait and answer["ending"]:
                if answer["training"] and say is not None:
                    say("training Kafka's start-up cache (once, some seconds)")
                wait_until_gone(self._found)

    def command(self, verb: BrokerVerb, broker: int = 1) -> None:
        """Sends the command to the supervisor; a running broker is ended before it is restarted."""
        try:
            self._ask(verb, timeout=120.0, broker=broker)
        except (OSError, ValueError) as error:
            raise ClusterError(f"cannot {verb} broker {broker}: the cluster's supervisor is gone", STOP_CURE) from error

    def _ask(self, command: str, timeout: float = 5.0, **arguments: object) -> Reply:
        return raise_problem(call(self._found.address, self._found.token, command, timeout, **arguments))


def attach_embedded(
    *,
    brokers: int = 1,
    user: str = "",
    throughput: bool = False,
    instance: str = "",
    port: int | None = None,
    hold: bool = False,
    auto_create: bool = False,
    keep: bool = False,
    secure: bool = False,
) -> EmbeddedCluster:
    """Becomes a user of the embedded cluster, and starts one where none runs. See `streaming_lab.cluster.attach`.

    `hold` keeps the cluster until `stop`, without any user; `port` is the first broker's (the others take the next).
    `auto_create` makes topics at their first use; with `keep` the data outlive the cluster, for the next `keep`.
    A `secure` cluster speaks TLS to users with passwords and access lists; it is an instance of its own.
    Raises `ClusterError` when a running cluster differs in what was asked.
    """
    file = state.state_file(instance_name(brokers, throughput, "secure" if secure else instance))
    user, pid = user or Path(sys.argv[0] or "python").name, None if hold else os.getpid()
    with one_at_a_time(file.with_suffix(".lock"), SETTLE_TIMEOUT):
        ready = None
        found = wait_until_settled(file)
        if found is not None:
            _check_options(found, port, auto_create, keep)
            found = _join(found, file, user, pid)
        if found is None:
            if port is not None:
                check_ports_free(port, brokers)
            found = start_supervisor(
                replace(
                    make_start_request(file, brokers, throughput, port, user, pid),
                    auto_create=auto_create,
                    kept=str(kept_folder(file)) if keep else "",
                    secured=str(_secure(file)) if secure else "",
                )
            )
            if secure:
                _open_to_users(found)
            ready = found.ready_seconds
        if not hold:
            _lease_to_jupyter(found)
    return EmbeddedCluster(found, file, user, pid, ready)


def _secure(file: Path) -> Path:
    """The folder of a secured cluster's certificates and passwords, made at its first start."""
    from streaming_lab.cluster.embedded.security import make_security

    folder = file.parent.resolve() / "secured" / file.stem
    make_security(folder)
    return folder


def _open_to_users(found: State) -> None:
    """Write each user's client file for the cluster's address, and the users' rights."""
    from streaming_lab.cluster.embedded.security import grant_rights, write_client_files

    write_client_files(Path(found.secured), found.servers)
    grant_rights(connection_named(found.locator))


def _lease_to_jupyter(found: State) -> None:
    """In a kernel of JupyterLab: make its server a user as well, so that a restarted kernel finds cluster and topics.

    Jupyter's server names a session and its own pid in the environment of an interactive kernel.
    """
    server = os.environ.get("JPY_PARENT_PID", "")
    if "JPY_SESSION_NAME" not in os.environ or not server.isdecimal():
        return
    if not any(user.process and user.process.pid == int(server) for user in found.users):
        with contextlib.suppress(OSError, ValueError):
            call(found.address, found.token, "attach", user="JupyterLab", pid=int(server))


def kept_folder(file: Path) -> Path:
    """The folder of the data that outlive the cluster of this state file."""
    return file.parent.resolve() / "kept" / file.stem


def _check_options(found: State, port: int | None, auto_create: bool, keep: bool) -> None:
    if port is not None and found.brokers[0].port != port:
        raise ClusterError(f"the cluster runs already, at port {found.brokers[0].port} and not {port}", STOP_CURE)
    if auto_create and not found.auto_create:
        cure = "Make its topics with `python3 scripts/topic.py create NAME`, or stop it and start it with the option."
        raise ClusterError("the cluster runs already, without --auto-create", cure)
    if keep and not found.kept:
        cure = "`python3 scripts/cluster.py stop` ends it with its data; then start --keep begins one that keeps them."
        raise ClusterError("the cluster runs already, without --keep: its data end with it", cure)


def instance_name(brokers: int = 1, throughput: bool = False, instance: str = "") -> str:
    """The cluster's part of the state file's name; empty for the default cluster of one broker."""
    parts = [instance, f"{brokers}-brokers" if brokers != 1 else "", "throughput" if throughput else ""]
    return "-".join(part for part in parts if part)


def wait_until_settled(file: Path) -> State | None:
    """The running cluster of this state file, after a start or stop in progress is over; None when there is none.

    A dead supervisor's brokers are ended, its files removed. Raises `ClusterError` when a broker
    died on its own, or when another version's cluster runs.
    """
    state.check_place(file)
    found = state.read_state(file)

    def is_settled() -> bool:
        nonlocal found
        found = state.read_state(file)
        return found is None or found.status == "running" or not found.runs

    def unsettled() -> ClusterError:
        return ClusterError(f"the cluster has been {found and found.status} for {SETTLE_TIMEOUT:.0f} s", STOP_CURE)

    wait_until(is_settled, SETTLE_TIMEOUT, unsettled)
    if found is None and file.exists():
        found = wait_until(lambda: state.read_state(file), REPAIR_TIMEOUT)
    if found is None:
        if strangers := state.strangers(file):
            raise ClusterError(
                f"a cluster that another version of the lab has started is running (pid {strangers[0].pid}, {file})",
                "End it: python3 scripts/cluster.py stop",
            )
        file.unlink(missing_ok=True)  # nothing, or nothing readable
        return None
    if not found.runs:
        clean_up_orphans(found, file)
        found = None
    else:
        check_alive(found)
    return found


def check_alive(found: State) -> None:
    """Raises `ClusterError` with the log's tail when a broker ended without a command."""
    for broker in found.dead_brokers:
        tail = log_tail(found, broker.id)
        if "No space left on device" in log_tail(found, broker.id, lines=400):  # stack traces follow the line
            free = f"{disk_usage(found.run).free / 1e6:,.1f} MB are free now"
            raise ClusterError(
                f"Kafka's broker {broker.id} died: the disk of {found.run} was full ({free}). Its log ends:\n{tail}",
                f"Free some space there, or set LAB_HOME to a folder on another disk. {STOP_CURE}",
            )
        raise ClusterError(f"Kafka's broker {broker.id} died. The end of its log:\n{tail}", STOP_CURE)


def log_tail(found: State, broker: int, lines: int = 15) -> str:
    """The last lines of a broker's log."""
    logs = sorted(Path(found.run).glob(f"start-*/broker-{broker}/kafka.log"))
    return "\n".join(logs[-1].read_text(errors="replace").splitlines()[-lines:]) if logs else ""


def _join(found: State, file: Path, user: str, pid: int | None) -> State | None:
    """Registers a user with a running supervisor; None when it is just ending."""
    try:
        answer = call(found.address, found.token, "attach", user=user, pid=pid)
    except (OSError, ValueError) as error:
        if is_alive(found.supervisor):
            raise ClusterError(
                f"the cluster's supervisor (pid {found.supervisor.pid}) does not answer", STOP_CURE
            ) from error
        answer = {"ending": True}
    return wait_until_settled(file) if raise_problem(answer).get("ending") else found
