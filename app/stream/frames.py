"""Arrow tables to pandas: what a read returns."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from app.stream import infer
from app.stream.chunk import Reject
from app.stream.pipeline import Part
from app.stream.schema import TEXT, Plan, table_schema
from app.stream.topics import Ranges

RAW_KEPT = 64 << 10  # bytes of a reject's value that are kept

# Missing integers and booleans stay what they are; text is backed by Arrow: quick, and without a copy.
_PANDAS: Mapping[pa.DataType, Any] = {
    pa.timestamp("ms", "UTC"): pd.DatetimeTZDtype("ms", "UTC"),
    pa.timestamp("us", "UTC"): pd.DatetimeTZDtype("us", "UTC"),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    TEXT: pd.StringDtype("pyarrow", na_value=np.nan),
    pa.null(): pd.StringDtype("pyarrow", na_value=np.nan),
}


@dataclass(frozen=True)
class TopicFrame:
    """A topic's records as frames. len(events) + len(rejects) + len(tombstones) + aborted is all that `ranges` hold,
    but for control records and offsets that compaction left empty. `aborted` counts the records of aborted transactions
    that read_committed leaves out; through the consumer, which tells of none, it is 0, and they are missing as well.

    `events`: partition (int32), offset (int64), timestamp (the broker's, datetime64[ms, UTC]), key (text; where a key
    is not UTF-8 the column holds objects, and that key its bytes), then the payload's columns: Int64, float64, boolean,
    str, datetime64[us, UTC], and objects for columns that hold any JSON. Sorted by partition and offset.
    `rejects`: partition, offset, reason, raw (the first 64 KiB of the value; the reason says when there is more).
    `tombstones`: partition, offset, key. `mixed`: column -> kind of JSON value -> count, where there are several kinds.
    `decoder` says how the bytes came: native, python or consumer, and why.
    """

    events: pd.DataFrame
    rejects: pd.DataFrame
    tombstones: pd.DataFrame
    ranges: Ranges
    mixed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    aborted: int = 0
    decoder: str = "python"


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


def build(gathered: Gathered, plan: Plan, ranges: Ranges, decoder: str, columns: Iterable[str] | None) -> TopicFrame:
    """The frames; `gathered` is used up."""
    table = gathered.table(plan)
    gathered.parts.clear()
    table = narrowed(table, plan, columns)
    anything = [c.label for c in plan.columns if c.type == "json" and c.label in table.schema.names]
    counts = {name: infer.mixed(table[name]) for name in anything}
    return TopicFrame(
        _events(table, set(anything)),
        _rejects(gathered.rejects),
        _tombstones(gathered.tombstones),
        ranges,
        {name: kinds for name, kinds in counts.items() if len(kinds.keys() - {"missing"}) > 1},
        gathered.aborted,
        decoder,
    )


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


def _events(table: pa.Table, anything: set[str]) -> pd.DataFrame:
    return pd.DataFrame({name: _series(name, table[name], name in anything) for name in table.schema.names}, copy=False)


def _series(name: str, cells: pa.ChunkedArray, anything: bool) -> Any:
    if name in ("partition", "offset"):
        return pd.Series(cells.to_numpy(), copy=False)
    if name == "key":
        return _keys(cells)
    if anything:
        return pd.Series([None if cell is None else json.loads(cell) for cell in cells.to_pylist()], dtype=object)
    dtype = _PANDAS.get(cells.type)
    return cells.to_pandas() if dtype is None else pd.Series(dtype.__from_arrow__(cells), copy=False)


def _keys(cells: pa.ChunkedArray) -> pd.Series:
    try:
        return pd.Series(_PANDAS[TEXT].__from_arrow__(cells.cast(TEXT)), copy=False)
    except pa.ArrowInvalid:
        return pd.Series([_text(key) for key in cells.to_pylist()], dtype=object)


def _text(key: bytes | None) -> str | bytes | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return key


def _cut(reject: Reject) -> Reject:
    size = len(reject.raw)
    if size <= RAW_KEPT:
        return reject
    reason = f"{reject.reason} (the first {RAW_KEPT} of {size} bytes are kept)"
    return Reject(reject.partition, reject.offset, reason, reject.raw[:RAW_KEPT])


def _rejects(found: list[Reject]) -> pd.DataFrame:
    found.sort(key=lambda reject: (reject.partition, reject.offset))
    return pd.DataFrame(
        {
            "partition": np.array([reject.partition for reject in found], np.int32),
            "offset": np.array([reject.offset for reject in found], np.int64),
            "reason": pd.Series([reject.reason for reject in found], dtype="str"),
            "raw": pd.Series([reject.raw for reject in found], dtype=object),
        }
    )


def _tombstones(found: list[tuple[int, int, bytes | None]]) -> pd.DataFrame:
    found.sort(key=lambda tombstone: tombstone[:2])
    return pd.DataFrame(
        {
            "partition": np.array([partition for partition, _, _ in found], np.int32),
            "offset": np.array([offset for _, offset, _ in found], np.int64),
            "key": _keys(pa.chunked_array([[key for _, _, key in found]], pa.binary())),
        }
    )
