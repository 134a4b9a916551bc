"""An open read: chunks as the brokers' own bytes, or the way round through kafka-python's consumer if need be."""

import logging
import time
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, TypeAlias, TypeVar

from streaming_lab.client import preflight
from streaming_lab.client.broker_connection import Unsupported
from streaming_lab.client.connection import security_protocol_of
from streaming_lab.client.errors import BrokerUnavailable
from streaming_lab.client.topics import Ranges
from streaming_lab.stream.batches import OldFormat
from streaming_lab.stream.consumed import Consumed, Consuming
from streaming_lab.stream.fetch import Fetcher
from streaming_lab.stream.fetched import Fetched
from streaming_lab.stream.request import Request

logger = logging.getLogger(__name__)

Source: TypeAlias = Fetcher | Consuming
Work: TypeAlias = Fetched | Consumed
Opened = TypeVar("Opened", Fetcher, Consuming)


class Reading:
    """An open read: its `ranges` are fixed; `decoder` says which way the bytes came, and why."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._deadline = time.monotonic() + request.timeout
        self._open = ExitStack()
        self.decoder = ""
        try:
            self._source, self.ranges = self._begin()
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def works(self, ranges: Ranges, **settings: Any) -> Generator[Work, None, None]:
        """What the ranges hold, as the source brings it; another source takes over where the first one cannot."""
        try:
            yield from self._source.read(ranges, **settings)
        except (Unsupported, OldFormat) as reason:
            reached = dict(self._source.positions)
            self._source = self._consuming(str(reason))
            yield from self._source.read({p: (at, ranges[p][1]) for p, at in reached.items()}, **settings)

    def _begin(self) -> tuple[Source, Ranges]:
        if security_protocol_of(self._request.connection) != "PLAINTEXT":
            source: Source = self._consuming(f"the connection is {security_protocol_of(self._request.connection)}")
            return source, self._request.resolved(source)
        try:
            source = self._opened(Fetcher)
            return source, self._request.resolved(source)
        except Unsupported as reason:
            source = self._consuming(str(reason))
            return source, self._request.resolved(source)
        except BrokerUnavailable:
            preflight.raise_if_denied(self._request.connection)  # does the port want TLS or SASL?
            raise

    def _consuming(self, reason: str) -> Consuming:
        logger.info("topic %s: read through KafkaConsumer: %s", self._request.topic, reason)
        self.decoder = f"consumer: {reason}"
        return self._opened(Consuming)

    def _opened(self, kind: type[Opened]) -> Opened:
        committed = self._request.isolation == "read_committed"
        connection, topic = self._request.connection, self._request.topic
        return self._open.enter_context(kind(connection, topic, committed=committed, deadline=self._deadline))
