"""From works to decoded parts in order, decoded in threads; a schema that is not declared is learned on the way."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from streaming_lab.stream import decode, infer
from streaming_lab.stream.chunk import Decode, Decoded
from streaming_lab.stream.reading import Work
from streaming_lab.stream.records import from_values
from streaming_lab.stream.schema import META, Plan, Schema, compile_plan

SAMPLE = 200  # values of each chunk of the first answer that has any, to infer a schema; later news widens it
_THREADS = min(2, os.cpu_count() or 1)  # pyarrow and the C core work without Python's lock
_AHEAD = _THREADS + 1  # answers that wait for a decoder


@dataclass
class Planner:
    """The plan in use: fixed for a declared schema, learned from the first chunks and from strays without one."""

    plan: Plan
    sampled: bool = True

    @classmethod
    def of(cls, schema: Schema | None, columns: list[str] | None) -> "Planner":
        if schema is not None:
            return cls(compile_plan(schema, columns))
        keys = None if columns is None else [name for name in columns if name not in META]
        return cls(infer.start(keys), sampled=False)

    def sample(self, work: Work) -> None:
        """Look at the first values, until some have taught a column: tombstones and rejects teach none."""
        if not self.sampled:
            before = self.plan
            self.learn(work.sample(SAMPLE))
            self.sampled = self.plan is not before

    def learn(self, values: Iterable[bytes]) -> None:
        """Make room for these values."""
        self.plan = infer.widened(self.plan, values)


@dataclass(frozen=True)
class Part:
    """Decoded rows of one partition, and the plan that they follow."""

    partition: int
    plan: Plan
    decoded: Decoded


@dataclass
class Pipeline:
    """Decodes works in threads, at most a few ahead, and hands out their parts in the order of the works."""

    planner: Planner
    decode: Decode = decode.decode_chunk
    _running: deque[tuple[Plan, Future[list[tuple[int, Decoded]]]]] = field(default_factory=deque)

    def parts(self, works: Iterator[Work]) -> Generator[Part, None, None]:
        """One part per chunk, its rows by offset; close it to stop early."""
        with ThreadPoolExecutor(_THREADS, "decode") as pool:
            try:
                for work in works:
                    self.planner.sample(work)
                    plan = self.planner.plan
                    self._running.append((plan, pool.submit(_decoded, work, plan, self.decode)))
                    if len(self._running) > _AHEAD:
                        yield from self._next()
                while self._running:
                    yield from self._next()
            finally:
                self._running.clear()

    def _next(self) -> Iterator[Part]:
        plan, future = self._running.popleft()
        for partition, decoded in future.result():
            part = Part(partition, plan, decoded)
            yield self._with_strays(part) if decoded.strays else part

    def _with_strays(self, part: Part) -> Part:
        """The same part in a plan that has room for its strays, and those as rows in their places."""
        strays, others = part.decoded.strays, part.decoded
        self.planner.learn(stray.value for stray in strays)
        plan = self.planner.plan
        columns = [[getattr(stray, name) for stray in strays] for name in ("offset", "timestamp", "key", "value")]
        found = decode.decode_records(plan, part.partition, from_values(*columns), others.next_offset)
        table = pa.concat_tables([infer.cast(others.table, part.plan, plan), found.table])
        table = table.take(pc.sort_indices(table["offset"]))
        rejects = [*others.rejects, *found.rejects]
        return Part(part.partition, plan, replace(others, table=table, rejects=rejects, strays=[]))


def _decoded(work: Work, plan: Plan, decoder: Decode) -> list[tuple[int, Decoded]]:
    try:
        return work.decoded(plan, decoder)
    finally:
        work.done()
