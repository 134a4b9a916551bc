"""Record batches to Arrow columns in pure Python: the decoder that works everywhere.

Values stay in place; the bytes between them are blanked, and pyarrow's JSON parser gets the whole chunk at once
(without Python's lock, so chunks can be decoded in threads). pyarrow and json.loads differ in what they take for JSON:
rows where they differ are found here and read by `rows.parse_row`, so that a row has one meaning everywhere.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from streaming_lab.reader.decode.batches import Chunk, Decoded
from streaming_lab.reader.decode.records import Flags, IndexedRecords, Ints, RecordIndex, index_pieces, index_records
from streaming_lab.reader.decode.rows import patch_rows, rows_to_recheck
from streaming_lab.reader.decode.schema import TEXT, Plan, table_schema
from streaming_lab.reader.decode.values import DEEPEST_NESTING

_FEW = 16  # rows that are not worth another try of pyarrow
_TRIES = 256  # failed tries per chunk; after them, the rest is read row by row
_WIDE = 64  # bytes; a gap from here on is blanked by itself
_SPACE, _NEWLINE = 0x20, 0x0A
_NO_COLUMN = pa.schema([("", pa.null())])  # pyarrow needs one to count rows
_NONE: Ints = np.empty(0, np.int64)


def decode_chunk(plan: Plan, chunk: Chunk) -> Decoded:
    """The rows of a whole chunk as columns, and the records that are no rows. Raises `CorruptBatch` and `OldFormat`."""
    return _decode(plan, chunk.partition, index_records(chunk))


def decode_pieces(plan: Plan, chunk: Chunk) -> Iterator[Decoded]:
    """`decode_chunk` in pieces of about `chunk.bounds.piece` decompressed bytes, one after another."""
    for indexed in index_pieces(chunk):
        yield _decode(plan, chunk.partition, indexed)


def _decode(plan: Plan, partition: int, indexed: IndexedRecords) -> Decoded:
    decoded = decode_records(plan, partition, indexed.records, indexed.next_offset, indexed.aborted)
    return replace(decoded, rejects=[*indexed.rejects, *decoded.rejects]) if indexed.rejects else decoded


def decode_records(plan: Plan, partition: int, records: RecordIndex, next_offset: int, aborted: int = 0) -> Decoded:
    """`decode_chunk` for records that are indexed already."""
    dead = records.where(records.lengths < 0)
    tombstones = list(zip(dead.offsets.tolist(), dead.keys().to_pylist(), strict=True))
    records = records.where(records.lengths >= 0)
    if plan.values == "text":
        lines = [value.decode(errors="backslashreplace") for value in records.values(len(records))]
        columns = [*records.meta(), pa.array(lines, TEXT)]
        table = pa.Table.from_arrays(columns, schema=table_schema(plan))
        return Decoded(table, next_offset, [], tombstones, [], aborted)
    payload, odd = _payload(plan, records)
    table = pa.Table.from_arrays([*records.meta(), *payload.columns], schema=table_schema(plan))
    if not len(odd):
        return Decoded(table, next_offset, [], tombstones, [], aborted)
    rows = odd.tolist()
    patched = patch_rows(plan, partition, table, rows, [records.value(row) for row in rows])
    return Decoded(patched.table, next_offset, patched.rejects, tombstones, patched.strays, aborted)


def _payload(plan: Plan, records: RecordIndex) -> tuple[pa.Table, Ints]:
    """The payload's columns with a row per record, and the rows in them that have yet to be read one by one."""
    taken, tables, places = np.zeros(len(records), np.bool_), [], [_NONE]
    for rows, table in _parsed(plan, records):
        taken[rows] = True
        taken[rows[rows_to_recheck(plan, table)]] = False
        tables.append(table.select(plan.payload.names))
        places.append(rows)
    whole = pa.concat_tables(tables) if tables else plan.payload.empty_table()
    if plan.columns and len(whole) < len(records):
        place = np.full(len(records), -1)
        place[np.concatenate(places)] = np.arange(len(whole))
        whole = whole.take(pa.array(place, mask=place < 0))
    return whole, np.flatnonzero(~taken)


def _looks_plain(records: RecordIndex) -> Flags:
    """The values that begin and end like an object, so that no value runs into its neighbours.

    pyarrow crashes on a bare `null` and drops a byte order mark; such values never reach pyarrow.
    """
    view = np.frombuffer(records.data, np.uint8)
    plain: Flags = records.lengths >= 2
    starts, stops = np.where(plain, records.starts, 0), np.where(plain, records.starts + records.lengths - 1, 0)
    return plain & (view[starts] == ord("{")) & (view[stops] == ord("}")) if len(view) else plain


def _parsed(plan: Plan, records: RecordIndex) -> Iterator[tuple[Ints, pa.Table]]:
    """(rows, their columns) for the runs of rows that pyarrow and json.loads understand alike."""
    rows = np.flatnonzero(_looks_plain(records)) if not plan.has_json and not plan.flat else _NONE
    if not len(rows):
        return
    text, starts, stops = _blanked(records, rows)
    if barred := _not_utf8(text, starts, stops):
        rows = np.delete(rows, barred)
        text, starts, stops = _blanked(records, rows)
    table = _read(plan, text, len(rows), "error")
    if table is not None:
        yield rows, table
    elif plan.all_keys:
        yield from _runs(plan, rows, text, starts, stops, "error")
    else:
        rows = np.delete(rows, [*_constants(text, starts), *_nested(text, starts, stops)])
        yield from _runs(plan, rows, *_blanked(records, rows), "ignore")


def _runs(
    plan: Plan, rows: Ints, text: bytearray, starts: Ints, stops: Ints, others: str
) -> Iterator[tuple[Ints, pa.Table]]:
    """Halve runs that do not parse until few rows remain; stop after `_TRIES` failures."""
    tries, runs = _TRIES, [(0, len(rows))]
    while runs and tries:
        low, high = runs.pop()
        table = _read(plan, text[starts[low] : stops[high - 1] + 1], high - low, others) if low < high else None
        if table is not None:
            yield rows[low:high], table
        elif high - low > _FEW:
            tries -= 1
            middle = (low + high) // 2
            runs += [(middle, high), (low, middle)]


def _blanked(records: RecordIndex, rows: Ints) -> tuple[bytearray, Ints, Ints]:
    """The chunk's bytes with spaces and a newline between the values of these rows; the values' starts and stops."""
    starts = records.starts[rows]
    stops = starts + records.lengths[rows]
    if not len(rows):
        return bytearray(), starts, stops
    text = bytearray(records.data)
    view = np.frombuffer(text, np.uint8)
    view[: starts[0]] = _SPACE
    view[stops[-1] :] = _SPACE
    lengths = starts[1:] - stops[:-1]
    for gap in np.flatnonzero(lengths >= _WIDE).tolist():
        view[stops[gap] : starts[gap + 1]] = _SPACE
    narrow = np.where(lengths < _WIDE, lengths, 0)
    before = np.cumsum(narrow) - narrow
    view[np.repeat(stops[:-1] - before, narrow) + np.arange(narrow.sum())] = _SPACE
    view[stops] = _NEWLINE
    return text, starts, stops


def _not_utf8(text: bytearray, starts: Ints, stops: Ints) -> list[int]:
    """The rows with bytes that are not UTF-8, which pyarrow would take for text."""
    if text.isascii() or _is_utf8(text, 0, len(text)):
        return []
    spans = zip(starts.tolist(), stops.tolist(), strict=True)
    return [row for row, (start, stop) in enumerate(spans) if not _is_utf8(text, start, stop)]


def _constants(text: bytearray, starts: Ints) -> list[int]:
    """The rows where NaN, Inf or Infinity may stand as a value; a false alarm costs only speed.

    pyarrow takes them for JSON, also in keys outside the plan; in a column of the plan they are found as not finite.
    """
    found = set()
    for word in (b"NaN", b"Infinity", b"Inf"):
        at = text.find(word)
        while at >= 0:
            after = at + len(word)
            if text[at - 1] in b":,[- \t\r\n" and text[after] in b",]} \t\r\n":
                found.add(int(np.searchsorted(starts, at, "right")) - 1)
            at = text.find(word, after)
    return sorted(found)


def _nested(text: bytearray, starts: Ints, stops: Ints) -> list[int]:
    """The rows that may have more levels than json.loads takes; pyarrow takes any depth in keys outside the plan."""
    if text.count(b"[") + text.count(b"{") <= DEEPEST_NESTING:
        return []
    view = np.frombuffer(text, np.uint8)
    opened = np.flatnonzero((view == ord("[")) | (view == ord("{")))
    counts = np.searchsorted(opened, stops) - np.searchsorted(opened, starts)
    return [int(row) for row in np.flatnonzero(counts > DEEPEST_NESTING)]


def _is_utf8(text: bytearray, low: int, high: int) -> bool:
    whole = pa.py_buffer(np.array([low, high], np.int32))
    try:
        pa.StringArray.from_buffers(1, whole, pa.py_buffer(text)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _read(plan: Plan, text: bytearray, rows: int, others: str) -> pa.Table | None:
    """The rows as columns, or None when a row does not fit the plan; `others`: how to treat other keys."""
    try:
        table = pj.read_json(
            pa.BufferReader(text),
            read_options=pj.ReadOptions(block_size=len(text), use_threads=False),
            parse_options=pj.ParseOptions(
                explicit_schema=plan.wire if plan.columns else _NO_COLUMN, unexpected_field_behavior=others
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table.rename_columns(plan.payload.names or [""]) if table.num_rows == rows else None
