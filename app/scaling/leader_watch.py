"""A watch on one partition: its leader and its in-sync replicas over time, as the brokers' metadata tell them."""

import threading
import time
from dataclasses import dataclass, replace
from typing import Self

from streaming_lab.client.broker_connection import Address, BrokerConnection, ConnectionBroken
from streaming_lab.client.connection import Connection
from streaming_lab.client.metadata import ask_metadata, parse_addresses

WATCH_INTERVAL = 0.03  # seconds between two looks
LOOK_TIMEOUT = 0.3  # seconds for one broker to answer; then another one is asked


@dataclass(frozen=True)
class Leadership:
    """What a broker knew of the partition `at` a moment (monotonic seconds): its leader (or None) and the in-sync."""

    at: float
    leader: int | None
    isr: tuple[int, ...]


class LeaderWatch:
    """`with LeaderWatch(...)`: a thread asks a broker that answers, again and again; `seen` has each change."""

    def __init__(self, connection: Connection, topic: str, partition: int = 0) -> None:
        self.seen: list[Leadership] = []
        self._topic, self._partition = topic, partition
        self._addresses = list(parse_addresses(connection["bootstrap_servers"]))  # who answered last comes first
        self._open: dict[Address, BrokerConnection] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="leader-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stopped.set()
        self._thread.join()
        for connection in self._open.values():
            connection.close()

    @property
    def now(self) -> Leadership:
        """The last change that was seen; nothing is known before the first answer."""
        return self.seen[-1] if self.seen else Leadership(time.monotonic(), None, ())

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_INTERVAL):
            for address in list(self._addresses):
                try:
                    found = self._look(address)
                except ConnectionBroken:
                    if address in self._open:
                        self._open.pop(address).close()
                    self._addresses.append(self._addresses.pop(self._addresses.index(address)))
                    continue
                if found is not None and (not self.seen or replace(found, at=self.now.at) != self.now):
                    self.seen.append(found)
                break

    def _look(self, address: Address) -> Leadership | None:
        deadline = time.monotonic() + LOOK_TIMEOUT
        if address not in self._open:
            self._open[address] = BrokerConnection(address, deadline)
        connection = self._open[address]
        connection.deadline = deadline
        _, answer = ask_metadata(self._topic, connection)
        for one in (one for topic in answer.topics or () for one in topic.partitions or ()):
            if one.partition_index == self._partition:
                leader = int(one.leader_id)
                return Leadership(time.monotonic(), leader if leader >= 0 else None, tuple(sorted(one.isr_nodes)))
        return None
