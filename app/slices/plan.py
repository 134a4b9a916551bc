"""Slices of a topic: planned once from its end offsets and the size of its records, before anything is read."""

import math
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from streaming_lab import settings
from streaming_lab.client.client_properties import connection_named
from streaming_lab.client.metadata import Ranges
from streaming_lab.errors import LabError
from streaming_lab.reader.decode.batches import complete_prefix
from streaming_lab.reader.decode.codecs import format_bytes
from streaming_lab.reader.decode.schema import Plan, Schema
from streaming_lab.reader.fetch.consumer import PolledBatch
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource, Response
from streaming_lab.reader.pipeline import SAMPLE, Planner, select_decoder
from streaming_lab.wording import counted

SLICE_BYTES = 64 << 20  # bytes of a slice's columns, by the sample; a worker holds about three times as many
PER_WORKER = 3  # the fewest slices for each worker, so that a slow one does not decide the end
WHOLE_FRAME = 2.7  # times the bytes of its columns that a DataFrame takes while it is made
LEAST_OFFSETS = 1000  # of a slice that is made for the sake of more workers
_SAMPLED_OFFSETS = 20_000  # over all partitions
_SAMPLED_BYTES = 256 << 10  # of one answer


@dataclass(frozen=True)
class Slice:
    """Offsets [start, end) of one partition, and how they are read. Pickles; no password is in here.

    `topic_id` is empty where brokers do not tell it. `plan` has the columns and types, fixed for all slices;
    `columns` are those wanted of it (None: all).
    """

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int
    isolation: str
    plan: Plan
    columns: tuple[str, ...] | None = None

    @property
    def place(self) -> tuple[int, int, int]:
        """Partition, start and end."""
        return self.partition, self.start, self.end

    def __str__(self) -> str:
        return f"topic {self.topic!r}, partition {self.partition}, offsets [{self.start}, {self.end})"


@dataclass(frozen=True)
class SlicePlan:
    """The slices of a topic, in the order of partition and offset, and what the sample tells of all of them.

    `offsets` are those of the ranges, `stored` and `decoded` about how many bytes they have in the log and as columns.
    """

    slices: tuple[Slice, ...]
    ranges: Ranges
    partitions: int
    offsets: int
    stored: int
    decoded: int

    def refuse_beyond(self, memory: int) -> None:
        """Raise a `LabError` if one frame of all slices takes more memory than `memory` bytes; nothing was read yet."""
        needed = int(WHOLE_FRAME * self.decoded)
        if needed > memory:
            raise LabError(
                f"topic {self.slices[0].topic!r} would take about {format_bytes(needed)} as one DataFrame "
                f"({counted(self.offsets, 'offset')}, {format_bytes(self.stored)} in the log), and "
                f"{format_bytes(memory)} may be used",
                "Read it in slices: -p engine processes or -p engine dask; or read less (ranges, columns, limit); or "
                "set LAB_MEMORY to the memory that it may take, as 8g.",
            )


def memory_budget() -> int:
    """Bytes that one DataFrame may take: `LAB_MEMORY`, otherwise half of what this machine or container has free."""
    if (given := settings.FRAME_MEMORY.get()) is not None:
        return given
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return max(0, free // 2)


def plan_slices(
    brokers: str,
    topic: str,
    schema: Schema | None = None,
    *,
    columns: Iterable[str] | None = None,
    ranges: Ranges | None = None,
    isolation: str = "read_uncommitted",
    workers: int = 2,
    offsets: int | None = None,
    timeout: float = 60.0,
) -> SlicePlan:
    """The slices of a topic up to its end offsets now (with read_committed: up to the last stable ones).

    `brokers` is host:port[,host:port] or a client properties file, as `-p cluster` takes it. Without a `schema` the
    columns are inferred from the first values of each partition. A slice has about `SLICE_BYTES` of columns, or fewer,
    so that each of `workers` gets three; `offsets` says how many offsets a slice has instead. No slice crosses a
    partition. Raises what `read_topic` raises.
    """
    names = None if columns is None else tuple(columns)
    request = ReadRequest(connection_named(brokers), topic, ranges, isolation=isolation, timeout=timeout)
    with RecordSource(request) as source:
        planner = Planner.of(schema, None if names is None else list(names))
        stored, decoded = _sample(source, planner, learn=schema is None)
        every, topic_id = len(source.all_partitions()), source.topic_id()
        covered = source.ranges
    total = sum(end - start for start, end in covered.values())
    step = offsets or _step(total, decoded, workers)
    empty = Slice(topic, "" if topic_id is None else str(topic_id), 0, 0, 0, isolation, planner.plan, names)
    slices = tuple(
        replace(empty, partition=partition, start=at, end=stop)
        for partition, (start, end) in covered.items()
        for at, stop in _cut(start, end, step)
    )
    return SlicePlan(slices, covered, every, total, math.ceil(total * stored), math.ceil(total * decoded))


def _sample(source: RecordSource, planner: Planner, learn: bool) -> tuple[float, float]:
    """Bytes per offset in the log and as columns, from the first records of each partition; the planner learns."""
    most = max(50, _SAMPLED_OFFSETS // max(1, len(source.ranges)))
    heads = {p: (start, min(end, start + most)) for p, (start, end) in source.ranges.items()}
    decode = select_decoder("auto").decode
    stored = taken = decoded = rows = 0
    for response in source.responses(heads, answer=_SAMPLED_BYTES):
        if learn:
            planner.learn(response.sample(SAMPLE))
        held, covers = _extent(response)
        stored, taken = stored + held, taken + covers
        for _, found in response.decoded(planner.plan, decode):
            decoded, rows = decoded + found.table.nbytes, rows + found.table.num_rows
        response.done()
    return stored / max(1, taken), decoded / max(1, rows)


def _extent(response: Response) -> tuple[int, int]:
    """The bytes of an answer's whole batches as they are stored, and how many offsets these cover."""
    if isinstance(response, PolledBatch):  # no batches there: keys and values
        records = response.records
        return int(records.key_lengths.clip(min=0).sum() + records.lengths.clip(min=0).sum()), len(records)
    ends = [(chunk, *complete_prefix(chunk.partition, chunk.data, chunk.start)[:2]) for chunk in response.chunks]
    return sum(size for _, size, _ in ends), sum(end - chunk.start for chunk, _, end in ends)


def _step(total: int, width: float, workers: int) -> int:
    """Offsets of a slice: as many as `SLICE_BYTES` hold, or fewer where the workers would wait for each other."""
    by_size = SLICE_BYTES / max(1.0, width)
    return max(1, int(min(by_size, max(LEAST_OFFSETS, total / (PER_WORKER * workers)))))


def _cut(start: int, end: int, step: int) -> Iterator[tuple[int, int]]:
    """[start, end) in pieces of nearly the same size, none larger than `step`."""
    pieces = math.ceil((end - start) / step)
    bounds = [start + (end - start) * n // pieces for n in range(pieces)] + [end] if pieces else []
    return pairwise(bounds)


def same_topic(found: uuid.UUID | None, piece: Slice) -> bool:
    """Is the topic still the one that was planned? Yes where brokers do not tell ids."""
    return found is None or not piece.topic_id or str(found) == piece.topic_id
