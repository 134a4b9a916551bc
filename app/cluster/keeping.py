"""Keeping a cluster: its fleet of brokers, its users, what they ask for, and its end when the last one is gone.

The keeper alone writes the state file. It looks at its users four times a second, by pid and start time.
"""

import os
import secrets
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from streaming_lab.cluster.base import BROKER_VERBS, BrokerVerb, ClusterError
from streaming_lab.cluster.broker import BrokerProcess
from streaming_lab.cluster.channel import Answer, Service
from streaming_lab.cluster.fleet import Fleet
from streaming_lab.cluster.order import Order
from streaming_lab.cluster.state import BrokerState, State, identify, state_file, write
from streaming_lab.cluster.users import Users
from streaming_lab.waiting import wait_until

LOOK = 0.25  # seconds between two looks at users and brokers
WAIT = 150.0  # seconds that an answer to `wait` may take: an end that trains the start-up cache takes some


class Keeper:
    """Runs one cluster from its order to its end."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.file = state_file(order.instance, Path(order.home))
        self.run = Path(order.home) / "run" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}"
        self.run.mkdir(parents=True)
        self.fleet = Fleet(order, self.run)
        self.lock = threading.RLock()
        self.users = Users()
        self.ending = threading.Event()
        self.ended = threading.Event()
        self.waiting = 0
        self.forced: list[int] = []
        self.trained = False
        self.service = Service(secrets.token_hex(16), self.answer)
        self.state = State(
            status="starting",
            keeper=identify(os.getpid()),
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
        self.users.admit(self.order.user, self.order.pid)
        begun = time.monotonic()
        try:
            self.fleet.start(on_change=self.publish)
        except ClusterError:
            self.fleet.end(patience=0)
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
                cluster_id=self.fleet.cluster_id,
                version=self.fleet.version,
                training=self.fleet.training,
                brokers=tuple(_seen(broker) for broker in self.fleet.brokers),
                users=self.users.seen,
            )
            write(self.file, self.state)

    def watch(self) -> None:
        """Return when the cluster must end: asked to, state file taken away, or last user gone for the grace time."""
        alone_since: float | None = None
        while not self.ending.wait(LOOK):
            with self.lock:
                if self.users.look() or self.fleet.look():
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
        self.forced, self.trained = self.fleet.end()
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

    def answer(self, command: str, arguments: dict[str, Any]) -> Answer:
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

    def _about_users(self, command: str, arguments: dict[str, Any]) -> Answer:
        if command == "attach":
            if self.ending.is_set():
                return {"ending": True}
            self.users.admit(str(arguments["user"]), arguments["pid"])
        elif command == "detach":
            self.users.dismiss(str(arguments["user"]), arguments["pid"])
            if arguments.get("now") and not self.users:
                self.ending.set()
        elif command == "stop":
            self.ending.set()
        elif command != "ping":
            return {
                "problem": f"unknown command {command!r}",
                "cure": "Is the keeper of another version? Stop and start it.",
            }
        self.publish()
        return {"users": len(self.users), "ending": self.ending.is_set(), "training": self.fleet.training}

    def _to_broker(self, verb: BrokerVerb, number: int) -> Answer:
        with self.fleet.busy:
            self.fleet.command(verb, number)
        self.publish()
        return {"status": self.fleet.find(number).status}

    def _wait(self) -> Answer:
        self.waiting += 1
        try:
            gone = self.ended.wait(WAIT)
        finally:
            self.waiting -= 1
        return {"gone": gone, "forced": self.forced, "trained": self.trained}


def _seen(broker: BrokerProcess) -> BrokerState:
    seat = broker.seat
    return BrokerState(seat.id, seat.port, seat.controller_port, broker.known, broker.status)
