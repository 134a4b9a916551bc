"""The small process that owns the brokers' JVMs, and ends them when their last user is gone.

python -m streaming_lab.cluster.embedded.supervisor        started by `start_stop`, with a start request on stdin

It runs in a session of its own, so neither Ctrl-C nor a kernel's end reaches it. Standard library and psutil only: it
must be up at once.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from streaming_lab.cluster.base import BROKER_VERBS, BrokerVerb, ClusterError
from streaming_lab.cluster.embedded.broker import BrokerProcess
from streaming_lab.cluster.embedded.brokers import Brokers
from streaming_lab.cluster.embedded.rpc import Reply, Server
from streaming_lab.cluster.embedded.start_stop import StartRequest
from streaming_lab.cluster.embedded.state import (
    BrokerState,
    Lease,
    ProcessId,
    State,
    identify_process,
    state_file,
    write_state,
)
from streaming_lab.waiting import wait_until

# Who uses a cluster: processes, known by pid and start time, and holds that only `stop` ends.


class Leases:
    """One entry for each attachment: a process may attach twice, and the first to close must not end the second."""

    def __init__(self) -> None:
        self._all: list[tuple[Lease, psutil.Process | None]] = []

    def __len__(self) -> int:
        return len(self._all)

    @property
    def seen(self) -> tuple[Lease, ...]:
        """As the state file names them."""
        return tuple(user for user, _ in self._all)

    def acquire(self, name: str, pid: int | None) -> None:
        """One more user; without a pid it is a hold."""
        process = None if pid is None else psutil.Process(pid)
        known = None if process is None else ProcessId(process.pid, process.create_time())
        if pid is None:
            self.release(name, None)  # a hold is a hold: asking for it twice changes nothing
        self._all.append((Lease(name, known, time.time()), process))

    def release(self, name: str, pid: int | None) -> None:
        """One user less, if there is such a one."""
        for index, (user, _) in enumerate(self._all):
            if user.name == name and (user.process.pid if user.process else None) == pid:
                del self._all[index]
                return

    def look(self) -> bool:
        """Forget the processes that ended; True when there were any."""
        there = [one for one in self._all if one[1] is None or _runs(one[1])]
        gone, self._all = len(there) < len(self._all), there
        return gone


def _runs(process: psutil.Process) -> bool:
    """Is it still this process (psutil compares start times), and not a zombie that nobody collected?"""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


# Keeping a cluster: its fleet of brokers, its users, what they ask for, and its end when the last one is gone. The
# supervisor alone writes the state file. It looks at its users four times a second, by pid and start time.


CHECK_INTERVAL = 0.25  # seconds between two looks at users and brokers
WAIT_TIMEOUT = 150.0  # seconds that an answer to `wait` may take: an end that trains the start-up cache takes some


class Supervisor:
    """Runs one cluster from its order to its end."""

    def __init__(self, order: StartRequest) -> None:
        self.order = order
        self.file = state_file(order.instance, Path(order.home))
        self.run = Path(order.home) / "run" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
        self.run.mkdir(parents=True)
        self.brokers = Brokers(order, self.run)
        self.lock = threading.RLock()
        self.users = Leases()
        self.ending = threading.Event()
        self.ended = threading.Event()
        self.waiting = 0
        self.forced: list[int] = []
        self.trained = False
        self.service = Server(secrets.token_hex(16), self.answer)
        self.state = State(
            status="starting",
            supervisor=identify_process(os.getpid()),
            address=self.service.address,
            token=self.service.token,
            run=str(self.run),
            cluster_id="",
            version=None,
            profile=order.profile,
            training=False,
            started_at=time.time(),
            ready_seconds=None,
            grace=order.grace,
            brokers=(),
            users=(),
        )

    def start(self) -> None:
        """Bring the brokers up; raises `ClusterError` (and leaves nothing running) when they do not come."""
        self.users.acquire(self.order.user, self.order.pid)
        begun = time.monotonic()
        try:
            self.brokers.start(on_change=self.publish)
        except ClusterError:
            self.brokers.end(patience=0)
            self.close(keep=True)
            raise
        self.state = replace(self.state, status="running", ready_seconds=round(time.monotonic() - begun, 3))
        self.publish()

    def publish(self) -> None:
        """Write what is so now into the state file; one that was taken away is not written again, it means the end."""
        with self.lock:
            if self.state.brokers and not self.file.exists():
                self.ending.set()
                return
            self.state = replace(
                self.state,
                cluster_id=self.brokers.cluster_id,
                version=self.brokers.version,
                training=self.brokers.training,
                brokers=tuple(_seen(broker) for broker in self.brokers.all),
                users=self.users.seen,
            )
            write_state(self.file, self.state)

    def watch(self) -> None:
        """Return when the cluster must end: asked to, state file taken away, or last user gone for the grace time."""
        alone_since: float | None = None
        while not self.ending.wait(CHECK_INTERVAL):
            with self.lock:
                if self.users.look() or self.brokers.look():
                    self.publish()
                now = time.monotonic()
                alone_since = None if self.users else alone_since or now
                if not self.file.exists() or (alone_since and now - alone_since >= self.order.grace):
                    self.ending.set()

    def end(self) -> None:
        """End the brokers, cleanly where they let us, and leave nothing but a start-up cache."""
        with self.lock:
            self.state = replace(self.state, status="stopping")
            self.publish()
        self.forced, self.trained = self.brokers.end()
        self.close(keep=self.order.keep)

    def close(self, keep: bool) -> None:
        """Take the files away, answer those who wait, and close the line."""
        if keep:
            (self.run / "kept").touch()
        else:
            shutil.rmtree(self.run, ignore_errors=True)
        self.file.unlink(missing_ok=True)
        self.ended.set()
        wait_until(lambda: not self.waiting, 1.0, step=0.005)
        self.service.shutdown()
        self.service.server_close()

    def answer(self, command: str, arguments: dict[str, Any]) -> Reply:
        """Do what a user asks; a failure is an answer, too."""
        try:
            if command == "wait":
                return self._wait()
            if command in BROKER_VERBS:
                return self._to_broker(command, int(arguments["broker"]))
            with self.lock:
                return self._about_users(command, arguments)
        except ClusterError as error:
            return {"problem": error.problem, "cure": error.cure}

    def _about_users(self, command: str, arguments: dict[str, Any]) -> Reply:
        if command == "attach":
            if self.ending.is_set():
                return {"ending": True}
            self.users.acquire(str(arguments["user"]), arguments["pid"])
        elif command == "detach":
            self.users.release(str(arguments["user"]), arguments["pid"])
            if arguments.get("now") and not self.users:
                self.ending.set()
        elif command == "stop":
            self.ending.set()
        elif command != "ping":
            return {
                "problem": f"unknown command {command!r}",
                "cure": "Is the supervisor of another version? Stop and start it.",
            }
        self.publish()
        return {"users": len(self.users), "ending": self.ending.is_set(), "training": self.brokers.training}

    def _to_broker(self, verb: BrokerVerb, number: int) -> Reply:
        with self.brokers.busy:
            self.brokers.command(verb, number)
        self.publish()
        return {"status": self.brokers.find(number).status}

    def _wait(self) -> Reply:
        self.waiting += 1
        try:
            gone = self.ended.wait(WAIT_TIMEOUT)
        finally:
            self.waiting -= 1
        return {"gone": gone, "forced": self.forced, "trained": self.trained}


def _seen(broker: BrokerProcess) -> BrokerState:
    seat = broker.ports
    return BrokerState(seat.id, seat.port, seat.controller_port, broker.known, broker.status)


def main() -> None:
    """Read the order, answer one line on stdout (the state file's path, or a problem with its cure), and keep."""
    order = StartRequest.from_json(json.load(sys.stdin))
    if os.fork():
        os._exit(0)  # the starter is not our parent then, and need not collect us
    os.setsid()  # leads its own group again, so that it can be ended as one
    supervisor = Supervisor(order)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.ending.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        supervisor.start()
    except ClusterError as error:
        _say({"problem": error.problem, "cure": error.cure})
        return
    _say({"state": str(supervisor.file)})
    try:
        supervisor.watch()
    finally:
        supervisor.end()


def _say(answer: Reply) -> None:
    """Tell the starter, if it still listens, and let go of its pipe."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(answer).encode() + b"\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    main()
