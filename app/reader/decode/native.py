"""The optional native core: `python.decode_chunk` with the hot loop in C, and the same result.

`_columns.c` reads plain rows. Odd rows go through `rows.patch_rows` as in the pure-Python decoder, compressed batches
through `codecs.inflate`, chunks with aborted batches through `records.inflate_pieces`. A chunk that is damaged or too
large for the memory goes to the pure-Python decoder, which raises the error.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pyarrow as pa

from streaming_lab.reader.decode import python
from streaming_lab.reader.decode.batches import Chunk, Decoded, Reject
from streaming_lab.reader.decode.codecs import inflate
from streaming_lab.reader.decode.records import inflate_pieces
from streaming_lab.reader.decode.rows import patch_rows
from streaming_lab.reader.decode.schema import Plan, table_schema

if TYPE_CHECKING:
    from streaming_lab.reader.decode._columns import Columns, Field, Filled, Memory

_NAME = "streaming_lab.reader.decode._columns"
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
    _check_hash(find_spec(_NAME))
    try:
        core = import_module(_NAME)
    except ImportError as error:
        raise Absent(f"the native core does not load ({error})") from error
    try:
        source = hashlib.sha256(CORE_SOURCE.read_bytes()).hexdigest()
    except OSError:
        raise Absent("the native core's source is missing") from None
    if source != core.SOURCE_SHA256:
        raise Absent(f"the native core is stale (built from {core.SOURCE_SHA256[:8]}, the source is {source[:8]})")
    return core


def _check_hash(found: ModuleSpec | None) -> None:
    """Raise `Absent` unless the built file has the hash that its build wrote beside it: loading it runs its code.

    Finding, reading and hashing the file (200 kB) takes 0.14 ms.
    """
    if found is None or found.origin is None:
        raise Absent("the native core is not built here")
    try:
        wanted = Path(f"{found.origin}.sha256").read_text().strip()
        built = hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()
    except OSError as error:
        raise Absent(f"the native core has no hash beside it ({error.strerror}): install the project again") from None
    if built != wanted:
        raise Absent(f"the native core was changed after it was built (it is {built[:8]}, the build was {wanted[:8]})")


def decode_chunk_native(plan: Plan, chunk: Chunk) -> Decoded:
    """The result and the errors of `python.decode_chunk`, faster. Raises `Absent` if there is no native core."""
    (found,) = decode_pieces_native(plan, replace(chunk, bounds=replace(chunk.bounds, piece=None)))
    return found


def decode_pieces_native(plan: Plan, chunk: Chunk) -> Iterator[Decoded]:
    """The results of `python.decode_pieces`, faster. Raises `Absent` if there is no native core."""
    if _core is None:
        raise Absent(_reason)
    reached = chunk.start
    try:
        for filled in _read(_core, plan, chunk):
            yield _decoded(plan, chunk, filled)
            reached = filled.next_offset
        return
    except (_Damaged, MemoryError):  # the core keeps room for every column at once
        pass
    yield from python.decode_pieces(plan, replace(chunk, start=reached))


class _Damaged(Exception):
    """The core found something wrong with a chunk; the Python decoder names it."""


@dataclass
class _Piece:
    """The core's columns with one piece of a chunk."""

    columns: "Columns"
    next_offset: int
    aborted: int = 0
    rejects: list[Reject] = field(default_factory=list)


def _read(core: ModuleType, plan: Plan, chunk: Chunk) -> Iterator[_Piece]:
    """The chunk's pieces; a chunk with aborted transactions is first sorted out in Python."""
    transactions, data, outcome = chunk.committed and bool(chunk.aborted), chunk.data, core.PAUSED
    while outcome == core.PAUSED:
        columns: Columns = core.Columns(_fields(plan), plan.all_keys, plan.inferred)
        inflater = _inflater(chunk)
        outcome, next_offset, size = columns.read_batches(data, chunk.start, chunk.end, transactions, inflater)
        if outcome == core.HAND_OVER:
            yield from _read_opened(core, plan, replace(chunk, data=data))
        elif outcome in (core.END, core.PAUSED):
            yield _Piece(columns, next_offset)
        else:
            raise _Damaged
        data = data[size:]


def _inflater(chunk: Chunk) -> Callable[[int, memoryview], memoryview | None]:
    """`inflate` within the chunk's bounds; None once the piece is full."""
    left = chunk.bounds.piece

    def bounded(codec: int, data: memoryview) -> memoryview | None:
        nonlocal left
        if left is not None and left <= 0:
            return None
        found = inflate(codec, data, chunk.bounds.batch)
        left = None if left is None else left - len(found)
        return found

    return bounded


def _read_opened(core: ModuleType, plan: Plan, chunk: Chunk) -> Iterator[_Piece]:
    """The pieces of a chunk whose batches `inflate_pieces` selects and opens one by one."""
    filled, size = _Piece(core.Columns(_fields(plan), plan.all_keys, plan.inferred), chunk.start), 0
    for opened in inflate_pieces(replace(chunk, bounds=replace(chunk.bounds, piece=1))):
        for segment in opened.segments:
            appended = segment.append_time is not None
            time = segment.append_time if segment.append_time is not None else segment.base_timestamp
            records = segment.data[segment.start : segment.stop]
            size += len(records)
            place = segment.base_offset, segment.records, time, appended, chunk.start, chunk.end
            if filled.columns.read_records(records, *place) != core.END:
                raise _Damaged
        filled.aborted, filled.next_offset = opened.aborted, opened.next_offset
        filled.rejects += opened.rejects
        if chunk.bounds.piece is not None and size >= chunk.bounds.piece:
            yield filled
            filled, size = _Piece(core.Columns(_fields(plan), plan.all_keys, plan.inferred), opened.next_offset), 0
    yield filled


def _decoded(plan: Plan, chunk: Chunk, piece: _Piece) -> Decoded:
    """The finished columns as a table, its odd rows patched."""
    rows, offsets, timestamps, key, filled, odd, tombstones = piece.columns.finish()
    schema, next_offset, aborted = table_schema(plan), piece.next_offset, piece.aborted
    if rows == 0:
        return Decoded(schema.empty_table(), next_offset, piece.rejects, tombstones, [], aborted)
    arrays = [
        pa.Array.from_buffers(schema.field(0).type, rows, [None, pa.py_buffer(offsets)], 0),
        pa.Array.from_buffers(schema.field(1).type, rows, [None, pa.py_buffer(timestamps)], 0),
        _array(schema.field(2).type, rows, key),
        *(_array(kind.type, rows, column) for kind, column in zip(plan.payload, filled, strict=True)),
    ]
    table = pa.Table.from_arrays(arrays, schema=schema)
    if not odd:
        return Decoded(table, next_offset, piece.rejects, tombstones, [], aborted)
    patched = patch_rows(plan, chunk.partition, table, [row for row, _ in odd], [value for _, value in odd])
    rejects = [*piece.rejects, *patched.rejects]
    return Decoded(patched.table, next_offset, rejects, tombstones, patched.strays, aborted)


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
