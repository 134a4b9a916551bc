"""confluent-kafka, the C client, with consume(10000) and large fetches; ways: json, orjson, arrow."""

import measure  # first: it starts the clock

# isort: split
import json
import sys

import pandas as pd  # noqa: F401 - its import is part of this peer's
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

WAY = measure.Task(**json.loads(sys.argv[1])).way
if WAY == "orjson":
    import orjson
elif WAY == "arrow":
    import pyarrow.json  # noqa: F401

CONFIG = {
    "group.id": "bench",  # the client wants one; nothing is committed
    "enable.auto.commit": False,
    "fetch.max.bytes": 64 << 20,
    "max.partition.fetch.bytes": 16 << 20,
    "queued.max.messages.kbytes": 1 << 20,
    "queued.min.messages": 1_000_000,
    "fetch.wait.max.ms": 10,
}


def load(task: measure.Task) -> object:
    consumer = Consumer({"bootstrap.servers": task.bootstrap, **CONFIG})
    consumer.assign([TopicPartition(task.topic, p, OFFSET_BEGINNING) for p in range(task.partitions)])
    values: list[bytes] = []
    while len(values) < task.events:
        values.extend(message.value() for message in consumer.consume(10_000, 0.5))
    if task.way == "arrow":
        return measure.read_lines(b"\n".join(values)).to_pandas()
    loads = json.loads if task.way == "json" else orjson.loads
    return measure.frame_of([loads(value) for value in values])


measure.run(load)
