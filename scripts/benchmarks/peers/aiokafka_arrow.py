"""aiokafka with getmany() and large fetches, all values to pyarrow's JSON reader at once."""

import measure  # first: it starts the clock

# isort: split
import asyncio

import pandas as pd  # noqa: F401 - its import is part of this peer's
import pyarrow.json  # noqa: F401
from aiokafka import AIOKafkaConsumer, TopicPartition


async def values_of(task: measure.Task) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=task.bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=16 << 20,
        fetch_max_bytes=32 << 20,
    )
    await consumer.start()
    partitions = [TopicPartition(task.topic, partition) for partition in range(task.partitions)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    values: list[bytes] = []
    while len(values) < task.events:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            values.extend(record.value for record in records)
    await consumer.stop()
    return values


def load(task: measure.Task) -> object:
    return measure.read_lines(b"\n".join(asyncio.run(values_of(task)))).to_pandas()


measure.run(load)
