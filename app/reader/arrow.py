"""Topic to Arrow tables, one after another, for a topic that is larger than memory. It needs no pandas."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from streaming_lab.client.connection import Connection
from streaming_lab.errors import LabError
from streaming_lab.reader.decode.batches import Decoded
from streaming_lab.reader.decode.schema import Schema
from streaming_lab.reader.fetch.fetcher import ANSWER_BYTES
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource
from streaming_lab.reader.pipeline import Part, Pipeline, Planner, select_columns, select_decoder, with_partition

_LEAST = 64 << 10  # bytes at once, however little memory there may be
_COPIES = 12  # an answer's inflated bytes are about that often in memory: answers ahead, their columns, work space


def read_batches(
    connection: Connection,
    topic: str,
    schema: Schema | None = None,
    *,
    memory: int = 64 << 20,
    aside: Callable[[int, Decoded], None] | None = None,
    columns: Iterable[str] | None = None,
    decoder: str = "auto",
    **wanted: Any,
) -> Iterator[pa.Table]:
    """The rows of `read_topic` as Arrow tables, one after another, for a topic that is larger than memory.

    All that is in flight at a time takes about `memory` bytes, unless a single record batch is larger. How far a codec
    inflates is learned from the answers that come, so one takes more that inflates much further than those before it,
    or the first one by more than 50. Through the consumer (TLS, SASL) kafka-python's own buffers come on top: up to
    50 MB as the brokers have them.

    Tables come in each partition's order, with the partition in front; without a schema, later ones may have more or
    wider columns.
    `aside(partition, decoded)` gets the rejects and tombstones as they come; without it, a reject raises a `LabError`
    and tombstones are passed over in silence.
    """
    columns = None if columns is None else list(columns)
    answer = min(ANSWER_BYTES, max(memory // _COPIES, _LEAST))
    with RecordSource(ReadRequest(connection, topic, **wanted)) as reading:
        pipeline = Pipeline(Planner.of(schema, columns), select_decoder(decoder).decode)
        for part in pipeline.parts(reading.responses(reading.ranges, answer=answer, inflated=True)):
            _pass_rejects_on(part, aside)
            if part.decoded.table.num_rows:
                yield select_columns(with_partition(part.decoded.table, part.partition), part.plan, columns)


def _pass_rejects_on(part: Part, aside: Callable[[int, Decoded], None] | None) -> None:
    if aside is not None and (part.decoded.rejects or part.decoded.tombstones):
        aside(part.partition, part.decoded)
    elif part.decoded.rejects:
        first = part.decoded.rejects[0]
        raise LabError(
            f"partition {first.partition}, offset {first.offset} is no row: {first.reason}",
            "Pass `aside` to get such records and read on.",
        )
