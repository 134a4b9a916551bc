"""The event logger of the seed's second program: makes its `KafkaProducer` late, and flushes it at the end."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from kafka.errors import KafkaError

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, connection_for
from streaming_lab.errors import LabError

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
        self._waiting: set[Any] = set()  # futures of sends without a delivery report
        app.extensions["event_logger"] = self  # a GameServer closes it at its end
        app.register_error_handler(LabError, lambda error: (f"\n{error}\n", 503))

    def send(self, topic: str, value: bytes) -> None:
        """`KafkaProducer.send`: returns before the event has left; the caller does not learn of a later failure.

        Raises a LabError when there is no broker or no such topic at the first event.
        """
        try:
            future = self._producer(topic).send(topic, value)
        except KafkaError as error:
            cure = "See what runs: python3 scripts/cluster.py status"
            raise LabError(f"no event could be sent to topic {topic!r}: {error}", cure) from error
        self._waiting.add(future)
        future.add_both(lambda *_: self._waiting.discard(future))

    def close(self, timeout: float = 10.0) -> int:
        """Send what is still here, for `timeout` seconds at most; returns how many events were not delivered."""
        with self._making:
            producer, self._made = self._made, None
        if producer is None or self._pid != os.getpid():
            return 0
        deadline = time.monotonic() + timeout
        try:
            producer.flush(timeout=timeout)
            producer.close(timeout=max(0.1, deadline - time.monotonic()))
        except KafkaError:
            producer.close(timeout=0)  # without this its thread would live on
        unsent = sum(1 for future in self._waiting if not future.succeeded())
        self._waiting.clear()
        return unsent

    def _producer(self, topic: str) -> Any:
        with self._making:
            if self._made is None or self._pid != os.getpid():
                connection = self._connection()
                topics.describe_topic(connection, topic)  # names a missing topic, where `send` would only time out
                self._made = self._make(**connection, max_block_ms=int(SEND_TIMEOUT * 1000))
                self._pid = os.getpid()
            return self._made


def broker() -> Connection:
    """`KAFKA_BOOTSTRAP_SERVERS`, otherwise the lab's running cluster; LabError without both."""
    from streaming_lab.cluster import running

    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return connection_for(servers)
    if connection := running():
        return connection
    cure = "Start one with `python3 scripts/cluster.py start`, or set KAFKA_BOOTSTRAP_SERVERS=host:port."
    raise LabError("there is no Kafka to log to", cure)
