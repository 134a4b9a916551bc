"""Topic to Arrow tables, one after another, for a topic that is larger than memory; pandas is not imported."""

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

_LEAST = 64 << 10  # bytes of the smallest answer
_COPIES = 12  # times that an answer's inflated bytes are in memory: answers ahead, their columns, work space


def read_batches(
    connection: Connection,
    topic: str,
    schema: Schema | None = None,
    *,
    memory: int = 64 << 20,
    on_rejected: Callable[[int, Decoded], None] | None = None,
    columns: Iterable[str] | None = None,
    decoder: str = "auto",
    **wanted: Any,
) -> Iterator[pa.Table]:
    """The rows of `read_topic` as Arrow tables, one after another, for a topic that is larger than memory.

    Everything in flight takes about `memory` bytes, unless a single record batch inflates to more than a twelfth of
    it: answers that inflate further than expected are decoded and handed out in pieces. Through the consumer (TLS,
    SASL) kafka-python's own buffers add up to 50 MB.

    Tables come in each partition's order, with the partition as first column; without a schema, later tables may have
    more or wider columns. `on_rejected(partition, decoded)` gets the rejects and tombstones as they come; without
    `on_rejected`, a reject raises a `LabError` and tombstones are skipped. A record batch that inflates to more than
    `batch_limit` bytes (256 MB) is a reject, or without `on_rejected` the error `BatchTooLarge`.
    """
    columns = None if columns is None else list(columns)
    answer = min(ANSWER_BYTES, max(memory // _COPIES, _LEAST))
    wanted.setdefault("oversized", "error" if on_rejected is None else "reject")
    with RecordSource(ReadRequest(connection, topic, **wanted)) as source:
        pipeline = Pipeline(Planner.of(schema, columns), select_decoder(decoder).decode, answer)
        for part in pipeline.parts(source.responses(source.ranges, answer, answer=answer, inflated=True)):
            _report_rejects(part, on_rejected)
            if part.decoded.table.num_rows:
                yield select_columns(with_partition(part.decoded.table, part.partition), part.plan, columns)
            del part  # not kept while the next one is decoded


def _report_rejects(part: Part, on_rejected: Callable[[int, Decoded], None] | None) -> None:
    if on_rejected is not None and (part.decoded.rejects or part.decoded.tombstones):
        on_rejected(part.partition, part.decoded)
    elif part.decoded.rejects:
        first = part.decoded.rejects[0]
        raise LabError(
            f"partition {first.partition}, offset {first.offset} is no row: {first.reason}",
            "Pass `on_rejected` to get such records and read on.",
        )
