"""The small process that owns the brokers' JVMs, and ends them when their last user is gone.

python -m streaming_lab.cluster.embedded.supervisor        started by `start_stop`, with a start request on stdin

The supervisor runs in a session of its own, so neither Ctrl-C nor a kernel's end reaches it. It imports the standard
library only, because every start waits for it.
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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from streaming_lab.cluster.base import BROKER_VERBS, BrokerVerb
from streaming_lab.cluster.embedded.broker import BrokerProcess
from streaming_lab.cluster.embedded.brokers import Brokers
from streaming_lab.cluster.embedded.rpc import Reply, Server
from streaming_lab.cluster.embedded.start_stop import StartRequest
from streaming_lab.cluster.embedded.state import BrokerState, Lease, State, StateFile, state_file
from streaming_lab.errors import LabError
from streaming_lab.paths import folder_error
from streaming_lab.processes import find_place, identify_process, is_alive
from streaming_lab.waiting import wait_until


class Leases:
    """The users of a cluster, one entry for each attachment: a process that attaches twice must close twice."""

    def __init__(self) -> None:
        self._all: list[Lease] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._all)

    def acquire(self, name: str, pid: int | None) -> None:
        """Add a user; without a pid it is a hold, which lasts until `stop`."""
        known = None if pid is None else identify_process(pid)
        if pid is None:
            self.release(name, None)  # a second hold of the same name replaces the first
        self._all.append(Lease(name, known, time.time()))

    def release(self, name: str, pid: int | None) -> None:
        """Remove one attachment of this user, if there is one."""
        for index, user in enumerate(self._all):
            if user.name == name and (user.process.pid if user.process else None) == pid:
                del self._all[index]
                return

    def drop_ended(self) -> bool:
        """Remove the processes that ended; True when there were any."""
        alive = [one for one in self._all if one.process is None or is_alive(one.process)]
        dropped, self._all = len(alive) < len(self._all), alive
        return dropped


CHECK_INTERVAL = 0.25  # seconds between two checks of users and brokers
WAIT_TIMEOUT = 150.0  # seconds that an answer to `wait` may take: the end may train the start-up cache


class Supervisor:
    """One cluster from its start request to its end: brokers, users, their requests. Writes the state file, alone."""

    def __init__(self, request: StartRequest) -> None:
        self.request = request
        self.run = Path(request.home) / "run" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
        self.run.parent.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(mode=0o700)  # its owner's alone: it holds events, logs and the socket
        self.brokers = Brokers(request, self.run)
        self.lock = threading.RLock()
        self.users = Leases()
        self.ending = threading.Event()
        self.ended = threading.Event()
        self.waiting = 0
        self.forced: list[int] = []
        self.trained = False
        self.service = Server(secrets.token_hex(16), self.answer, self.run)
        self.file = StateFile(state_file(request.instance, Path(request.home)), self.service.token)
        self.unsaved = False
        self.state = State(
            status="starting",
            place=find_place(),
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
            secured=request.secured,
        )

    def start(self) -> None:
        """Start the brokers; raises LabError or OSError, and leaves nothing running, when one fails."""
        begun = time.monotonic()
        try:
            self.users.acquire(self.request.user, self.request.pid)
            self.file.write(self.state)  # before the first JVM: whatever befalls this process, the files are known
            self.brokers.start(on_change=self.publish)
            self.state = replace(self.state, status="running", ready_seconds=round(time.monotonic() - begun, 3))
            self._write()
        except (LabError, OSError):
            self.brokers.end(patience=0)
            self.close(keep=True)
            raise

    def publish(self) -> None:
        """Write the current state to the state file; a file that was removed is not written again: the cluster ends.

        A write that fails, as on a full disk, is tried again by `watch`: the state on the disk is old for a while.
        """
        with self.lock:
            if self.file.check() == "gone":
                self.ending.set()
                return
            self.unsaved = True
            with contextlib.suppress(OSError):
                self._write()

    def _write(self) -> None:
        self.state = replace(
            self.state,
            cluster_id=self.brokers.cluster_id,
            version=self.brokers.version,
            training=self.brokers.training,
            brokers=tuple(_broker_state(broker) for broker in self.brokers.all),
            users=tuple(self.users),
        )
        self.file.write(self.state)
        self.unsaved = False

    def watch(self) -> None:
        """Return when the cluster must end: on request, state file removed, or no user for the grace time."""
        alone_since: float | None = None
        while not self.ending.wait(CHECK_INTERVAL):
            with self.lock:
                changed = [self.users.drop_ended(), self.brokers.check(), self.unsaved]
                if any(changed) or self.file.check() != "written":
                    self.publish()
                now = time.monotonic()
                alone_since = None if self.users else alone_since or now
                if alone_since and now - alone_since >= self.request.grace:
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
        with contextlib.suppress(OSError):
            if keep:
                (self.run / "kept").touch()
            else:
                shutil.rmtree(self.run, ignore_errors=True)
        self.file.remove()
        self.ended.set()
        wait_until(lambda: not self.waiting, 1.0, step=0.005)
        self.service.shutdown()
        self.service.server_close()

    def answer(self, command: str, arguments: dict[str, Any]) -> Reply:
        """Carry out a user's command; an error becomes the reply's problem and cure."""
        try:
            if command == "wait":
                return self._wait()
            if command in BROKER_VERBS:
                return self._to_broker(command, int(arguments["broker"]))
            with self.lock:
                return self._change_users(command, arguments)
        except LabError as error:
            return {"problem": error.problem, "cure": error.cure}
        except (OSError, KeyError, TypeError, ValueError) as error:
            problem = f"the supervisor could not {command or 'answer'}: {type(error).__name__}: {error}"
            return {"problem": problem, "cure": f"Its files: {self.run}."}

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
    os.umask(0o077)  # logs and data, the brokers' as well, are their owner's alone
    try:
        supervisor = Supervisor(request)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.ending.set())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        supervisor.start()
    except (LabError, OSError) as error:
        told = folder_error(Path(request.home), error)
        _reply({"problem": told.problem, "cure": told.cure})
        return
    _reply({"state": str(supervisor.file.path)})
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
