"""What became of events whose delivery ended without an answer: the topic itself knows."""

import json
import time
from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.errors import LabError


def find(
    connection: Connection, topic: str, wanted: set[str], start: Mapping[int, int], timeout: float = 10.0
) -> set[str]:
    """Those of the wanted event ids that are in the topic at or after `start` (partition -> offset).

    Reads up to the end offsets of this moment; raises a `LabError` when they are not reached within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    ends = topics.end_offsets(connection, topic)
    # a start behind the end: the log was cut or made anew, and the event may be anywhere in it
    begin = {partition: at if (at := start.get(partition, 0)) <= end else 0 for partition, end in ends.items()}
    missing = {partition: end for partition, end in ends.items() if begin[partition] < end}
    found: set[str] = set()
    consumer = Consumer(
        {
            **librdkafka_settings(connection),
            "group.id": "read-back",  # librdkafka wants a name; nothing is joined or committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": False,
            "isolation.level": "read_uncommitted",
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, begin[partition]) for partition in missing])
        while missing:
            if time.monotonic() > deadline:
                raise LabError(f"topic {topic!r} was not read to its end in {timeout:g} s: {missing}", "Try again.")
            for message in consumer.consume(1000, 0.1):
                if message.error() is not None:
                    continue
                found |= {_event_id(message.value())} & wanted
            for place in consumer.position([TopicPartition(topic, partition) for partition in missing]):
                if place.offset >= missing[place.partition]:
                    del missing[place.partition]
    finally:
        consumer.close()
    return found


def _event_id(value: bytes | None) -> str:
    try:
        return str(json.loads(value or b"{}").get("event_id", ""))
    except (ValueError, AttributeError):
        return ""  # not one of the game's events
