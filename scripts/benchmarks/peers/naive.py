"""The loop that everybody writes first: for message in KafkaConsumer, json.loads, pd.DataFrame."""

import measure  # first: it starts the clock

# isort: split
import json

import pandas as pd  # noqa: F401 - its import is part of this peer's
from kafka import KafkaConsumer, TopicPartition


def load(task: measure.Task) -> object:
    consumer = KafkaConsumer(
        bootstrap_servers=task.bootstrap, group_id=None, auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer.assign([TopicPartition(task.topic, partition) for partition in range(task.partitions)])
    consumer.seek_to_beginning()
    rows = []
    for message in consumer:
        rows.append(json.loads(message.value))
        if len(rows) >= task.events:
            break
    frame = measure.frame_of(rows)
    consumer.close()
    return frame


measure.run(load)
