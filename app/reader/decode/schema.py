"""A topic's schema as a person declares it, and the plan that the decoders follow."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import pyarrow as pa

from streaming_lab.errors import LabError

META_NAMES = ("partition", "offset", "timestamp", "key")  # come from the record itself; always the first columns

TEXT = pa.large_string()  # 64-bit positions, as pandas has them: text goes over without a copy

# Type names and what they are in Arrow. "json" keeps any value as canonical JSON text; "null": only missing so far;
# "int53", in inferred plans only: integers of which float64 still holds each.
ARROW = {
    "string": TEXT,
    "int64": pa.int64(),
    "int53": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "json": TEXT,
    "null": pa.null(),
}
_DECLARED = [name for name in ARROW if name != "int53"]


@dataclass(frozen=True)
class Schema:
    """Columns (JSON key -> type name), keys that every event must have, and the values that a text column may take.

    Type names: string, int64, float64, bool, timestamp (ISO 8601; without a zone it is UTC; finer digits than
    microseconds are cut), json (any value). A row that does not fit is a reject.
    """

    columns: Mapping[str, str]
    required: tuple[str, ...] = ()
    one_of: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in self.columns.items():
            if kind not in _DECLARED:
                raise LabError(f"column {name!r} has the unknown type {kind!r}", f"Use one of: {', '.join(_DECLARED)}.")
        for name in (*self.required, *self.one_of):
            if name not in self.columns:
                raise LabError(f"{name!r} is required or restricted, but no column", "Give it a type in `columns`.")


@dataclass(frozen=True)
class Column:
    """One column of a plan: the JSON key, the frame's label, the type name, and what a row must have there."""

    name: str
    label: str
    type: str
    required: bool = False
    one_of: frozenset[str] | None = None
    shown: bool = True  # False: only judged, not part of the result


@dataclass(frozen=True)
class Plan:
    """A compiled schema. `inferred`: types may still widen; `all_keys`: a new key widens the plan.

    A decoder's table has offset, timestamp and key, then one Arrow column per `columns`, in this order, named by label.
    `values` is how a value is read: as "json", as "nearly" JSON, or as "text" (one column). `flat`: the fields of a
    nested object are columns of their own, with dotted names.
    """

    columns: tuple[Column, ...]
    inferred: bool = False
    all_keys: bool = False
    values: str = "json"
    flat: bool = False

    @cached_property
    def payload(self) -> pa.Schema:
        """The Arrow fields of the payload columns, named by label."""
        return pa.schema([(column.label, ARROW[column.type]) for column in self.columns])

    @cached_property
    def wire(self) -> pa.Schema:
        """The same fields named by JSON key."""
        return pa.schema([(column.name, ARROW[column.type]) for column in self.columns])

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        """The JSON keys as UTF-8."""
        return tuple(column.name.encode() for column in self.columns)

    @cached_property
    def names(self) -> frozenset[str]:
        """The JSON keys."""
        return frozenset(column.name for column in self.columns)

    @cached_property
    def has_json(self) -> bool:
        """Does a column take any value? Only json.loads can fill such a column."""
        return any(column.type == "json" for column in self.columns)

    def retyped(self, types: Mapping[str, str]) -> "Plan":
        """The same plan with other types for some columns and new columns for new keys, labelled by `label_of`."""
        known = tuple(replace(column, type=types.get(column.name, column.type)) for column in self.columns)
        new = tuple(Column(name, label_of(name), kind) for name, kind in types.items() if name not in self.names)
        return replace(self, columns=known + new)


def table_schema(plan: Plan) -> pa.Schema:
    """The fields of a decoder's table: offset, broker timestamp, key, then the payload."""
    meta = [("offset", pa.int64()), ("timestamp", pa.timestamp("ms", "UTC")), ("key", pa.binary())]
    return pa.schema([pa.field(name, kind) for name, kind in meta] + list(plan.payload))


def label_of(key: str) -> str:
    """The column of a JSON key when nothing is declared; the other keys of the topic do not matter.

    The record's own names get the suffix `_value`. Names with that suffix get it again, so that no two keys share a
    column: `offset` is offset_value, `offset_value` is offset_value_value.
    """
    return f"{key}_value" if _OWN.fullmatch(key) else key


def key_of(label: str) -> str:
    """The JSON key of a column: the inverse of `label_of`."""
    return label.removesuffix("_value") if _OWN.fullmatch(label) else label


_OWN = re.compile(rf"({'|'.join(META_NAMES)})(_value)*")


def _label(name: str, taken: set[str]) -> str:
    """The column of a JSON key: the key itself, with `_value` appended while another column has that name."""
    while name in META_NAMES or name in taken:
        name += "_value"
    taken.add(name)
    return name


def compile_plan(schema: Schema, columns: Iterable[str] | None = None) -> Plan:
    """The plan for a declared schema; `columns` (labels, those of the record included) narrows what is decoded.

    Required and restricted keys are still decoded and judged. A name that is no column raises a `LabError`.
    """
    taken = set(schema.columns)
    labels = {name: _label(name, taken) if name in META_NAMES else name for name in schema.columns}
    wanted = None if columns is None else set(columns)
    if unknown := (wanted or set()) - {*META_NAMES, *labels.values()}:
        known = ", ".join([*META_NAMES, *labels.values()])
        raise LabError(f"no such column: {', '.join(sorted(unknown))}", f"The columns are {known}.")
    made = []
    for name, kind in schema.columns.items():
        shown = wanted is None or labels[name] in wanted
        if shown or name in schema.required or name in schema.one_of:
            allowed = schema.one_of.get(name)
            made.append(Column(name, labels[name], kind, name in schema.required, allowed, shown))
    return Plan(tuple(made))
