"""The schema of a topic that nobody declared: inferred from a sample, widened when later rows need it.

A column is int64, float64, bool or string as long as all its values are of that type. An integer column that meets a
fraction becomes float64. Where that would round an integer (beyond ±2^53), and for any other pair of types, a list, an
object or an integer beyond 64 bits, the column is json, which holds every value exactly. Times stay text, and digits in
text stay text. Nothing is rejected for its type, and what is rejected widens nothing.

So types and cells follow from the rows alone: not from where the log was cut into answers, nor from the decoder. For
that, a number in a json column is an integer if it is whole (1.0 is 1: the float64 that it may have been knows no
more), and a plan tells int53 (all within ±2^53, can still become float64) from int64 (some are beyond it). Only the
order of the columns is that in which their keys were found.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streaming_lab.reader.decode.rows import check_cells, load_row
from streaming_lab.reader.decode.schema import ARROW, TEXT, Plan, key_of, table_schema
from streaming_lab.reader.decode.values import EXACT_INTEGERS, RowRejected, canonical_by_value

META_COLUMNS = 3  # a decoder's table begins with offset, timestamp, key
_INT64 = range(-(2**63), 2**63)


def empty_plan(columns: Iterable[str] | None = None) -> Plan:
    """The plan before the first row; with `columns`, only those are decoded, named as in a read of all columns.

    So offset_value is the payload's `offset`. A name that no row has as a key is a column of missing values and no
    error: without a declared schema, a topic may just not have this key yet.
    """
    keys = [key_of(label) for label in columns or ()]
    return Plan((), inferred=True, all_keys=columns is None).retyped(dict.fromkeys(keys, "null"))


def widen_plan(plan: Plan, values: Iterable[bytes]) -> Plan:
    """The plan widened for these values. Values that are rejects in any plan change nothing."""
    types = {column.name: column.type for column in plan.columns}
    before = dict(types)
    for value in values:
        try:
            found = load_row(plan, value)
            check_cells(plan, found)
        except RowRejected:
            continue
        for name, cell in found.items():
            if plan.all_keys or name in types:
                types[name] = join_types(types.get(name, "null"), _type(cell))
    return plan if types == before else plan.retyped(types)


def join_types(one: str, other: str) -> str:
    """The narrowest type that holds the values of both."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    return _JOINED.get(frozenset((one, other)), "json")


_JOINED = {frozenset(("int53", "int64")): "int64", frozenset(("int53", "float64")): "float64"}


def cast_table(table: pa.Table, before: Plan, plan: Plan) -> pa.Table:
    """A table of an earlier plan in the columns and types of a later one."""
    if before is plan:
        return table
    types = {column.label: column.type for column in before.columns}
    columns = table.columns[:META_COLUMNS]
    for column in plan.columns:
        if column.label in types:
            columns.append(_cast(table[column.label], types[column.label], column.type))
        else:
            columns.append(pa.nulls(len(table), ARROW[column.type]))
    return pa.table(columns, schema=table_schema(plan))


def _cast(cells: pa.ChunkedArray, before: str, kind: str) -> pa.ChunkedArray:
    """Cells of an earlier type in a later type; typed cells can be written as JSON text again."""
    if before == kind:
        return cells
    if kind != "json" or before == "null":
        return cells.cast(ARROW[kind])  # int53 to float64 is exact
    return pa.chunked_array([[None if cell is None else canonical_by_value(cell) for cell in cells.to_pylist()]], TEXT)


def _type(cell: Any) -> str:
    if isinstance(cell, int) and not isinstance(cell, bool):
        return "int53" if abs(cell) <= EXACT_INTEGERS else "int64" if cell in _INT64 else "json"
    return {str: "string", bool: "bool", float: "float64", type(None): "null"}.get(type(cell), "json")


def count_kinds(cells: pa.ChunkedArray) -> dict[str, int]:
    """The number of cells of a json column by kind: list, object, text, number, boolean, missing."""
    first = pc.utf8_slice_codeunits(cells, 0, 1)
    counts: dict[str, int] = {}
    for letter, count in ((each["values"], each["counts"]) for each in pc.value_counts(first).to_pylist()):
        kind = _LETTERS.get(letter, "number")
        counts[kind] = counts.get(kind, 0) + count
    return counts


_LETTERS = {None: "missing", "[": "list", "{": "object", '"': "text", "t": "boolean", "f": "boolean"}
