"""Rows that a decoder's fast path does not take: read with json.loads or rejected, alike for both decoders."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming_lab.reader.decode.batches import Reject, WideRow
from streaming_lab.reader.decode.nearly import mend
from streaming_lab.reader.decode.schema import ARROW, TEXT, Column, Plan
from streaming_lab.reader.decode.values import (
    EXACT_INTEGERS,
    NeedsWiderPlan,
    RowRejected,
    check_value,
    describe_type,
    is_unencodable,
    read_cell,
)

_DIGITS = 4000  # Python refuses to read longer integers; they are beyond any column, float64 included
_FLAT_LEVELS = 20  # of nested objects that become columns; what is deeper stays one JSON value


@cache
def _microsecond_range() -> tuple[pa.Scalar, pa.Scalar]:
    """The first and the last moment of Python's calendar; made when first used, as pyarrow imports pandas for it."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    return pa.scalar(first, ARROW["timestamp"]), pa.scalar(last, ARROW["timestamp"])


def load_object(value: bytes) -> dict[str, Any]:
    """json.loads, but NaN, Infinity and anything that is no object raise `RowRejected`. The last duplicate key wins."""
    try:
        text = value.decode(json.detect_encoding(value), "surrogatepass")
        found = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RowRejected(f"not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise RowRejected(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise RowRejected("nested too deeply") from error
    if not isinstance(found, dict):
        raise RowRejected(f"not a JSON object but {describe_type(found)}")
    return found


def load_row(plan: Plan, value: bytes) -> dict[str, Any]:
    """The value's object as the plan reads values: nearly JSON mended, nested objects flattened to dotted keys."""
    try:
        found = load_object(value)
    except RowRejected:
        mended = mend(value) if plan.values == "nearly" else None
        if mended is None:
            raise
        found = load_object(mended)
    return dict(_flattened(found)) if plan.flat else found


def _flattened(found: Mapping[str, Any], prefix: str = "", levels: int = _FLAT_LEVELS) -> Iterator[tuple[str, Any]]:
    for name, cell in found.items():
        if isinstance(cell, dict) and cell and levels:
            yield from _flattened(cell, f"{prefix}{name}.", levels - 1)
        else:
            yield prefix + name, cell


def parse_row(plan: Plan, value: bytes) -> dict[str, Any]:
    """The row's cells by label (None where missing): text, int, float, bool, aware datetime, or canonical JSON text.

    Raises `RowRejected` with the reason, or `NeedsWiderPlan` when an inferred plan would have to widen for it.
    """
    found = load_row(plan, value)
    try:
        return _cells(plan, found)
    except RowRejected:
        if plan.inferred:
            check_cells(plan, found)
        raise


def check_cells(plan: Plan, found: Mapping[str, Any]) -> None:
    """Raise `RowRejected` if a cell that the plan asks for fits no type, however far the plan widens."""
    for name, cell in found.items():
        if not plan.all_keys and name not in plan.names:
            continue
        if is_unencodable(name):
            raise RowRejected("a key with half a surrogate pair")
        try:
            check_value(cell)
        except ValueError as error:
            raise RowRejected(f"{name}: {error}") from error


def _cells(plan: Plan, found: Mapping[str, Any]) -> dict[str, Any]:
    if plan.all_keys and not found.keys() <= plan.names:
        raise NeedsWiderPlan(f"new key: {', '.join(sorted(found.keys() - plan.names))}")
    return {column.label: read_cell(plan, column, found.get(column.name)) for column in plan.columns}


@dataclass(frozen=True)
class PatchedRows:
    """A table with its odd rows in place, and the records that are no rows."""

    table: pa.Table
    rejects: list[Reject]
    strays: list[WideRow]


def patch_rows(
    plan: Plan, partition: int, table: pa.Table, rows: Sequence[int], values: Sequence[bytes]
) -> PatchedRows:
    """Put the odd rows into their places: `values[i]` is the value of row `rows[i]` (ascending) of `table`.

    `table` has offset, timestamp and key for every row; the payload cells of odd rows are replaced.
    """
    parsed: list[dict[str, Any]] = []
    kept, gone, rejects, strays = [], [], [], []
    for row, value in zip(rows, values, strict=True):
        try:
            parsed.append(parse_row(plan, value))
            kept.append(row)
        except RowRejected as finding:
            gone.append(row)
            offset = table["offset"][row].as_py()
            if isinstance(finding, NeedsWiderPlan):
                strays.append(WideRow(offset, table["timestamp"][row].value, table["key"][row].as_py(), value))
            else:
                rejects.append(Reject(partition, offset, str(finding), value))
    return PatchedRows(_put_in_place(plan, table, parsed, kept, gone), rejects, strays)


def rows_to_recheck(plan: Plan, table: pa.Table) -> np.ndarray:
    """The rows (ascending) that a fast path took and that must be judged here: `table` has the payload's columns.

    A required value is missing, a text is none of those allowed, a float is not finite or is -0.0, or a time is outside
    Python's calendar; in an inferred plan also integers beyond 2^53 where they would not be exact, or not be later.
    """
    bad = np.zeros(table.num_rows, bool)
    for column in plan.columns:
        cells = table[column.label]
        if column.required and cells.null_count:
            bad |= cells.is_null().to_numpy()
        if column.one_of is not None:
            known = pc.is_in(cells, pa.array(sorted(column.one_of), TEXT))
            bad |= ~pc.or_(known, cells.is_null()).to_numpy()
        if column.type == "float64" and cells.null_count < len(cells):
            bad |= ~pc.fill_null(pc.is_finite(cells), True).to_numpy()
            zeros = pc.fill_null(pc.equal(cells, 0.0), False).to_numpy()
            if zeros.any():  # pyarrow reads -0 as -0.0, to json.loads it is the integer 0
                bad |= zeros & np.signbit(cells.to_numpy())
        if (limits := _limits(plan, column)) and cells.null_count < len(cells):
            bad |= _outside(cells, *limits)
    return np.flatnonzero(bad)


def _no_constant(name: str) -> NoReturn:
    raise RowRejected(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer)


def _limits(plan: Plan, column: Column) -> tuple[pa.Scalar, pa.Scalar] | None:
    """The least and the greatest value that pyarrow is trusted with."""
    if column.type == "timestamp":
        return _microsecond_range()
    if column.type == "int53":
        return pa.scalar(-EXACT_INTEGERS), pa.scalar(EXACT_INTEGERS)
    if column.type == "float64" and plan.inferred:  # 2^53 + 1 is read as 2^53
        return pa.scalar(1.0 - EXACT_INTEGERS), pa.scalar(EXACT_INTEGERS - 1.0)
    return None


def _outside(cells: pa.ChunkedArray, low: pa.Scalar, high: pa.Scalar) -> Any:
    least, most = pc.min_max(cells).values()
    if not pc.or_(pc.less(least, low), pc.greater(most, high)).as_py():
        return np.False_
    outside = pc.or_(pc.less(cells, low), pc.greater(cells, high))
    return pc.fill_null(outside, False).to_numpy()


def _put_in_place(
    plan: Plan, table: pa.Table, parsed: list[dict[str, Any]], kept: list[int], gone: list[int]
) -> pa.Table:
    if not kept and not gone:
        return table
    order = np.arange(table.num_rows)
    order[kept] = table.num_rows + np.arange(len(kept))
    order = np.delete(order, gone)
    cells = [pa.array([row[column.label] for row in parsed], ARROW[column.type]) for column in plan.columns]
    meta = table.select([0, 1, 2]).take(pa.array(kept, pa.int64()))
    both = pa.concat_tables([table, pa.table([*meta.columns, *cells], schema=table.schema)])
    return both.take(pa.array(order)).combine_chunks()
