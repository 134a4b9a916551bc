"""kafkarrow: librdkafka's records as Arrow batches; their values to pyarrow's JSON reader at once."""

import measure  # first: it starts the clock

# isort: split
import pandas as pd  # noqa: F401 - its import is part of this peer's
import pyarrow as pa
import pyarrow.json
from kafkarrow import ConsumerManager, SourceTopic


def load(task: measure.Task) -> object:
    manager = ConsumerManager(
        config={"bootstrap.servers": task.bootstrap, "group.id": "bench"},
        topics=[SourceTopic.from_earliest(task.topic)],
        batch_size=200_000,
    )
    batches, rows = [], 0
    while rows < task.events:
        batch = manager.poll(timeout_ms=1000)
        rows += batch.num_rows
        if batch.num_rows:
            batches.append(batch.column("value"))
    return measure.read_lines(b"\n".join(pa.chunked_array(batches).to_pylist())).to_pandas()


measure.run(load)
