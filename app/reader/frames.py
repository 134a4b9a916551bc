"""Topic to DataFrame: `read_topic` and its result `TopicFrame`; pandas is imported here alone.

A read takes a range of offsets per partition, by default from the beginning to the end at the start of the read. A read
needs no consumer group and commits nothing; it reads the whole range, or raises an error that names what is missing.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from streaming_lab.client.connection import Connection
from streaming_lab.client.topics import Ranges
from streaming_lab.reader.causes import group_by_cause
from streaming_lab.reader.decode import infer
from streaming_lab.reader.decode.batches import Reject
from streaming_lab.reader.decode.schema import TEXT, Plan, Schema
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource
from streaming_lab.reader.pipeline import Part, Pipeline, Planner, ResultBuilder, select_columns, select_decoder

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
    frames do not show: a partition that begins above offset 0, when the read began at the beginning.
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
) -> TopicFrame:
    """The frames of a finished read; `gathered` is empty afterwards."""
    table = gathered.table(plan)
    gathered.parts.clear()
    table = select_columns(table, plan, columns)
    anything = [c.label for c in plan.columns if c.type == "json" and c.label in table.schema.names]
    counts = {name: infer.count_kinds(table[name]) for name in anything}
    return TopicFrame(
        _events(table, set(anything)),
        _rejects(gathered.rejects),
        _tombstones(gathered.tombstones),
        ranges,
        {name: kinds for name, kinds in counts.items() if len(kinds.keys() - {"missing"}) > 1},
        gathered.aborted,
        decoder,
        notes,
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


_LIMITED = 256 << 10  # bytes of one fetch when only the first rows are wanted


def read_topic(
    connection: Connection,
    topic: str,
    schema: Schema | None = None,
    *,
    columns: Iterable[str] | None = None,
    limit: int | None = None,
    decoder: str = "auto",
    **wanted: Any,
) -> TopicFrame:
    """The topic's records as a `TopicFrame`: `events`, `rejects`, `tombstones` and the `ranges` that they cover.

    `schema` gives columns and types; without one they are inferred (see `infer`). `columns` narrows what is decoded:
    only these and the required ones are judged. `limit` ends the read, and its ranges, at that many events, partition
    by partition. `ranges` (partition -> [start, end)) says what to read, or `start` and `end`: an offset, one per
    partition, or an aware datetime. `isolation` is read_uncommitted or read_committed, `timeout` the seconds for all of
    it (60). `decoder` is auto, native or python. A record batch that inflates to more than `batch_limit` bytes (256 MB)
    is the error `BatchTooLarge`, or with oversized="reject" one reject for the whole batch.

    Raises `UnknownTopic`, `BrokerUnavailable`, `AccessDenied`, `ReadTimeout`, `OffsetOutOfRange` or `CorruptBatch`,
    each with what is missing.
    """
    columns = None if columns is None else list(columns)
    chosen = select_decoder(decoder)
    with RecordSource(ReadRequest(connection, topic, **wanted)) as source:
        pipeline = Pipeline(Planner.of(schema, columns), chosen.decode)
        gathered, ranges = ResultBuilder(), source.ranges
        if limit is None:
            for part in pipeline.parts(source.responses(ranges, answer=chosen.answer)):
                gathered.add(part)
        else:
            ranges = _LimitedRead(source, pipeline, gathered, limit).read()
        return build_frames(
            gathered, pipeline.planner.plan, ranges, source.decoder or chosen.name, columns, source.notes
        )


@dataclass
class _LimitedRead:
    """A read that ends with the last of the `missing` events."""

    source: RecordSource
    pipeline: Pipeline
    gathered: ResultBuilder
    missing: int

    def read(self) -> Ranges:
        """Read one partition after another; the ranges that were covered."""
        covered = {}
        for partition, (start, end) in self.source.ranges.items():
            at = max(start, min(end, start + self.missing))  # far enough where every offset is an event
            self._all(partition, start, at)
            covered[partition] = start, self._further(partition, at, end) if self.missing > 0 else at
        return covered

    def _further(self, partition: int, at: int, end: int) -> int:
        """Search on for the last missing event; the offset behind that event, or `end` if there are too few."""
        responses = self.source.responses({partition: (at, end)}, answer=_LIMITED)
        with closing(responses), closing(self.pipeline.parts(responses)) as parts:
            for part in parts:
                if part.decoded.table.num_rows >= self.missing:
                    end = part.decoded.table["offset"][self.missing - 1].as_py() + 1
                    break
                self._add(part)
                at = part.decoded.next_offset
            else:
                return end
        self._all(partition, at, end)  # that chunk once more, without the records behind the last event
        return end

    def _all(self, partition: int, start: int, end: int) -> None:
        for part in self.pipeline.parts(self.source.responses({partition: (start, end)}, answer=_LIMITED)):
            self._add(part)

    def _add(self, part: Part) -> None:
        self.gathered.add(part)
        self.missing -= part.decoded.table.num_rows
