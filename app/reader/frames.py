"""The frames of a read: `TopicFrame`, of rows, rejects and tombstones; pandas is imported here alone."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from streaming_lab.client.metadata import Ranges
from streaming_lab.reader.advice import advise, advise_on_nesting
from streaming_lab.reader.causes import group_by_cause
from streaming_lab.reader.decode import infer
from streaming_lab.reader.decode.batches import Reject
from streaming_lab.reader.decode.headers import Headers
from streaming_lab.reader.decode.schema import TEXT, Plan
from streaming_lab.reader.pipeline import ResultBuilder, select_columns

FoundHeaders: TypeAlias = dict[tuple[int, int], Headers]  # (partition, offset) -> headers, where there are some

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
    """A topic's records as frames. len(events) + len(rejects) + len(tombstones) + aborted is the number of records in
    `ranges`, without control records and offsets that compaction left empty. `aborted` counts the records of aborted
    transactions that read_committed leaves out; the consumer does not report them, so there `aborted` is 0.

    `events`: partition (int32), offset (int64), timestamp (the broker's, datetime64[ms, UTC]), key (text; where a key
    is not UTF-8 the column holds objects, and that key its bytes), then the payload's columns: Int64, float64, boolean,
    str, datetime64[us, UTC], and objects for columns that hold any JSON. Sorted by partition and offset.
    `rejects`: partition, offset, reason, raw (the first 64 KiB of the value; the reason says when there is more).
    A batch that inflates beyond `batch_limit` is one reject at its first offset, without bytes.
    `tombstones`: partition, offset, key. `mixed`: column -> kind of JSON value -> count, where there are several kinds.
    `decoder` names the decoder (native, python or consumer) and the reason for it. `notes` are sentences about what the
    frames do not show, and the option that does: a partition that begins above offset 0, when the read began at the
    beginning; a topic of text; values that are nearly JSON; columns of objects.
    """

    events: pd.DataFrame
    rejects: pd.DataFrame
    tombstones: pd.DataFrame
    ranges: Ranges
    mixed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    aborted: int = 0
    decoder: str = "python"
    notes: tuple[str, ...] = ()

    def causes(self) -> pd.DataFrame:
        """The rejects in bulk: count, cause and hint of each cause, the most frequent first, and its first place."""
        return reject_causes(self.rejects)


def reject_causes(rejects: pd.DataFrame) -> pd.DataFrame:
    """A row for each cause of these rejects: count, cause, hint ("" where there is none), and its first place."""
    names = ["count", "cause", "hint", "partition", "offset"]
    places = rejects[["partition", "offset", "reason", "raw"]].itertuples(index=False, name=None)
    found = [[getattr(cause, name) for name in names] for cause in group_by_cause(places)]
    kinds = {"count": "int64", "cause": "str", "hint": "str", "partition": "int32", "offset": "int64"}
    return pd.DataFrame(found, columns=names).astype(kinds)


def build_frames(
    gathered: ResultBuilder,
    plan: Plan,
    ranges: Ranges,
    decoder: str,
    columns: Iterable[str] | None,
    notes: tuple[str, ...] = (),
    headers: FoundHeaders | None = None,
) -> TopicFrame:
    """The frames of a finished read; `gathered` is empty afterwards."""
    rows = gathered.table(plan)
    gathered.parts.clear()
    count = len(rows)
    places = (
        [] if headers is None else list(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))
    )
    table = select_columns(rows, plan, columns)
    del rows
    anything = [c.label for c in plan.columns if c.type == "json" and c.label in table.schema.names]
    counts = {name: infer.count_kinds(table[name]) for name in anything}
    advice = advise(gathered.rejects, count, plan.values)
    cells = dict(zip(table.schema.names, table.columns, strict=True))
    del table  # each column goes when it has become one of pandas
    frames = TopicFrame(
        pd.DataFrame({name: _series(name, cells.pop(name), name in anything) for name in list(cells)}, copy=False),
        _rejects(gathered.rejects),
        _tombstones(gathered.tombstones),
        ranges,
        {name: kinds for name, kinds in counts.items() if len(kinds.keys() - {"missing"}) > 1},
        gathered.aborted,
        decoder,
        (*notes, *advice, *advise_on_nesting({} if plan.flat else counts)),
    )
    if headers is not None:
        _put_headers(frames.events, places, headers)
        for frame in (frames.rejects, frames.tombstones):
            _put_headers(frame, zip(frame["partition"], frame["offset"], strict=True), headers)
    return frames


def _put_headers(frame: pd.DataFrame, places: Iterable[tuple[int, int]], found: FoundHeaders) -> None:
    """Add the column `headers`, or `record_headers` where the payload has one of that name; a place for each row."""
    cells = [found.get(place, []) for place in places]
    frame["record_headers" if "headers" in frame else "headers"] = pd.Series(cells, dtype=object, index=frame.index)


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
