"""One JSON value to one cell of a declared type, or the reason why not."""

import json
from datetime import UTC, datetime
from typing import Any

from streaming_lab.reader.decode.schema import Column, Plan

_INT64 = range(-(2**63), 2**63)
DEEPEST_NESTING = 200  # levels of lists and objects in a json cell
EXACT_INTEGERS = 2**53  # beyond it a float no longer holds every integer


class RowRejected(Exception):
    """The value is no row of this plan; the message says why."""


class NeedsWiderPlan(RowRejected):
    """The value is a JSON object that an inferred plan has no room for yet: a new key, or another type."""


def read_cell(plan: Plan, column: Column, found: Any) -> Any:
    if found is None:
        if column.required:
            raise RowRejected(f"{column.name} is missing")
        return None
    try:
        cell = (_INFERRED if plan.inferred else _CASTS)[column.type](found)
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
    reason = f"{column.name}: {_short(found)} is {describe_type(found)}, not {column.type}"
    return NeedsWiderPlan(reason) if plan.inferred else RowRejected(reason)


def _string(found: Any) -> str:
    if not isinstance(found, str):
        raise _NoFit
    return _encodable(found)


def _int64(found: Any) -> int:
    if isinstance(found, float) and found.is_integer() and abs(found) <= EXACT_INTEGERS:
        return int(found)  # pandas writes integers with missing values as 2.0
    return _integer(found)


def _integer(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or found not in _INT64:
        raise _NoFit
    return found


def _int53(found: Any) -> int:
    number = _integer(found)
    if abs(number) > EXACT_INTEGERS:
        raise _NoFit
    return number


def _float64(found: Any) -> float:
    if not isinstance(found, (int, float)) or isinstance(found, bool):
        raise _NoFit
    number = float(found)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number beyond float64")
    return number


def _exact_float64(found: Any) -> float:
    if isinstance(found, int) and abs(found) > EXACT_INTEGERS:
        raise _NoFit
    return _float64(found)


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


def canonical_json(found: Any) -> str:
    """The one JSON text of a value, as json.dumps writes it; a float that is not finite raises ValueError.

    A value of more than DEEPEST_NESTING levels raises ValueError as well: a later reader of the text may have less of
    Python's stack left.
    """
    try:
        text = _ENCODER.encode(found)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        raise ValueError("a number beyond float64") from None
    _encodable(text)
    if text.count("[") + text.count("{") > DEEPEST_NESTING and _is_deeper(found, DEEPEST_NESTING):
        raise ValueError("nested too deeply")
    return text


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def check_value(found: Any) -> None:
    """Raise ValueError for a value that fits no type, not even json; cheap for usual values."""
    if isinstance(found, str):
        _encodable(found)
    elif isinstance(found, (float, list, dict)):
        canonical_json(found)


def canonical_by_value(found: Any) -> str:
    """The canonical text, but a number that is whole and within ±2^53 as an integer: 1.0 is 1, -0.0 stays.

    A float64 column makes 1.0 of 1, so only this form is the same before and after a column widens.
    """
    if isinstance(found, float) and found.is_integer() and abs(found) <= EXACT_INTEGERS and str(found) != "-0.0":
        return str(int(found))
    return canonical_json(found)


def _is_deeper(found: Any, levels: int) -> bool:
    layer = [found] if isinstance(found, (dict, list)) else []
    for _ in range(levels):
        inside = [inner for each in layer for inner in (each.values() if isinstance(each, dict) else each)]
        layer = [inner for inner in inside if isinstance(inner, (dict, list))]
    return bool(layer)


def _null(found: Any) -> None:
    raise _NoFit


_CASTS = {
    "string": _string,
    "int64": _int64,
    "float64": _float64,
    "bool": _bool,
    "timestamp": _timestamp,
    "json": canonical_json,
    "null": _null,
}
_INFERRED = {**_CASTS, "int53": _int53, "int64": _integer, "float64": _exact_float64, "json": canonical_by_value}


def _encodable(text: str) -> str:
    if is_unencodable(text):
        raise ValueError("text with half a surrogate pair")
    return text


def is_unencodable(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def describe_type(found: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "an integer", float: "a number"}
    return names.get(type(found), "null")


def _short(found: Any) -> str:
    try:
        shown = repr(found)
    except RecursionError:
        return f"{describe_type(found)} of very many levels"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
