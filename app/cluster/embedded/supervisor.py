"""The small process that owns the brokers' JVMs, and ends them when their last user is gone.

python -m streaming_lab.cluster.embedded.supervisor        started by `start_stop`, with a start request on stdin

The supervisor runs in a session of its own, so neither Ctrl-C nor a kernel's end reaches it. It imports the standard
library and psutil only, because every start waits for it.
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


class Leases:
    """The users of a cluster, one entry for each attachment: a process that attaches twice must close twice."""

    def __init__(self) -> None:
        self._all: list[tuple[Lease, psutil.Process | None]] = []

    def __len__(self) -> int:
        return len(self._all)

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases as the state file lists them."""
        return tuple(user for user, _ in self._all)

    def acquire(self, name: str, pid: int | None) -> None:
        """Add a user; without a pid it is a hold, which lasts until `stop`."""
        process = None if pid is None else psutil.Process(pid)
        known = None if process is None else ProcessId(process.pid, process.create_time())
        if pid is None:
            self.release(name, None)  # a second hold of the same name replaces the first
        self._all.append((Lease(name, known, time.time()), process))

    def release(self, name: str, pid: int | None) -> None:
        """Remove one attachment of this user, if there is one."""
        for index, (user, _) in enumerate(self._all):
            if user.name == name and (user.process.pid if user.process else None) == pid:
                del self._all[index]
                return

    def drop_ended(self) -> bool:
        """Remove the processes that ended; True when there were any."""
        alive = [one for one in self._all if one[1] is None or _runs(one[1])]
        dropped, self._all = len(alive) < len(self._all), alive
        return dropped


def _runs(process: psutil.Process) -> bool:
    """Whether the process is still there (psutil compares start times) and no zombie."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


CHECK_INTERVAL = 0.25  # seconds between two checks of users and brokers
WAIT_TIMEOUT = 150.0  # seconds that an answer to `wait` may take: the end may train the start-up cache


class Supervisor:
    """One cluster from its start request to its end: brokers, users, their requests. Writes the state file, alone."""

    def __init__(self, request: StartRequest) -> None:
        self.request = request
        self.file = state_file(request.instance, Path(request.home))
        self.run = Path(request.home) / "run" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
        self.run.mkdir(parents=True)
        self.brokers = Brokers(request, self.run)
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
            profile=request.profile,
            training=False,
            started_at=time.time(),
            ready_seconds=None,
            grace=request.grace,
            brokers=(),
            users=(),
            auto_create=request.auto_create,
            kept=request.kept,
        )

    def start(self) -> None:
        """Start the brokers; raises `ClusterError`, and leaves nothing running, when one does not open its port."""
        self.users.acquire(self.request.user, self.request.pid)
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
        """Write the current state to the state file; a file that was removed is not written again: the cluster ends."""
        with self.lock:
            if self.state.brokers and not self.file.exists():
                self.ending.set()
                return
            self.state = replace(
                self.state,
                cluster_id=self.brokers.cluster_id,
                version=self.brokers.version,
                training=self.brokers.training,
                brokers=tuple(_broker_state(broker) for broker in self.brokers.all),
                users=self.users.leases,
            )
            write_state(self.file, self.state)

    def watch(self) -> None:
        """Return when the cluster must end: on request, state file removed, or no user for the grace time."""
        alone_since: float | None = None
        while not self.ending.wait(CHECK_INTERVAL):
            with self.lock:
                if self.users.drop_ended() or self.brokers.check():
                    self.publish()
                now = time.monotonic()
                alone_since = None if self.users else alone_since or now
                if not self.file.exists() or (alone_since and now - alone_since >= self.request.grace):
                    self.ending.set()

    def end(self) -> None:
        """End the brokers, cleanly if possible, and leave nothing but a start-up cache."""
        with self.lock:
            self.state = replace(self.state, status="stopping")
            self.publish()
        self.forced, self.trained = self.brokers.end()
        self.close(keep=self.request.keep)

    def close(self, keep: bool) -> None:
        """Remove the files, answer pending `wait` calls, and close the server."""
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
        """Carry out a user's command; a `ClusterError` becomes the reply's problem and cure."""
        try:
            if command == "wait":
                return self._wait()
            if command in BROKER_VERBS:
                return self._to_broker(command, int(arguments["broker"]))
            with self.lock:
                return self._change_users(command, arguments)
        except ClusterError as error:
            return {"problem": error.problem, "cure": error.cure}

    def _change_users(self, command: str, arguments: dict[str, Any]) -> Reply:
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


def _broker_state(broker: BrokerProcess) -> BrokerState:
    ports = broker.ports
    return BrokerState(ports.id, ports.port, ports.controller_port, broker.known, broker.status)


def main() -> None:
    """Read the start request, answer one line on stdout (the state file's path, or a problem and its cure), and run."""
    request = StartRequest.from_json(json.load(sys.stdin))
    if os.fork():
        os._exit(0)  # the starter is then not the parent, and need not wait for this process
    os.setsid()  # leader of a group of its own, so that the group can be ended as one
    supervisor = Supervisor(request)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.ending.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        supervisor.start()
    except ClusterError as error:
        _reply({"problem": error.problem, "cure": error.cure})
        return
    _reply({"state": str(supervisor.file)})
    try:
        supervisor.watch()
    finally:
        supervisor.end()


def _reply(answer: Reply) -> None:
    """Send the answer to the starter, if it still listens, and close its pipe."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(answer).encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    main()
