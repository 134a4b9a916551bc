"""streaming_lab.reader.arrow.read_batches: the same rows as Arrow tables, one after another, none of them kept."""

import measure  # first: it starts the clock

# isort: split
from streaming_lab.reader import read_batches
from streaming_lab.reader.decode.schema import Schema

SCHEMA = Schema(dict.fromkeys(measure.ROW, "string") | {"at": "timestamp", "price": "float64", "quantity": "int64"})


def load(task: measure.Task) -> None:
    connection = {"bootstrap_servers": task.bootstrap.split(",")}
    rows = sum(table.num_rows for table in read_batches(connection, task.topic, SCHEMA, timeout=600.0))
    assert rows == task.events


measure.run(load)
