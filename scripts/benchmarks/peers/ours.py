"""streaming_lab.reader.frames.read_topic; ways: native, python."""

import measure  # first: it starts the clock

# isort: split
from streaming_lab.reader import read_topic
from streaming_lab.reader.decode.schema import Schema

SCHEMA = Schema(dict.fromkeys(measure.ROW, "string") | {"at": "timestamp", "price": "float64", "quantity": "int64"})


def load(task: measure.Task) -> object:
    connection = {"bootstrap_servers": task.bootstrap.split(",")}
    read = read_topic(connection, task.topic, SCHEMA, decoder=task.way, timeout=600.0)
    assert read.rejects.empty
    assert read.tombstones.empty
    return read.events


measure.run(load)
