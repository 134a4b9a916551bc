"""Loads an unpacked hand-in: the record by its schema, notebooks as JSON with limits, frames by declared columns."""

import json
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from streaming_lab import __version__
from streaming_lab.game.events import COLUMNS
from streaming_lab.handin.unpack import BadHandIn, Unpacked
from streaming_lab.report.record import FORMAT, SCHEMA, Run
from streaming_lab.skipped_imports import schema_formats_skipped

with schema_formats_skipped():
    import jsonschema  # type: ignore[import-untyped]

LARGEST_JSON = 48 << 20  # bytes; a notebook with many drawings has a few MB
DEEPEST_JSON = 60
MOST_ROWS, MOST_BYTES = 3_000_000, 1 << 30  # of a frame, in memory
MEMORY = 3 << 30  # bytes of memory while frames are read

UNREADABLE = (ValueError, TypeError, KeyError, OSError, MemoryError, RecursionError, pa.ArrowException)
TEXTS, WHOLES = (pa.string(), pa.large_string()), (pa.int32(), pa.int64())
MOMENTS = tuple(pa.timestamp(unit, "UTC") for unit in ("s", "ms", "us", "ns"))
BYTES = (pa.binary(), pa.large_binary(), pa.null())
_REQUESTS = {
    "request_id": TEXTS,
    "player": TEXTS,
    "sequence": WHOLES,
    "action": TEXTS,
    "sent_at": MOMENTS,
    "status": (*WHOLES, pa.null()),
    "latency_ms": (pa.float64(),),
    "answer": (*TEXTS, pa.null()),
    "error": (*TEXTS, pa.null()),
    "attempts": WHOLES,
}
_EVENTS = {"partition": WHOLES, "offset": WHOLES, "timestamp": MOMENTS, "key": (*TEXTS, pa.null())}
_EVENTS |= {name: MOMENTS if kind == "timestamp" else (*TEXTS, pa.null()) for name, kind in COLUMNS.items()}
_REJECTS = {"partition": WHOLES, "offset": WHOLES, "reason": (*TEXTS, pa.null()), "raw": BYTES}
_PLACE = {"experiment": WHOLES, "variant": TEXTS}
# Frame -> its columns and the types that each may have; other columns make it another lab's frame.
FRAME_COLUMNS: Mapping[str, Mapping[str, tuple[pa.DataType, ...]] | None] = {
    "requests": _REQUESTS,
    "events": _EVENTS,
    "rejects": _REJECTS,
    "batches": {"partition": WHOLES, "offset": WHOLES, "batch": BYTES},
    "asked": {**_PLACE, **_REQUESTS},
    "appended": {**_PLACE, **_EVENTS},
    "refused": {**_PLACE, **_REJECTS},
    **dict.fromkeys(("deliveries", "acks", "keys", "effects")),  # counts: any columns of numbers, texts and booleans
}


@dataclass(frozen=True)
class HandIn:
    """A hand-in that can be looked at: its record, executed notebooks, frames, and what of it could not be read."""

    unpacked: Unpacked
    record: Mapping[str, Any]
    run: Run
    notebooks: Mapping[str, Any]
    frames: Mapping[str, pd.DataFrame]
    experiments: Any
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version of the lab that made it."""
        return str(self.run.versions.get("streaming-lab", "unknown"))

    @property
    def other_version(self) -> str:
        """A sentence if another version of the lab made it; empty otherwise."""
        if (self.version, self.record["format"]) == (__version__, FORMAT):
            return ""
        there = f"version {self.version}, run.json of format {self.record['format']}"
        return f"handed in from {there}; this is version {__version__}, format {FORMAT}"


def load(unpacked: Unpacked) -> HandIn:
    """Load what can be loaded; raises `BadHandIn` without a record that makes sense."""
    record = load_record(unpacked.folder / "run.json")
    unreadable: dict[str, str] = {}

    def attempt(name: str, read: Callable[[Path], Any]) -> Any:
        path = unpacked.path(name)
        if path is None:
            return None
        try:
            return read(path)
        except (BadHandIn, *UNREADABLE) as error:
            unreadable[name] = f"{type(error).__name__}: {error}" if not isinstance(error, BadHandIn) else error.problem
            return None

    notebooks = {
        chapter["name"]: found
        for chapter in record["chapters"]
        if (found := attempt(f"{chapter['name']}.ipynb", load_notebook)) is not None
    }
    with bounded_memory():
        read = partial(load_frame_file, own_game=bool(record["parameters"].get("game")))
        frames = {name: found for name in FRAME_COLUMNS if (found := attempt(f"{name}.parquet", read)) is not None}
    experiments = attempt("kept/experiments.json", load_json)
    return HandIn(unpacked, record, Run.from_json(json.dumps(record)), notebooks, frames, experiments, unreadable)


def load_record(path: Path) -> dict[str, Any]:
    """run.json by its schema; a record of an earlier format gets empty values for keys that it could not have."""
    try:
        record = load_json(path)
        schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
        if isinstance(record, dict) and record.get("format") != FORMAT:
            schema["properties"]["format"] = {"type": "integer"}
            schema["$defs"]["chapter"]["required"].remove("exercises")
            record = {"run_id": "00000000", "changed": None, "code": {}, "anyway": [], **record}
        jsonschema.validate(record, schema)
    except jsonschema.ValidationError as error:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        raise BadHandIn(f"run.json is no record of a run: {place}: {error.message[:300]}") from error
    except (ValueError, RecursionError) as error:
        raise BadHandIn(f"run.json is no record of a run: {error}") from error
    return dict(record)


def load_json(path: Path) -> Any:
    """A JSON document: bounded in size and depth, no key twice, no NaN or Infinity; raises ValueError."""
    if path.stat().st_size > LARGEST_JSON:
        raise BadHandIn(f"{path.name} has more than {LARGEST_JSON >> 20} MB")
    text = path.read_text(encoding="utf-8")
    value = json.loads(text, object_pairs_hook=unique_keys, parse_constant=refuse_constant, parse_int=bounded_int)
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """ValueError for JSON nested too deeply: what comes after recurses into it."""
    level, depth = [value], 0
    while level := [one for outer in level for one in inner_values(outer) if isinstance(one, (dict, list))]:
        depth += 1
        if depth > DEEPEST_JSON:
            raise ValueError(f"it is nested deeper than {DEEPEST_JSON}")


def inner_values(value: Any) -> Iterable[Any]:
    """The values inside an object or a list."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's pairs as a dict; ValueError if a key is there twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return made


def refuse_constant(name: str) -> Any:
    """ValueError for NaN and Infinity, which are no JSON."""
    raise ValueError(f"{name} is no JSON")


def bounded_int(text: str) -> int:
    """A whole number of a length that no count exceeds."""
    if len(text) > 40:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def load_notebook(path: Path) -> Any:
    """An executed notebook; ValueError for what is none."""
    document = load_json(path)
    if not isinstance(document, dict) or document.get("nbformat") != 4:
        raise ValueError("it is no notebook of format 4")
    try:
        nbformat.validate(document)
    except nbformat.ValidationError as error:
        raise ValueError(f"it is no valid notebook: {str(error).splitlines()[0]}") from error
    return nbformat.reads(json.dumps(document), 4)  # type: ignore[no-untyped-call]  # lines joined


def load_frame_file(path: Path, own_game: bool = False) -> pd.DataFrame:
    """A frame by its declared columns, read piece by piece within bounds; raises ValueError and Arrow's errors."""
    declared = FRAME_COLUMNS[path.stem]
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if own_game and path.stem in ("events", "rejects"):
            check_own_columns(schema)
        else:
            check_columns(schema, declared)
        if file.metadata.num_rows > MOST_ROWS:
            raise ValueError(f"it claims {file.metadata.num_rows:,} rows; {MOST_ROWS:,} are read")
        pieces, size = [], 0
        for piece in file.iter_batches(batch_size=4096):
            pieces.append(piece)
            size += piece.nbytes
            if size > MOST_BYTES:
                raise ValueError(f"its rows take more than {MOST_BYTES >> 20} MB")
        table = pa.Table.from_batches(pieces, schema).replace_schema_metadata(None)
    frame: pd.DataFrame = table.to_pandas()
    return frame


OWN_COLUMNS: Mapping[str, tuple[pa.DataType, ...]] = {"topic": TEXTS, "partition": WHOLES, "offset": WHOLES}
MOST_OWN_COLUMNS = 1000


def check_own_columns(schema: pa.Schema) -> None:
    """ValueError for a frame of a student's own game without a record's place, or with nested or too many columns."""
    once = {name: schema.field(name).type for name in OWN_COLUMNS if schema.names.count(name) == 1}
    missing = [name for name, kinds in OWN_COLUMNS.items() if once.get(name) not in kinds]
    nested = [one.name for one in schema if pa.types.is_nested(one.type)]
    if missing or nested or len(schema.names) > MOST_OWN_COLUMNS:
        raise ValueError(f"its columns are not those of a game's records: {', '.join([*missing, *nested][:5])}")


def check_columns(schema: pa.Schema, declared: Mapping[str, tuple[pa.DataType, ...]] | None) -> None:
    """ValueError for columns or types that the frame does not have."""
    if declared is None:
        odd = [one.name for one in schema if pa.types.is_nested(one.type)]
        if odd or len(schema.names) > 60:
            raise ValueError(f"its columns are not those of a table of counts: {', '.join(odd[:5])}")
        return
    if schema.names != list(declared):
        raise ValueError(f"its columns are {', '.join(schema.names)[:200]}; expected {', '.join(declared)}")
    for one in schema:
        if one.type not in declared[one.name]:
            raise ValueError(f"its column {one.name} is {str(one.type)[:80]}; expected {declared[one.name][0]}")


@contextmanager
def bounded_memory(limit: int = MEMORY) -> Iterator[None]:
    """Let this process have so much memory while the block runs, where the system counts it: then MemoryError."""
    if sys.platform != "linux":
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
