"""Topics for the reader's tests, filled as other people's programs fill them."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Producer
from waiting import eventually

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, librdkafka_settings

Record = tuple[bytes | None, bytes | None]  # key, value


def new_topic(connection: Connection, partitions: int = 1, **config: str) -> str:
    """A topic of its own name; configuration with _ for the dots."""
    name = f"read-{uuid.uuid4().hex[:8]}"
    settings = {key.replace("_", "."): value for key, value in config.items()}
    replication = int(settings.pop("replication", "1"))
    topics.create_topic(connection, name, partitions=partitions, replication_factor=replication, config=settings)
    return name


def producer(connection: Connection, **settings: Any) -> Producer:
    """confluent-kafka's producer: an independent writer, with every codec and transactions."""
    names = {key.replace("_", "."): value for key, value in settings.items()}
    return Producer({**librdkafka_settings(connection), "linger.ms": 5, "log_level": 0, **names})


def write(
    connection: Connection, topic: str, records: Mapping[int, Iterable[Record]], writer: Producer | None = None
) -> None:
    """Write the records (partition -> key and value) and wait for all of them."""
    out = writer or producer(connection)
    for partition, pairs in records.items():
        for key, value in pairs:
            out.produce(topic, value, key, partition=partition)
            out.poll(0)
    assert out.flush(20) == 0


def values(connection: Connection, *found: bytes | None, partitions: int = 1) -> str:
    """A new topic with these values, dealt to the partitions in turn."""
    topic = new_topic(connection, partitions)
    dealt = {p: [(None, value) for value in found[p::partitions]] for p in range(partitions)}
    write(connection, topic, dealt)
    return topic


def abort(connection: Connection, topic: str, count: int) -> None:
    """So many records on partition 0 in a transaction that is aborted, and the control record that says so."""
    end = topics.end_offsets(connection, topic)[0] + count + 1
    out = producer(connection, transactional_id=topic)
    out.init_transactions(20)
    out.begin_transaction()
    write(connection, topic, {0: [(None, b"{}")] * count}, out)
    out.abort_transaction(20)
    assert eventually(lambda: topics.end_offsets(connection, topic)[0] == end)
