"""Odd rows: cells, or the reason of a reject."""

from datetime import UTC, datetime
from typing import Any

import pytest
from recordbatches import batch, chunk

from streaming_lab.reader.decode import native, python
from streaming_lab.reader.decode.infer import empty_plan, widen_plan
from streaming_lab.reader.decode.python import decode_records
from streaming_lab.reader.decode.records import index_values
from streaming_lab.reader.decode.rows import parse_row
from streaming_lab.reader.decode.schema import Schema, compile_plan
from streaming_lab.reader.decode.values import NeedsWiderPlan, RowRejected

PLAN = compile_plan(
    Schema(
        {"s": "string", "i": "int64", "f": "float64", "b": "bool", "t": "timestamp", "j": "json", "key": "string"},
        required=("s",),
        one_of={"s": frozenset({"x", "y"})},
    )
)
ROW = dict.fromkeys(("s", "i", "f", "b", "t", "j", "key_value"))


@pytest.mark.parametrize(
    ("value", "cells"),
    [
        (b'{"s": "x"}', {}),
        (b'\xef\xbb\xbf{"s": "x"}', {}),
        (b'{"s": "y", "s": "x", "other": [1]}', {}),
        (b'{"s": "x", "i": 9223372036854775807, "f": 7, "b": false}', {"i": 2**63 - 1, "f": 7.0, "b": False}),
        (b'{"s": "x", "i": 2.0, "f": 1e300}', {"i": 2, "f": 1e300}),
        (b'{"s": "x", "t": "2024-02-29T23:59:59.5+02:00"}', {"t": datetime(2024, 2, 29, 21, 59, 59, 500_000, UTC)}),
        (b'{"s": "x", "t": "2024-01-01"}', {"t": datetime(2024, 1, 1, tzinfo=UTC)}),
        (b'{"s": "x", "j": {"a":[1,2.50,"\\u00e9"]}, "key": "k"}', {"j": '{"a": [1, 2.5, "é"]}', "key_value": "k"}),
        (b'{"s": "x", "j": 1180591620717411303424}', {"j": "1180591620717411303424"}),
        (b'{"s": "x", "other": 1e999}', {}),
    ],
)
def test_row(value: bytes, cells: dict[str, Any]) -> None:
    """Odd values that are rows, cell by cell."""
    assert parse_row(PLAN, value) == {**ROW, "s": "x", **cells}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"null", "not a JSON object but null"),
        (b"[1]", "not a JSON object but a list"),
        (b'{"s": "x"} x', "not JSON: Extra data: line 1 column 12 (char 11)"),
        (b'{"s": "\xff"}', "not UTF-8: invalid start byte at byte 7"),
        (b'{"s": "a\tb"}', "not JSON: Invalid control character at: line 1 column 9 (char 8)"),
        (b'{"other": [NaN]}', "NaN is not JSON"),
        (b'{"other": -Infinity}', "-Infinity is not JSON"),
        (b"{}", "s is missing"),
        (b'{"s": "z"}', "s 'z' is not one of x, y"),
        (b'{"s": "x", "i": 2.5}', "i: 2.5 is a number, not int64"),
        (b'{"s": "x", "i": true}', "i: True is a boolean, not int64"),
        (b'{"s": "x", "i": 1180591620717411303424}', "i: 1180591620717411303424 is an integer, not int64"),
        (b'{"s": "x", "f": 1e999}', "f: a number beyond float64"),
        (b'{"s": "x", "f": "1"}', "f: '1' is text, not float64"),
        (b'{"s": "x", "b": 1}', "b: 1 is an integer, not bool"),
        (b'{"s": "x", "t": "yesterday"}', "t: 'yesterday' is not an ISO 8601 time"),
        (b'{"s": "x", "t": "2023-02-29T00:00:00Z"}', "t: '2023-02-29T00:00:00Z' is not an ISO 8601 time"),
        (b'{"s": "x", "t": 5}', "t: 5 is an integer, not timestamp"),
        (b'{"s": "x", "key": "\\ud800"}', "key: text with half a surrogate pair"),
        (b'{"s": "x", "o": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_reject(value: bytes, reason: str) -> None:
    """Odd values that are no rows, with the reason."""
    with pytest.raises(RowRejected) as found:
        parse_row(PLAN, value)
    assert (type(found.value), str(found.value)) == (RowRejected, reason)


@pytest.mark.parametrize(
    "value", [b'{"a": "text"}', b'{"b": 1}', b'{"b": null}', b'{"a": 1.0}', b'{"a": 9007199254740993}']
)
def test_an_inferred_plan_makes_room(value: bytes) -> None:
    """Another type or a new key is no reject in an inferred plan."""
    plan = widen_plan(empty_plan(), [b'{"a": 1}'])
    with pytest.raises(NeedsWiderPlan):
        parse_row(plan, value)
    assert set(parse_row(widen_plan(plan, [value]), value)) >= {"a"}


DEEP = {
    "open": lambda levels: b"[" * levels,
    "lists": lambda levels: b"[" * levels + b"]" * levels,
    "objects": lambda levels: b'{"a":' * levels + b"1" + b"}" * levels,
}
PLANS = {
    "json": compile_plan(Schema({"n": "json"})),
    "another type": compile_plan(Schema({"n": "string"})),
    "not asked for": compile_plan(Schema({"m": "string"})),
    "inferred": widen_plan(empty_plan(), [b'{"n": "x"}', b'{"n": {}}']),
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("levels", [150, 200, 201, 600, 100_000])
@pytest.mark.parametrize("shape", DEEP)
def test_deep_values(shape: str, levels: int, plan: str) -> None:
    """A reject beyond Python's stack, in a json cell beyond 200 levels: in each decoder, and through a consumer."""
    value = b'{"n": ' + DEEP[shape](levels) + (b"}" if shape != "open" else b"")
    values = [b'{"n": "x"}'] * 20 + [value] + [b'{"n": "y"}'] * 20
    consumed = index_values(range(41), [0] * 41, [None] * 41, values)
    ways = [
        decode_records(PLANS[plan], 0, consumed, 41),
        python.decode_chunk(PLANS[plan], chunk(batch(values))),
        *([native.decode_chunk_native(PLANS[plan], chunk(batch(values)))] if native.core_available() else []),
    ]
    is_row = shape != "open" and levels <= {"not asked for": 600, "another type": 0}.get(plan, 200)
    assert [way.table.num_rows for way in ways] == [41 if is_row else 40] * len(ways)
    reasons = {reject.reason.rpartition(": ")[2] for way in ways for reject in way.rejects}
    if not is_row and plan != "another type" and shape != "open":
        assert reasons == {"nested too deeply"}


def test_a_deep_value_does_not_widen_a_plan() -> None:
    """A schema is inferred from what can be read."""
    plan = widen_plan(empty_plan(), [b'{"n": 1}'])
    assert widen_plan(plan, [b'{"m": ' + b"[" * 100_000]) is plan
