"""Arrow tables to pandas: what a read returns."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from streaming_lab.client.topics import Ranges
from streaming_lab.stream import infer
from streaming_lab.stream.chunk import Reject
from streaming_lab.stream.gathered import Gathered, narrowed
from streaming_lab.stream.schema import TEXT, Plan

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
