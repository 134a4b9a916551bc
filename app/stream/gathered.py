"""What a read has found so far, as Arrow tables: parts in any plan, put together in the last one."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from streaming_lab.stream import infer
from streaming_lab.stream.chunk import Reject
from streaming_lab.stream.pipeline import Part
from streaming_lab.stream.schema import Plan, table_schema

RAW_KEPT = 64 << 10  # bytes of a reject's value that are kept


@dataclass
class Gathered:
    """Parts as they come, and what they add up to."""

    parts: list[Part] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    tombstones: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    aborted: int = 0

    def add(self, part: Part) -> None:
        """Take a part; the values of its rejects are cut to what is kept."""
        self.parts.append(part)
        self.rejects += [_cut(reject) for reject in part.decoded.rejects]
        self.tombstones += [(part.partition, *tombstone) for tombstone in part.decoded.tombstones]
        self.aborted += part.decoded.aborted

    def table(self, plan: Plan) -> pa.Table:
        """All rows in the final plan, by partition and offset, the partition in front."""
        tables = []
        for partition in sorted({part.partition for part in self.parts}):
            mine = [p for p in self.parts if p.partition == partition and p.decoded.table.num_rows]
            table = pa.concat_tables([infer.cast(p.decoded.table, p.plan, plan) for p in mine] or [_empty(plan)])
            tables.append(placed(table, partition))
        return pa.concat_tables(tables or [placed(_empty(plan), 0)])


def placed(table: pa.Table, partition: int) -> pa.Table:
    """A decoder's table with the partition in front."""
    return table.add_column(0, "partition", [pa.array(np.full(len(table), partition, np.int32))])


def narrowed(table: pa.Table, plan: Plan, columns: Iterable[str] | None) -> pa.Table:
    """Only the columns that were asked for: all but those that were only judged, when None."""
    hidden = {column.label for column in plan.columns if not column.shown}
    wanted = set(table.schema.names) if columns is None else set(columns)
    return table.select([name for name in table.schema.names if name in wanted - hidden])


def _empty(plan: Plan) -> pa.Table:
    return table_schema(plan).empty_table()


def _cut(reject: Reject) -> Reject:
    size = len(reject.raw)
    if size <= RAW_KEPT:
        return reject
    reason = f"{reject.reason} (the first {RAW_KEPT} of {size} bytes are kept)"
    return Reject(reject.partition, reject.offset, reason, reject.raw[:RAW_KEPT])
