"""Connections to the leaders of a topic's partitions; leaders that change are found again, until a deadline."""

import logging
import selectors
import time
import uuid
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from streaming_lab.client.broker_connection import Address, BrokerConnection, Buffers, ConnectionBroken
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.client.errors import AccessDenied, BrokerUnavailable, OffsetOutOfRange, ReadTimeout, UnknownTopic
from streaming_lab.client.metadata import (
    EARLIEST,
    LATEST,
    Ranges,
    StaleMetadata,
    TopicMetadata,
    by_leader,
    fetch_metadata,
    list_offsets,
    parse_addresses,
)

logger = logging.getLogger(__name__)

_BACKOFF = (0.02, 0.05, 0.1, 0.2, 0.5)  # seconds between looking for leaders; the last one repeats
_GRACE = 3.0  # seconds after which a silent cluster is an error, when nothing has been read yet


class LeaderConnections:
    """Connections to the leaders of one topic, and the topic's offsets as its leaders report them.

    `positions` is the next offset of each partition that is read. `deadline` is in monotonic seconds. With `committed`,
    a partition ends at its last stable offset.
    """

    def __init__(self, connection: Connection, topic: str, *, committed: bool, deadline: float) -> None:
        self.topic = topic
        self.positions: dict[int, int] = {}
        self._connection = connection
        self._committed = committed
        self._started, self._deadline = time.monotonic(), deadline
        self._seeds = parse_addresses(connection["bootstrap_servers"])
        self._metadata: TopicMetadata | None = None
        self._topic_id: uuid.UUID | None = None
        self._connections: dict[Address, BrokerConnection] = {}
        self._buffers = Buffers()
        self._selector = selectors.DefaultSelector()
        self._ends: dict[int, int] = {}
        self._trouble = ""  # the last failed attempt's reason

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._selector.close()
        self._buffers = Buffers()  # the spare ones are as large as the answers were

    def partitions(self) -> list[int]:
        """The topic's partitions."""
        return list(self._retry(lambda metadata: metadata.leaders))

    def topic_id(self) -> uuid.UUID | None:
        """The topic's id; None where brokers do not tell it."""
        found = self._retry(lambda metadata: metadata.topic_id)
        return found if found.int else None

    def offsets(self, when: int, partitions: list[int] | None = None) -> dict[int, int]:
        """Offset per partition at EARLIEST, LATEST or a time in ms UTC (-1: no record is that late)."""

        def find(metadata: TopicMetadata) -> dict[int, int]:
            asked = list(metadata.leaders) if partitions is None else partitions
            connections = {leader: self._connect(leader) for leader in by_leader(metadata, asked)}
            return list_offsets(metadata, asked, when, self._committed, connections)

        return dict(self._retry(find))

    def bounds(self) -> Ranges:
        """The beginning and, at this moment, the end of each partition."""
        begin, end = self.offsets(EARLIEST), self.offsets(LATEST)
        return {partition: (begin[partition], end[partition]) for partition in sorted(begin)}

    def _pending(self) -> list[int]:
        return [partition for partition, at in self.positions.items() if at < self._ends[partition]]

    def _retry(self, question: Any) -> Any:
        """The answer to a question about the topic's metadata, asked until there is one or time is over."""
        tries = 0
        while True:
            try:
                return question(self._find_leaders())
            except (ConnectionBroken, StaleMetadata) as error:
                tries = self._recover(error, tries)

    def _recover(self, error: ConnectionBroken | StaleMetadata, tries: int) -> int:
        """Forget the leaders after a failed attempt and wait a little; raise an error if time is over."""
        self._trouble = str(error)
        logger.info("topic %s: %s; looking for the leaders again", self.topic, error)
        self._metadata = None
        for connection in list(self._connections.values()):
            self._drop(connection)
        waited = time.monotonic() - self._started
        if isinstance(error, StaleMetadata) and error.missing and tries >= len(_BACKOFF):
            self._raise_if_unknown()
        if not self.positions and waited > _GRACE:
            raise BrokerUnavailable(
                f"no broker answers at {addresses(self._connection)}: {self._trouble}",
                "Start one with `python3 scripts/cluster.py start`, or correct the address.",
            ) from error
        backoff = _BACKOFF[min(tries, len(_BACKOFF) - 1)]
        if self._left() <= backoff:
            raise self.timeout_error() from error
        time.sleep(backoff)
        return tries + 1

    def _raise_if_unknown(self) -> None:
        """Raise `UnknownTopic` with the nearest name; other answers, and none, are left to the next attempt."""
        from streaming_lab.client import admin, topics

        try:
            topics.describe_topic(self._connection, self.topic, admin.request_timeout(self._left()))
        except (UnknownTopic, AccessDenied):
            raise
        except Exception as error:  # kafka-python's, on whatever a broker says
            self._trouble = f"{self._trouble}; {error}"

    def timeout_error(self) -> ReadTimeout:
        """The error for an exceeded deadline, with the partitions that are incomplete."""
        incomplete = [f"partition {p} is at {self.positions[p]} of {self._ends[p]}" for p in self._pending()]
        why = f" (last: {self._trouble})" if self._trouble else ""
        return ReadTimeout(
            f"topic {self.topic!r} was not read in {self._deadline - self._started:.0f} s: "
            f"{'; '.join(incomplete) or 'its offsets are unknown'}{why}",
            "Give the read a longer `timeout`, or see whether the brokers are well.",
        )

    def _find_leaders(self) -> TopicMetadata:
        if self._left() <= 0:
            raise self.timeout_error()
        if self._metadata is None:
            known = [*self._seeds, *self._connections]
            found = fetch_metadata(self.topic, dict.fromkeys(known), lambda at: self._open(at, timeout=2.0))
            if self._topic_id not in (None, found.topic_id):
                raise OffsetOutOfRange(f"topic {self.topic!r} was deleted and made anew", "Capture the offsets anew.")
            self._metadata, self._topic_id = found, found.topic_id
            self._seeds = tuple(dict.fromkeys([*self._seeds, *found.brokers]))
        return self._metadata

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _open(self, address: Address, timeout: float) -> BrokerConnection:
        return BrokerConnection(address, min(self._deadline, time.monotonic() + timeout), self._buffers)

    def _connect(self, leader: Address) -> BrokerConnection:
        if leader not in self._connections:
            opened = self._connections[leader] = BrokerConnection(leader, self._deadline, self._buffers)
            self._selector.register(opened, selectors.EVENT_READ)
        return self._connections[leader]

    def _drop(self, connection: BrokerConnection) -> None:
        self._connections.pop(connection.address, None)
        with ExitStack() as stack:
            stack.callback(connection.close)
            if connection.fileno() >= 0:
                self._selector.unregister(connection)
