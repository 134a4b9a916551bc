"""The event logger of the seed's second program: makes its `KafkaProducer` late, and flushes it at the end."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from kafka.errors import KafkaError

from streaming_lab.client import topics
from streaming_lab.client.client_properties import connection_named
from streaming_lab.client.connection import Connection, kafka_python_settings
from streaming_lab.errors import LabError

logger = logging.getLogger(__name__)

MAX_NAMED = 5  # undelivered events in the warning at the end
ABANDON_TIMEOUT = 2.0  # seconds for the end of a thread that waits for a silent broker
BROKER_TIMEOUT = 2.5  # seconds that the first event of a process may look for its broker and topic
SEND_TIMEOUT = 4.0  # seconds that a send may wait for a missing broker or topic


class EventLogger:
    """Makes a producer at its first `send`, in the process that serves, and flushes it when the server stops.

    A producer that is made at import belongs to the wrong process under a server that forks: answers, and no events.
    """

    def __init__(self, producer: Any, app: Flask, connection: Callable[[], Connection] | None = None) -> None:
        self._make = producer
        self._connection = connection or broker
        self._made: Any = None
        self._pid = 0
        self._making = threading.Lock()
        self._waiting: dict[Any, str] = {}  # future of a send without a delivery report -> the event
        self._failed: list[str] = []  # events whose delivery report is a failure
        app.extensions["event_logger"] = self  # a GameServer closes it at its end
        app.register_error_handler(LabError, lambda error: (f"\n{error}\n", 503))

    def send(self, topic: str, value: bytes) -> None:
        """`KafkaProducer.send`: returns before the event has left; the caller does not learn of a later failure.

        `KAFKA_TOPIC` stands in for the program's topic, as `KAFKA_BOOTSTRAP_SERVERS` does for its address.
        Raises a LabError when there is no broker or no such topic at the first event.
        """
        topic = os.environ.get("KAFKA_TOPIC") or topic
        try:
            future = self._producer(topic).send(topic, value)
        except KafkaError as error:
            cure = "See what runs: python3 scripts/cluster.py status"
            raise LabError(f"no event could be sent to topic {topic!r}: {error}", cure) from error
        self._waiting[future] = value.decode(errors="replace")
        future.add_both(lambda *_: self._settle(future))

    def close(self, timeout: float = 10.0) -> int:
        """Send the waiting events, for `timeout` seconds at most; returns how many were not acknowledged.

        A warning names the first of those. An event that was on its way may still arrive after a time-out.
        """
        with self._making:
            producer, self._made = self._made, None
        if producer is None or self._pid != os.getpid():
            return 0
        deadline = time.monotonic() + timeout
        try:
            producer.flush(timeout=timeout)
            producer.close(timeout=max(0.1, deadline - time.monotonic()))
        except KafkaError:
            _abandon(producer)
        unsent = [*self._failed, *self._waiting.values()]
        self._failed.clear()
        self._waiting.clear()
        if unsent:
            more = f" and {len(unsent) - MAX_NAMED:,} more" if len(unsent) > MAX_NAMED else ""
            logger.warning("Kafka acknowledged no delivery of %s%s", ", ".join(map(repr, unsent[:MAX_NAMED])), more)
        return len(unsent)

    def _settle(self, future: Any) -> None:
        event = self._waiting.pop(future, None)
        if event is not None and not future.succeeded():
            self._failed.append(event)

    def _producer(self, topic: str) -> Any:
        with self._making:
            if self._made is None or self._pid != os.getpid():
                connection = self._connection()
                topics.describe_topic(connection, topic, BROKER_TIMEOUT)  # names a missing topic; `send` only times out
                self._made = self._make(**kafka_python_settings(connection), max_block_ms=int(SEND_TIMEOUT * 1000))
                self._pid = os.getpid()
            return self._made


def _abandon(producer: Any) -> None:
    """End a producer of a silent broker, with its thread: kafka-python's `close` flushes first, and raises."""
    with contextlib.suppress(KafkaError):
        producer.close(timeout=0)
    if producer._sender is not None:
        producer._sender.force_close()
        producer._sender.join(ABANDON_TIMEOUT)


def broker() -> Connection:
    """`KAFKA_BOOTSTRAP_SERVERS` (host:port, or a file), otherwise the lab's running cluster; LabError without both."""
    from streaming_lab.cluster import running

    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return connection_named(servers)
    if connection := running():
        return connection
    cure = "Start one with `python3 scripts/cluster.py start`, or set KAFKA_BOOTSTRAP_SERVERS=host:port."
    raise LabError("there is no Kafka to log to", cure)
