"""Decodes responses in threads and hands out their parts in order; an undeclared schema is learned meanwhile."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming_lab.errors import LabError
from streaming_lab.reader.decode import infer, native, python
from streaming_lab.reader.decode.batches import Decode, Decoded, Reject
from streaming_lab.reader.decode.records import index_values
from streaming_lab.reader.decode.schema import META_NAMES, Column, Plan, Schema, compile_plan, table_schema
from streaming_lab.reader.fetch.fetcher import ANSWER_BYTES
from streaming_lab.reader.fetch.request import Response

_PURE = ANSWER_BYTES // 2  # pyarrow's JSON parser takes several times a chunk while it works


class Decoder(NamedTuple):
    """A decoder's function, its name in results, and its best answer size."""

    decode: Decode
    name: str
    answer: int  # bytes of one fetch


def select_decoder(name: str, only_python: str = "") -> Decoder:
    """The decoder for auto, native or python; another name, or native without a native core, raises a `LabError`.

    `only_python` is a reason for which "auto" is the pure-Python one, and "native" an error.
    """
    if name not in ("auto", "native", "python"):
        raise LabError(f"decoder {name!r} is unknown", "Use auto, native or python.")
    if only_python and name == "native":
        raise LabError(f"the native decoder does not read {only_python}", "Use decoder='auto'.")
    if only_python:
        return Decoder(python.decode_pieces, f"python: {only_python}", _PURE)
    if name != "python" and native.core_available():
        return Decoder(native.decode_pieces_native, "native", ANSWER_BYTES)
    if name == "native":
        raise LabError(f"the native decoder is not there: {native.core_status()}", "Use decoder='auto'.")
    why = "asked for" if name == "python" else native.core_status()
    return Decoder(python.decode_pieces, f"python: {why}", _PURE)


SAMPLE = 200  # values of each chunk of the first answer with values, to infer a schema; later rows widen it
_THREADS = min(2, os.cpu_count() or 1)  # pyarrow and the C core work without Python's lock
_AHEAD = _THREADS + 1  # answers that wait for a decoder

VALUE_KINDS = ("json", "nearly", "stream", "text")  # how values are read
TEXT_PLAN = Plan((Column("value", "value", "string"),), values="text")


@dataclass
class Planner:
    """The plan in use: fixed for a declared schema, otherwise learned from the first chunks and from wide rows."""

    plan: Plan
    sampled: bool = True

    @classmethod
    def of(
        cls, schema: Schema | None, columns: list[str] | None, values: str = "json", flat: bool = False
    ) -> "Planner":
        """The planner for a declared schema, or for one to be inferred; `values` and `flat` as in `Plan`."""
        if values not in VALUE_KINDS:
            raise LabError(f"values {values!r} is unknown", f"Use one of: {', '.join(VALUE_KINDS)}.")
        if values == "text":
            return cls(TEXT_PLAN)
        if schema is not None:
            return cls(replace(compile_plan(schema, columns), values=values, flat=flat))
        keys = None if columns is None else [name for name in columns if name not in META_NAMES]
        return cls(replace(infer.empty_plan(keys), values=values, flat=flat), sampled=False)

    def sample(self, response: Response) -> None:
        """Learn from the first values, until a response had a column: tombstones and rejects have none."""
        if not self.sampled:
            before = self.plan
            self.learn(response.sample(SAMPLE))
            self.sampled = self.plan is not before

    def learn(self, values: Iterable[bytes]) -> None:
        """Widen the plan for these values."""
        self.plan = infer.widen_plan(self.plan, values)


@dataclass(frozen=True)
class Part:
    """Decoded rows of one partition, and the plan that they follow."""

    partition: int
    plan: Plan
    decoded: Decoded


class _Task:
    """The decoding of one response in a thread, up to `budget` bytes of columns at a time."""

    def __init__(
        self, plan: Plan, response: Response, decode: Decode, budget: int | None, pool: ThreadPoolExecutor
    ) -> None:
        self.plan, self.size, self.finished = plan, 0, False
        self._response, self._budget, self._pool = response, budget, pool
        self._pieces = response.decoded(plan, decode)
        self.go_on()

    def go_on(self) -> None:
        """Decode the next pieces."""
        self._future: Future[list[tuple[int, Decoded]]] = self._pool.submit(self._decode)

    def pieces(self) -> list[tuple[int, Decoded]]:
        """The decoded pieces, when they are ready; the task keeps none of them."""
        future, self._future = self._future, Future()
        return future.result()

    def _decode(self) -> list[tuple[int, Decoded]]:
        self.size, found = 0, []
        try:
            for partition, decoded in self._pieces:
                found.append((partition, decoded))
                self.size += decoded.table.nbytes
                if self._budget is not None and self.size >= self._budget:
                    return found
            self.finished = True
        except BaseException:
            self.finished = True
            raise
        finally:
            if self.finished:
                self._response.done()
        return found


@dataclass
class Pipeline:
    """Decodes responses in threads, a few ahead, and hands out their parts in the order of the responses.

    With a `budget` (bytes of a response's columns) a response is decoded in pieces, each when the piece before has been
    handed out. The number of responses ahead then grows from none, and falls back to none with each piece that is
    larger than the budget.
    """

    planner: Planner
    decode: Decode = python.decode_pieces
    budget: int | None = None
    _running: deque[_Task] = field(default_factory=deque)
    _ahead: int = _AHEAD

    def parts(self, responses: Iterator[Response]) -> Generator[Part, None, None]:
        """One part per piece of a chunk, its rows by offset; close it to stop early."""
        self._ahead = _AHEAD if self.budget is None else 0
        with ThreadPoolExecutor(_THREADS, "decode") as pool:
            try:
                for response in responses:
                    self.planner.sample(response)
                    self._running.append(_Task(self.planner.plan, response, self.decode, self.budget, pool))
                    while len(self._running) > self._ahead:
                        yield from self._next()
                while self._running:
                    yield from self._next()
            finally:
                self._running.clear()

    def _next(self) -> Iterator[Part]:
        task = self._running.popleft()
        while True:
            found = task.pieces()
            while found:  # whatever has been handed out is not kept
                part = Part(found[0][0], task.plan, found.pop(0)[1])
                yield self._with_strays(part) if part.decoded.strays else part
                del part
            if self.budget is not None:
                self._ahead = min(_AHEAD, self._ahead + 1) if task.size <= 2 * self.budget else 0
            if task.finished:
                return
            task.go_on()

    def _with_strays(self, part: Part) -> Part:
        """The same part in a widened plan, its wide rows in their places."""
        strays, others = part.decoded.strays, part.decoded
        self.planner.learn(stray.value for stray in strays)
        plan = self.planner.plan
        columns = [[getattr(stray, name) for stray in strays] for name in ("offset", "timestamp", "key", "value")]
        found = python.decode_records(plan, part.partition, index_values(*columns), others.next_offset)
        table = pa.concat_tables([infer.cast_table(others.table, part.plan, plan), found.table])
        table = table.take(pc.sort_indices(table["offset"]))
        rejects = [*others.rejects, *found.rejects]
        return Part(part.partition, plan, replace(others, table=table, rejects=rejects, strays=[]))


REJECT_BYTES = 64 << 10  # bytes of a reject's value that are kept


@dataclass
class ResultBuilder:
    """Collects parts of any plan, and joins them into one table of the last plan."""

    parts: list[Part] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    tombstones: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    aborted: int = 0

    def add(self, part: Part) -> None:
        """Take a part; the values of its rejects are cut to `REJECT_BYTES`."""
        self.parts.append(part)
        self.rejects += [_cut(reject) for reject in part.decoded.rejects]
        self.tombstones += [(part.partition, *tombstone) for tombstone in part.decoded.tombstones]
        self.aborted += part.decoded.aborted

    def rows(self) -> int:
        """How many rows there are so far."""
        return sum(part.decoded.table.num_rows for part in self.parts)

    def table(self, plan: Plan) -> pa.Table:
        """All rows in the final plan, by partition and offset, the partition in front."""
        tables = []
        for partition in sorted({part.partition for part in self.parts}):
            mine = [p for p in self.parts if p.partition == partition and p.decoded.table.num_rows]
            table = pa.concat_tables([infer.cast_table(p.decoded.table, p.plan, plan) for p in mine] or [_empty(plan)])
            tables.append(with_partition(table, partition))
        return pa.concat_tables(tables or [with_partition(_empty(plan), 0)])


def with_partition(table: pa.Table, partition: int) -> pa.Table:
    """A decoder's table with the partition in front."""
    return table.add_column(0, "partition", [pa.array(np.full(len(table), partition, np.int32))])


def select_columns(table: pa.Table, plan: Plan, columns: Iterable[str] | None) -> pa.Table:
    """The requested columns; None: all columns but those that were only judged."""
    hidden = {column.label for column in plan.columns if not column.shown}
    wanted = set(table.schema.names) if columns is None else set(columns)
    return table.select([name for name in table.schema.names if name in wanted - hidden])


def _empty(plan: Plan) -> pa.Table:
    return table_schema(plan).empty_table()


def _cut(reject: Reject) -> Reject:
    size = len(reject.raw)
    if size <= REJECT_BYTES:
        return reject
    reason = f"{reject.reason} (the first {REJECT_BYTES} of {size} bytes are kept)"
    return Reject(reject.partition, reject.offset, reason, reject.raw[:REJECT_BYTES])
