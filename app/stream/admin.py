"""kafka-python's admin client for a few questions, and what it means when nobody answers them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from streaming_lab.stream import door
from streaming_lab.stream.connection import Connection, addresses, kafka_python
from streaming_lab.stream.missing import BrokerGone

PATIENCE = 4.0  # seconds until a silent broker is an error; a person waits less than five

_SILENT = (
    kafka_errors.KafkaTimeoutError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.RequestTimedOutError,
)


@contextmanager
def asking(connection: Connection, timeout: float) -> Iterator[KafkaAdminClient]:
    """An admin client for a few questions; a broker that does not answer within `timeout` seconds is `BrokerGone`.

    One that refuses the connection is `NotLetIn`.
    """
    started = time.monotonic()
    admin = None
    try:
        server = door.find(connection, started + timeout)
        patience = max(1, int((started + timeout - time.monotonic()) * 1000))
        settings = {**kafka_python(connection), "bootstrap_servers": [server]}
        admin = KafkaAdminClient(**settings, bootstrap_timeout_ms=patience, request_timeout_ms=patience)
        yield admin
    except _SILENT as error:
        waited = time.monotonic() - started
        raise BrokerGone(
            f"no broker answers at {addresses(connection)} (waited {waited:.1f} s)",
            "Start one with `python3 scripts/cluster.py start`, or correct the address.",
        ) from error
    finally:
        if admin is not None:
            admin.close()
