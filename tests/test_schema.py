"""Declared and inferred schemas."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given, settings, strategies as st
from recordbatches import batch, chunk

from streaming_lab.errors import LabError
from streaming_lab.game.schema import EVENTS
from streaming_lab.reader.decode import native, python
from streaming_lab.reader.decode.batches import Decode, Decoded
from streaming_lab.reader.decode.infer import cast_table, empty_plan, join_types, widen_plan
from streaming_lab.reader.decode.schema import Plan, Schema, compile_plan, key_of, label_of
from streaming_lab.reader.frames import TopicFrame, build_frames
from streaming_lab.reader.pipeline import Pipeline, Planner, ResultBuilder


def test_the_game_is_one_schema() -> None:
    """The game's own table of columns, required keys and event types is what the reader follows."""
    from streaming_lab.game.events import COLUMNS, EVENT_TYPES, REQUIRED

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
        (lambda: Schema({"a": "int53"}), "column 'a' has the unknown type 'int53'"),
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
        ([b'{"a": -9007199254740992}', b'{"a": -0}'], {"a": "int53"}),
        ([b'{"a": 9007199254740992}', b'{"a": 1.0}'], {"a": "float64"}),
        ([b'{"a": 9007199254740993}', b'{"a": 1}'], {"a": "int64"}),
        ([b'{"a": 1234567890123456789}', b'{"a": 0.5}'], {"a": "json"}),
        ([b'{"a": 0.5}', b'{"a": 9007199254740993}'], {"a": "json"}),
        ([b'{"a": 1}', b'{"a": "\\ud800", "b": 1}', b'{"a": "x", "b": [1e999]}', b'{"\\udc00": 5}'], {"a": "int53"}),
    ],
)
def test_inferred(values: list[bytes], types: dict[str, str]) -> None:
    """The narrowest type that holds every value exactly."""
    assert {column.name: column.type for column in widen_plan(empty_plan(), values).columns} == types


def test_join_does_not_depend_on_the_order() -> None:
    """The order of values does not change the final type."""
    kinds = ["null", "bool", "int53", "int64", "float64", "string", "json"]
    for one in kinds:
        for other in kinds:
            assert join_types(one, other) == join_types(other, one)
            for third in kinds:
                assert join_types(join_types(one, other), third) == join_types(one, join_types(other, third))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"9007199254740993", b'"x"'], ["9007199254740993", '"x"']),
        ([b"1", b"1.0", b"0.5", b"-0", b"-0.0", b"[1.0]"], ["1", "1", "0.5", "0", "-0.0", "[1.0]"]),
        ([b"1e20", b"100000000000000000000"], ["1e+20", "100000000000000000000"]),
    ],
)
def test_no_digit_is_lost_when_a_column_widens(values: list[bytes], expected: list[str]) -> None:
    """Value by value or all at once, in either decoder: the json column in the end holds the same numbers."""
    rows = [b'{"a": %s}' % value for value in values]
    last = widen_plan(empty_plan(), rows)
    for decoder in DECODERS:
        assert next(decoder(last, chunk(batch(rows)))).table["a"].to_pylist() == expected
        plans = [widen_plan(empty_plan(), [row]) for row in rows]
        alone = [(plan, next(decoder(plan, chunk(batch([row])))).table) for plan, row in zip(plans, rows, strict=True)]
        assert [cast_table(table, plan, last)["a"].to_pylist() for plan, table in alone] == [
            [text] for text in expected
        ]


DECODERS: list[Decode] = [python.decode_pieces, *([native.decode_pieces_native] if native.core_available() else [])]
CELLS = """
null true 0 1 -1 2.0 -2.0 0.5 -0 -0.0 1e3 1e20 100000000000000000000 1234567890123456789 9007199254740992 1e999 []
9007199254740993 9007199254740992.0 9007199254740993.0 9007199254740994.5 -9007199254740993 9223372036854775808 "" "x"
"\\ud800" [1.0] {"a":1e999} {"a":1,"a":2.0}
"""
PAIRS = st.tuples(st.sampled_from(["a", "a", "b", "é", "key", "key_value", r"\udc00"]), st.sampled_from(CELLS.split()))
LOGS = st.lists(PAIRS, min_size=1, max_size=4).flatmap(  # few different cells, so that they meet
    lambda pairs: st.lists(st.lists(st.sampled_from(pairs), max_size=2), max_size=12)
)


@dataclass(frozen=True)
class Answer:
    """A part of a log as a fetch could have brought it, of which `seen` values are in the sample."""

    base: int
    values: list[bytes]
    seen: int

    def sample(self, most: int) -> list[bytes]:
        return self.values[: min(self.seen, most)]

    def decoded(self, plan: Plan, decoder: Decode) -> Iterator[tuple[int, Decoded]]:
        for decoded in decoder(plan, chunk(batch(self.values, base=self.base, time=self.base))):
            yield 3, decoded

    def done(self) -> None:
        pass


def read(log: list[bytes], cuts: list[int], seen: int, decoder: Decode, columns: list[str] | None) -> TopicFrame:
    """The log as one frame without a schema, cut into answers at these places."""
    places = sorted({0, len(log), *(cut % (len(log) + 1) for cut in cuts)})
    works = [Answer(low, log[low:high], seen) for low, high in pairwise(places)]
    pipeline, gathered = Pipeline(Planner.of(None, columns), decoder), ResultBuilder()
    for part in pipeline.parts(iter(works)):
        gathered.add(part)
    return build_frames(gathered, pipeline.planner.plan, {3: (0, len(log))}, "", columns)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(LOGS, st.lists(st.integers(0, 12), max_size=6), st.integers(0, 12), st.sampled_from([None, ["a", "key_value"]]))
@example([[("a", "1234567890123456789")], [("a", "0.5")]], [1], 1, None)
@example([[("a", "1234567890123456789")], [("a", "2.0")]], [], 1, None)
@example([[("a", "1")], [("a", "1234567890123456789")], [("a", "0.5")]], [2], 1, None)
@example([[("a", "0.5")], [("a", "9007199254740993")]], [], 1, None)
@example([[("a", "0.5")], [("a", "9007199254740993")], [("a", '"x"')]], [2], 1, None)
@example([[("a", "1")], [("a", "0.5")], [("a", '"x"')]], [2], 1, None)
def test_the_frame_does_not_depend_on_the_cuts(
    log: list[list[tuple[str, str]]], cuts: list[int], seen: int, columns: list[str] | None
) -> None:
    """The same rows without a schema, in any answers and with any sample: columns, cells, rejects and kinds."""
    lines = [b"{" + ",".join(f'"{name}": {cell}' for name, cell in row).encode() + b"}" for row in log]
    expected = shown(read(lines, [], len(lines), python.decode_pieces, columns))
    for decoder in DECODERS:
        assert shown(read(lines, cuts, seen, decoder, columns)) == expected


def shown(frame: TopicFrame) -> list[object]:
    """All of a frame but the order of its columns, in a form that compares whole: repr tells 1 from 1.0."""
    cells = {name: (str(column.dtype), repr(column.tolist())) for name, column in frame.events.items()}
    return [cells, repr(frame.rejects.to_dict("list")), frame.mixed]


def test_labels_lead_back_to_their_keys() -> None:
    """Each key has a column of its own, whatever other keys there are, and `columns` takes what a whole read shows."""
    keys = ["offset", "offset_value", "key", "key_value_value", "value", "offsets", "_value", ""]
    labels = [label_of(key) for key in keys]
    assert labels == ["offset_value", "offset_value_value", "key_value", "key_value_value_value", *keys[4:]]
    assert [key_of(label) for label in labels] == keys
    assert [(column.name, column.label) for column in empty_plan(labels).columns] == list(
        zip(keys, labels, strict=True)
    )


def test_a_column_by_the_name_that_a_whole_read_shows() -> None:
    """The payload's `offset` is offset_value in both; a name that no row has is a column of missing values."""
    log = [b'{"offset": 7, "a": 1}', b'{"a": 2}']
    for decoder in DECODERS:
        whole = read(log, [], 2, decoder, None).events
        assert whole["offset_value"].tolist()[:1] == [7]
        few = read(log, [], 2, decoder, ["offset_value", "typo"]).events
        assert few["offset_value"].equals(whole["offset_value"])
        assert few["typo"].isna().tolist() == [True, True]
