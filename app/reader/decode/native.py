"""The optional native core: `python.decode_chunk` with the hot loop in C, and the same result.

`_columns.c` reads plain rows. Odd rows go through `rows.patch_rows` as in the pure-Python decoder, compressed batches
through `batches.inflate`, chunks with aborted batches through `batches.scan_batches`. A chunk that is damaged or too
large for the memory goes to the pure-Python decoder, which raises the error.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pyarrow as pa

from streaming_lab.reader.decode import python
from streaming_lab.reader.decode.batches import Chunk, Decoded, inflate, scan_batches
from streaming_lab.reader.decode.rows import patch_rows
from streaming_lab.reader.decode.schema import Plan, table_schema

if TYPE_CHECKING:
    from streaming_lab.reader.decode._columns import Columns, Field, Filled, Memory

CORE_SOURCE = Path(__file__).with_name("_columns.c")

_KINDS = {"string": 0, "int64": 1, "float64": 2, "bool": 3, "timestamp": 4, "json": 5, "null": 6, "int53": 7}


class Absent(Exception):
    """The native core cannot be used; the message says why."""


def core_status() -> str:
    """The decoder in use as text: "native core built from 1a2b3c4d" or "pure Python: <reason>"."""
    return f"pure Python: {_reason}" if _core is None else f"native core built from {_core.SOURCE_SHA256[:8]}"


def core_available() -> bool:
    """Can `decode_chunk_native` be used here?"""
    return _core is not None


def load_core() -> ModuleType:
    """The built module, built from exactly the source beside it; raises `Absent` with the reason."""
    try:
        core = import_module("streaming_lab.reader.decode._columns")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        raise Absent(
            "the native core is not built here" if missing else f"the native core does not load ({error})"
        ) from error
    try:
        source = hashlib.sha256(CORE_SOURCE.read_bytes()).hexdigest()
    except OSError:
        raise Absent("the native core's source is missing") from None
    if source != core.SOURCE_SHA256:
        raise Absent(f"the native core is stale (built from {core.SOURCE_SHA256[:8]}, the source is {source[:8]})")
    return core


def decode_chunk_native(plan: Plan, chunk: Chunk) -> Decoded:
    """The result and the errors of `python.decode_chunk`, faster. Raises `Absent` if there is no native core."""
    if _core is None:
        raise Absent(_reason)
    try:
        read = _read(_core, plan, chunk)
    except MemoryError:  # the core keeps room for every column at once
        read = None
    return python.decode_chunk(plan, chunk) if read is None else _decoded(plan, chunk, *read)


def _read(core: ModuleType, plan: Plan, chunk: Chunk) -> "tuple[Columns, int, int] | None":
    """The filled columns, the next offset and the number of aborted records; None for a damaged chunk."""
    columns: Columns = core.Columns(_fields(plan), plan.all_keys, plan.inferred)
    transactions = chunk.committed and bool(chunk.aborted)
    outcome, next_offset = columns.read_batches(chunk.data, chunk.start, chunk.end, transactions, inflate)
    aborted = 0
    if outcome == core.HAND_OVER:
        columns = core.Columns(_fields(plan), plan.all_keys, plan.inferred)
        outcome, next_offset, aborted = _read_opened(columns, chunk)
    return (columns, next_offset, aborted) if outcome == core.END else None


def _read_opened(columns: "Columns", chunk: Chunk) -> tuple[int, int, int]:
    """Read the batches that `scan_batches` selects: outcome, next offset, number of aborted records."""
    opened = scan_batches(chunk)
    outcome = 0
    for segment in (each.inflated() for each in opened.segments):
        appended = segment.append_time is not None
        time = segment.append_time if segment.append_time is not None else segment.base_timestamp
        records = segment.data[segment.start : segment.stop]
        outcome = columns.read_records(
            records, segment.base_offset, segment.records, time, appended, chunk.start, chunk.end
        )
        if outcome:
            break
    return outcome, opened.next_offset, opened.aborted


def _decoded(plan: Plan, chunk: Chunk, columns: "Columns", next_offset: int, aborted: int) -> Decoded:
    """The finished columns as a table, its odd rows patched."""
    rows, offsets, timestamps, key, filled, odd, tombstones = columns.finish()
    schema = table_schema(plan)
    if rows == 0:
        return Decoded(schema.empty_table(), next_offset, [], tombstones, [], aborted)
    arrays = [
        pa.Array.from_buffers(schema.field(0).type, rows, [None, pa.py_buffer(offsets)], 0),
        pa.Array.from_buffers(schema.field(1).type, rows, [None, pa.py_buffer(timestamps)], 0),
        _array(schema.field(2).type, rows, key),
        *(_array(field.type, rows, column) for field, column in zip(plan.payload, filled, strict=True)),
    ]
    table = pa.Table.from_arrays(arrays, schema=schema)
    if not odd:
        return Decoded(table, next_offset, [], tombstones, [], aborted)
    patched = patch_rows(plan, chunk.partition, table, [row for row, _ in odd], [value for _, value in odd])
    return Decoded(patched.table, next_offset, patched.rejects, tombstones, patched.strays, aborted)


def _array(kind: pa.DataType, rows: int, filled: "Filled") -> pa.Array:
    """One Arrow array over the core's buffers; text is copied only if the plan wants 32-bit offsets."""
    nulls, validity, offsets, values = filled
    if nulls == rows:
        return pa.nulls(rows, kind)
    buffers = _buffers(validity, values) if offsets is None else _buffers(validity, offsets, values)
    if offsets is None:
        return pa.Array.from_buffers(kind, rows, buffers, nulls)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    text = pa.Array.from_buffers(pa.large_binary() if binary else pa.large_string(), rows, buffers, nulls)
    return text if text.type == kind else text.cast(kind)


def _buffers(*memories: "Memory | None") -> Sequence[pa.Buffer | None]:
    return [None if memory is None else pa.py_buffer(memory) for memory in memories]


@lru_cache(maxsize=8)
def _fields(plan: Plan) -> "tuple[Field, ...]":
    """The plan's columns in the core's form."""
    return tuple(
        (
            column.name.encode(),
            _KINDS[column.type],
            column.required,
            None if column.one_of is None else tuple(sorted(value.encode() for value in column.one_of)),
        )
        for column in plan.columns
    )


_core: ModuleType | None
_reason: str
try:
    _core, _reason = load_core(), ""
except Absent as absent:
    _core, _reason = None, str(absent)
