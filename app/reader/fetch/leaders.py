"""Who leads the partitions of a topic, found again whenever that changes: bounded, and with an error that says why."""

import logging
import selectors
import time
import uuid
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from streaming_lab.client import topics
from streaming_lab.client.broker_connection import Address, BrokerConnection, Buffers, ConnectionBroken
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.client.errors import BrokerUnavailable, OffsetOutOfRange, ReadTimeout
from streaming_lab.client.metadata import (
    EARLIEST,
    LATEST,
    StaleMetadata,
    TopicMetadata,
    by_leader,
    fetch_metadata,
    list_offsets,
    parse_addresses,
)
from streaming_lab.client.topics import Ranges

logger = logging.getLogger(__name__)

_BACKOFF = (0.02, 0.05, 0.1, 0.2, 0.5)  # seconds between looking for leaders; the last one repeats
_GRACE = 3.0  # seconds until a silent cluster is believed, when nothing has been read yet


class LeaderConnections:
    """Links to the leaders of one topic, and what they say about its offsets.

    `positions` says at any time which offset comes next, per partition of the ranges that are read. `deadline` is in
    monotonic seconds. With `committed`, the last stable offset is the end of everything.
    """

    def __init__(self, connection: Connection, topic: str, *, committed: bool, deadline: float) -> None:
        self.topic = topic
        self.positions: dict[int, int] = {}
        self._connection = connection
        self._committed = committed
        self._started, self._deadline = time.monotonic(), deadline
        self._seeds = parse_addresses(connection["bootstrap_servers"])
        self._layout: TopicMetadata | None = None
        self._topic_id: uuid.UUID | None = None
        self._links: dict[Address, BrokerConnection] = {}
        self._buffers = Buffers()
        self._selector = selectors.DefaultSelector()
        self._ends: dict[int, int] = {}
        self._trouble = ""  # what the last failed try said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for link in list(self._links.values()):
            self._drop(link)
        self._selector.close()

    def partitions(self) -> list[int]:
        """The topic's partitions."""
        return list(self._retried(lambda layout: layout.leaders))

    def offsets(self, when: int, partitions: list[int] | None = None) -> dict[int, int]:
        """Offset per partition at EARLIEST, LATEST or a time in ms UTC (-1: no record is that late)."""

        def find(layout: TopicMetadata) -> dict[int, int]:
            asked = list(layout.leaders) if partitions is None else partitions
            links = {leader: self._link(leader) for leader in by_leader(layout, asked)}
            return list_offsets(layout, asked, when, self._committed, links)

        return dict(self._retried(find))

    def bounds(self) -> Ranges:
        """The beginning and, at this moment, the end of each partition."""
        begin, end = self.offsets(EARLIEST), self.offsets(LATEST)
        return {partition: (begin[partition], end[partition]) for partition in sorted(begin)}

    def _pending(self) -> list[int]:
        return [partition for partition, at in self.positions.items() if at < self._ends[partition]]

    def _retried(self, question: Any) -> Any:
        """The answer to a question about the layout, asked until there is one or patience ends."""
        tries = 0
        while True:
            try:
                return question(self._located())
            except (ConnectionBroken, StaleMetadata) as error:
                tries = self._recover(error, tries)

    def _recover(self, error: ConnectionBroken | StaleMetadata, tries: int) -> int:
        """After trouble: forget who leads, wait a little, and give up if that is hopeless."""
        self._trouble = str(error)
        logger.info("topic %s: %s; looking for the leaders again", self.topic, error)
        self._layout = None
        for link in list(self._links.values()):
            self._drop(link)
        waited = time.monotonic() - self._started
        if isinstance(error, StaleMetadata) and error.missing and tries >= len(_BACKOFF):
            topics.describe_topic(self._connection, self.topic)  # says that the topic is missing, and which is near
        if not self.positions and waited > _GRACE:
            raise BrokerUnavailable(
                f"no broker answers at {addresses(self._connection)}: {self._trouble}",
                "Start one with `python3 scripts/cluster.py start`, or correct the address.",
            ) from error
        backoff = _BACKOFF[min(tries, len(_BACKOFF) - 1)]
        if self._left() <= backoff:
            raise self.late() from error
        time.sleep(backoff)
        return tries + 1

    def late(self) -> ReadTimeout:
        """What is missing now that the time is over."""
        missing = [f"partition {p} is at {self.positions[p]} of {self._ends[p]}" for p in self._pending()]
        why = f" (last: {self._trouble})" if self._trouble else ""
        return ReadTimeout(
            f"topic {self.topic!r} was not read in {self._deadline - self._started:.0f} s: "
            f"{'; '.join(missing) or 'its offsets are unknown'}{why}",
            "Give the read a longer `timeout`, or see whether the brokers are well.",
        )

    def _located(self) -> TopicMetadata:
        if self._left() <= 0:
            raise self.late()
        if self._layout is None:
            known = [*self._seeds, *self._links]
            found = fetch_metadata(self.topic, dict.fromkeys(known), lambda at: self._open(at, patience=2.0))
            if self._topic_id not in (None, found.topic_id):
                raise OffsetOutOfRange(f"topic {self.topic!r} was deleted and made anew", "Capture the offsets anew.")
            self._layout, self._topic_id = found, found.topic_id
            self._seeds = tuple(dict.fromkeys([*self._seeds, *found.brokers]))
        return self._layout

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _open(self, address: Address, patience: float) -> BrokerConnection:
        return BrokerConnection(address, min(self._deadline, time.monotonic() + patience), self._buffers)

    def _link(self, leader: Address) -> BrokerConnection:
        if leader not in self._links:
            link = self._links[leader] = BrokerConnection(leader, self._deadline, self._buffers)
            self._selector.register(link, selectors.EVENT_READ)
        return self._links[leader]

    def _drop(self, link: BrokerConnection) -> None:
        self._links.pop(link.address, None)
        with ExitStack() as stack:
            stack.callback(link.close)
            if link.fileno() >= 0:
                self._selector.unregister(link)
