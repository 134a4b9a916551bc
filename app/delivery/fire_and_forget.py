"""Fire-and-forget: the seed's `KafkaProducer.send`, without a wait for the outcome."""

import time
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from streaming_lab.cli import positive
from streaming_lab.client import topics
from streaming_lab.client.admin import ADMIN_TIMEOUT
from streaming_lab.client.connection import kafka_python_settings
from streaming_lab.client.errors import BrokerUnavailable
from streaming_lab.delivery.event_log import EventLog, Option
from streaming_lab.delivery.outcome import Refused

GIVE_UP = 120.0  # seconds; kafka-python's own default


class FireAndForget(EventLog):
    """kafka-python's `send()`; a failed delivery is counted when its report comes, long after the answer.

    At most `memory` bytes wait for the broker (kafka-python itself has no bound); an event above them is `Refused`. An
    event that the broker did not take for `patience` seconds is given up.
    """

    guarantee = "The event was handed to a producer in this process; whether it reaches the broker is not known."
    options = (
        *EventLog.options,
        Option("patience", positive, GIVE_UP, "seconds until fire-and-forget gives an event up"),
    )

    def __init__(self, *args: Any, patience: float = GIVE_UP, linger: float = 0.0, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.patience = patience
        self.linger = linger  # seconds; 0 as in the seed
        self._producer: KafkaProducer | None = None

    def ready(self) -> bool:
        """Is there room for an event? Before the first connection: does the topic exist?"""
        there = self._producer is not None or topics.is_available(self.connection, self.topic)
        return there and super().ready()

    def _open(self) -> None:
        topics.end_offsets(self.connection, self.topic)  # raises for a missing topic or broker; a send would block
        producer = KafkaProducer(
            **kafka_python_settings(self.connection),
            linger_ms=int(self.linger * 1000),
            max_block_ms=int(self.timeout * 1000),
            delivery_timeout_ms=int(self.patience * 1000),
            request_timeout_ms=int(min(self.patience, 30) * 1000),
            bootstrap_timeout_ms=int(ADMIN_TIMEOUT * 1000),
            reconnect_backoff_max_ms=1000,  # as in 2019; today's default of 30 s would outlast most outages
            # kafka-python 3's default is True, but such a producer with several requests in flight stands still once an
            # event was given up while others keep coming (measured with 3.0.12).
            enable_idempotence=False,
            # With several requests in flight and no idempotence, a broker's restart reverses one player's events. One
            # in flight costs a sixth of a burst's throughput (3,000 events in 1.2 s for 1.0, medians of 5 rounds).
            max_in_flight_requests_per_connection=1,
        )
        self._warm(producer, time.monotonic() + ADMIN_TIMEOUT)
        self._producer = producer

    def _warm(self, producer: KafkaProducer, deadline: float) -> None:
        """Fetch the topic's metadata: with it, send() never blocks on a broker that is away."""
        while True:
            try:
                producer.partitions_for(self.topic)
                return
            except KafkaTimeoutError as error:
                if time.monotonic() > deadline:
                    producer.close(timeout=0)
                    raise BrokerUnavailable(f"no metadata for topic {self.topic!r}: {error}", "Try again.") from error

    def _deliver(self, key: str, value: bytes, event_id: str) -> None:
        token = object()
        self._reserve(token, event_id, value)
        future = self._send(key, value, token)
        future.add_callback(lambda _: self._settle(token, True))
        future.add_errback(lambda error: self._settle(token, False, f"{type(error).__name__}: {error}"))

    def _send(self, key: str, value: bytes, token: object) -> Any:
        assert self._producer is not None
        try:
            return self._producer.send(self.topic, value, key.encode())
        except KafkaError as error:
            self.in_flight.release(token)
            raise Refused(f"send() failed: {error}", "Ask again later.") from error

    def _close(self, deadline: float) -> list[str]:
        assert self._producer is not None
        with suppress(KafkaTimeoutError):
            self._producer.flush(timeout=max(0.0, deadline - time.monotonic()))
        unsent = self.in_flight.ids()
        if unsent:
            # close() flushes first, whatever its time-out, then raises and leaves its thread alive: kafka-python 3.0
            # has no public way to end a producer whose broker is away.
            self._producer._sender.force_close()
            self._producer._sender.join(1.0)
        with suppress(KafkaTimeoutError):
            self._producer.close(timeout=1.0)
        return unsent
