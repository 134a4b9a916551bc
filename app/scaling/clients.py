"""The librdkafka producer and consumer of the experiments, whose processes import nothing heavy."""

from collections.abc import Mapping

from confluent_kafka import Consumer, Producer

from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.errors import LabError

SEND_LIMIT = 60.0  # seconds until a send without an acknowledgement is given up; longer than any outage here
POLL_TIMEOUT = 0.2  # seconds for a batch


def make_producer(
    connection: Connection, *, acks: str = "all", settings: Mapping[str, object] | None = None
) -> Producer:
    """A librdkafka producer: idempotent with acks=all, and each send tried again until `SEND_LIMIT`."""
    return Producer(
        {
            **librdkafka_settings(connection),
            "acks": acks,
            "enable.idempotence": acks == "all",
            "message.timeout.ms": int(SEND_LIMIT * 1000),
            "linger.ms": 0,
            "partitioner": "murmur2_random",  # Kafka's own
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
            **(settings or {}),
        }
    )


def flush_all(producer: Producer, sent: int) -> None:
    """Wait until all events that were `sent` are acknowledged; a `LabError` when some are not within `SEND_LIMIT`."""
    if left := producer.flush(SEND_LIMIT):
        raise LabError(f"{left} of {sent} events were not acknowledged", "Is the machine very busy? Run it again.")


def make_consumer(connection: Connection, group: str, settings: Mapping[str, object] | None = None) -> Consumer:
    """A librdkafka consumer that begins at the beginning and commits when it is told to."""
    return Consumer(
        {
            **librdkafka_settings(connection),
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
            **(settings or {}),
        }
    )


def task_connection(connection: Connection) -> Connection:
    """The connection for a child's task: its addresses alone, for the lab's own cluster, which needs no secret."""
    return {"bootstrap_servers": list(connection["bootstrap_servers"])}
