"""Schemas as declared, and as inferred."""

import pytest

from app.errors import LabError
from app.stream.infer import join, start, widened
from app.stream.schema import EVENTS, Schema, compile_plan


def test_the_game_is_one_schema() -> None:
    """The game's own table of columns, required keys and event types is what the reader follows."""
    from app.game.events import COLUMNS, EVENT_TYPES, REQUIRED

    assert (EVENTS.columns, EVENTS.required) == (COLUMNS, REQUIRED)
    assert EVENTS.one_of == {"event_type": frozenset(EVENT_TYPES)}


def test_names_of_the_records_own_columns_are_kept_apart() -> None:
    """A payload's `key` becomes key_value, and still another name if that is taken."""
    plan = compile_plan(Schema({"key": "string", "key_value": "int64", "offset": "int64"}))
    assert [column.label for column in plan.columns] == ["key_value_value", "key_value", "offset_value"]


def test_columns_that_are_only_judged() -> None:
    """Required and restricted keys are decoded even if nobody asked for them."""
    schema = Schema({"a": "int64", "b": "string", "c": "string"}, ("b",))
    plan = compile_plan(schema, ["a", "offset"])
    assert [(column.name, column.shown) for column in plan.columns] == [("a", True), ("b", False)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Schema({"a": "integer"}), "column 'a' has the unknown type 'integer'"),
        (lambda: Schema({"a": "int64"}, ("b",)), "'b' is required or restricted, but no column"),
        (lambda: compile_plan(Schema({"a": "int64"}), ["b"]), "no such column: b"),
    ],
)
def test_wrong_schemas(build: object, message: str) -> None:
    """Mistakes are named before anything is read."""
    with pytest.raises(LabError, match=message):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ([b'{"a": 1}', b'{"a": 2.5}', b'{"a": null}'], {"a": "float64"}),
        ([b'{"a": 1}', b'{"a": "1"}'], {"a": "json"}),
        ([b'{"a": []}', b'{"b": {}}', b"{broken", b"[]"], {"a": "json", "b": "json"}),
        ([b'{"a": true}', b'{"a": 1}'], {"a": "json"}),
        ([b'{"a": 9223372036854775808}'], {"a": "json"}),
        ([b'{"a": "2024-01-01T00:00:00Z"}', b'{"a": "5"}'], {"a": "string"}),
        ([b'{"a": null}'], {"a": "null"}),
        ([b'{"a": NaN}'], {}),
    ],
)
def test_inferred(values: list[bytes], types: dict[str, str]) -> None:
    """The narrowest type that holds every value exactly."""
    assert {column.name: column.type for column in widened(start(), values).columns} == types


def test_join_does_not_depend_on_the_order() -> None:
    """Whatever comes first, the type in the end is the same."""
    kinds = ["null", "bool", "int64", "float64", "string", "json"]
    for one in kinds:
        for other in kinds:
            assert join(one, other) == join(other, one)
            for third in kinds:
                assert join(join(one, other), third) == join(one, join(other, third))
