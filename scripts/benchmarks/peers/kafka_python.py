"""kafka-python with poll() and large fetches, all values to pyarrow's JSON reader at once."""

import measure  # first: it starts the clock

# isort: split
import pandas as pd  # noqa: F401 - its import is part of this peer's
import pyarrow.json  # noqa: F401
from kafka import KafkaConsumer, TopicPartition


def load(task: measure.Task) -> object:
    consumer = KafkaConsumer(
        bootstrap_servers=task.bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=16 << 20,
        fetch_max_bytes=32 << 20,
    )
    consumer.assign([TopicPartition(task.topic, partition) for partition in range(task.partitions)])
    consumer.seek_to_beginning()
    values: list[bytes] = []
    while len(values) < task.events:
        for records in consumer.poll(1000).values():
            values.extend(record.value for record in records)
    frame = measure.read_lines(b"\n".join(values)).to_pandas()
    consumer.close()
    return frame


measure.run(load)
