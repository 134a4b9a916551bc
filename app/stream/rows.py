"""The one meaning of an odd row: whatever a fast path does not take is read here with json.loads, or rejected."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.stream.chunk import Reject, Stray
from app.stream.schema import ARROW, TEXT, Column, Plan

_INT64 = range(-(2**63), 2**63)
_DIGITS = 4000  # Python refuses to read longer integers; they are beyond any column, float64 included
_EXACT = 2**53  # beyond it a float no longer holds every integer
_MICROSECOND_RANGE = tuple(
    pa.scalar(moment, ARROW["timestamp"])
    for moment in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
)


class RowRejected(Exception):
    """The value is no row of this plan; the message says why."""


class Misfit(RowRejected):
    """The value is a JSON object that an inferred plan has no room for yet: a new key, or another type."""


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
        raise RowRejected(f"not a JSON object but {_kind(found)}")
    return found


def parse_row(plan: Plan, value: bytes) -> dict[str, Any]:
    """The row's cells by label (None where missing): text, int, float, bool, aware datetime, or canonical JSON text.

    Raises `RowRejected` with the reason, or `Misfit` when an inferred plan would have to widen for it.
    """
    found = load_object(value)
    if plan.all_keys and not found.keys() <= plan.names:
        new = sorted(found.keys() - plan.names)
        if any(_unencodable(name) for name in new):
            raise RowRejected("a key with half a surrogate pair")
        raise Misfit(f"new key: {', '.join(new)}")
    return {column.label: _cell(plan, column, found.get(column.name)) for column in plan.columns}


@dataclass(frozen=True)
class Patched:
    """A table with its odd rows in place, and those that are not rows."""

    table: pa.Table
    rejects: list[Reject]
    strays: list[Stray]


def patch(plan: Plan, partition: int, table: pa.Table, rows: Sequence[int], values: Sequence[bytes]) -> Patched:
    """Put the odd rows into their places: `values[i]` is the value of row `rows[i]` (ascending) of `table`.

    `table` has its offset, timestamp and key for every row; what it has in the payload of an odd row is replaced.
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
            if isinstance(finding, Misfit):
                strays.append(Stray(offset, table["timestamp"][row].value, table["key"][row].as_py(), value))
            else:
                rejects.append(Reject(partition, offset, str(finding), value))
    return Patched(_placed(plan, table, parsed, kept, gone), rejects, strays)


def suspects(plan: Plan, table: pa.Table) -> np.ndarray:
    """The rows (ascending) that a fast path took and that must be judged here: `table` has the payload's columns.

    A required value is missing, a text is none of those allowed, a float is not finite or is -0.0, or a time is outside
    Python's calendar.
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
        if column.type == "timestamp" and cells.null_count < len(cells):
            bad |= _outside_time(cells)
    return np.flatnonzero(bad)


def _no_constant(name: str) -> NoReturn:
    raise RowRejected(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    if digits == "-0":
        return -0.0  # as a float column has it; an integer column makes it 0
    return int(digits) if len(digits) <= _DIGITS else float(digits)


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer)


def _cell(plan: Plan, column: Column, found: Any) -> Any:
    if found is None:
        if column.required:
            raise RowRejected(f"{column.name} is missing")
        return None
    try:
        cell = _CASTS[column.type](found)
    except _NoFit:
        raise _mismatch(plan, column, found) from None
    except (ValueError, OverflowError) as error:  # a reason that another type would not cure
        raise RowRejected(f"{column.name}: {error}") from error
    if column.one_of is not None and cell not in column.one_of:
        raise RowRejected(f"{column.name} {_short(found)} is not one of {', '.join(sorted(column.one_of))}")
    return cell


class _NoFit(Exception):
    """The value is of another type than the column."""


def _mismatch(plan: Plan, column: Column, found: Any) -> RowRejected:
    reason = f"{column.name}: {_short(found)} is {_kind(found)}, not {column.type}"
    return Misfit(reason) if plan.inferred else RowRejected(reason)


def _string(found: Any) -> str:
    if not isinstance(found, str):
        raise _NoFit
    return _encodable(found)


def _int64(found: Any) -> int:
    if isinstance(found, float) and found.is_integer() and abs(found) <= _EXACT:
        return int(found)  # pandas writes integers with missing values as 2.0
    if not isinstance(found, int) or isinstance(found, bool) or found not in _INT64:
        raise _NoFit
    return found


def _float64(found: Any) -> float:
    if not isinstance(found, (int, float)) or isinstance(found, bool):
        raise _NoFit
    number = float(found)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number beyond float64")
    return number


def _bool(found: Any) -> bool:
    if not isinstance(found, bool):
        raise _NoFit
    return found


def _timestamp(found: Any) -> datetime:
    if not isinstance(found, str):
        raise _NoFit
    try:
        moment = datetime.fromisoformat(found)
    except ValueError:
        raise ValueError(f"{_short(found)} is not an ISO 8601 time") from None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)


def canonical(found: Any) -> str:
    """The one JSON text of a value, as json.dumps writes it; a float that is not finite raises ValueError."""
    return _encodable(json.dumps(found, ensure_ascii=False, allow_nan=False))


def _null(found: Any) -> None:
    raise _NoFit


_CASTS = {
    "string": _string,
    "int64": _int64,
    "float64": _float64,
    "bool": _bool,
    "timestamp": _timestamp,
    "json": canonical,
    "null": _null,
}


def _encodable(text: str) -> str:
    if _unencodable(text):
        raise ValueError("text with half a surrogate pair")
    return text


def _unencodable(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _kind(found: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "an integer", float: "a number"}
    return names.get(type(found), "null")


def _short(found: Any) -> str:
    shown = repr(found)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _outside_time(cells: pa.ChunkedArray) -> Any:
    low, high = _MICROSECOND_RANGE
    least, most = pc.min_max(cells).values()
    if least.value >= low.value and most.value <= high.value:
        return np.False_
    outside = pc.or_(pc.less(cells, low), pc.greater(cells, high))
    return pc.fill_null(outside, False).to_numpy()


def _placed(plan: Plan, table: pa.Table, parsed: list[dict[str, Any]], kept: list[int], gone: list[int]) -> pa.Table:
    if not kept and not gone:
        return table
    order = np.arange(table.num_rows)
    order[kept] = table.num_rows + np.arange(len(kept))
    order = np.delete(order, gone)
    cells = [pa.array([row[column.label] for row in parsed], ARROW[column.type]) for column in plan.columns]
    meta = table.select([0, 1, 2]).take(pa.array(kept, pa.int64()))
    both = pa.concat_tables([table, pa.table([*meta.columns, *cells], schema=table.schema)])
    return both.take(pa.array(order)).combine_chunks()
