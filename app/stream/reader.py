"""Topic to DataFrame: one function, one result, whichever way the bytes came.

A read takes a range of offsets per partition, by default from the beginning to the end as it was at the start. It needs
no group and commits nothing; it reads all of the range, or raises naming what is missing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from app.errors import LabError
from app.stream import decode, native
from app.stream.chunk import Decode, Decoded
from app.stream.connection import Connection
from app.stream.fetch import ANSWER
from app.stream.frames import Gathered, TopicFrame, build, narrowed, placed
from app.stream.pipeline import Part, Pipeline, Planner
from app.stream.reading import Reading
from app.stream.request import Request
from app.stream.schema import Schema
from app.stream.topics import Ranges

_LIMITED = 256 << 10  # bytes at once when only the first rows are wanted
_LEAST = 64 << 10
_PURE = ANSWER // 2  # pyarrow's JSON parser takes several times a chunk while it works
_COPIES = 12  # an answer's inflated bytes are about that often in memory: answers ahead, their columns, work space


def read_topic(
    connection: Connection,
    topic: str,
    schema: Schema | None = None,
    *,
    columns: Iterable[str] | None = None,
    limit: int | None = None,
    decoder: str = "auto",
    **wanted: Any,
) -> TopicFrame:
    """The topic's records as a `TopicFrame`: `events`, `rejects`, `tombstones` and the ranges that they cover.

    `schema` gives columns and types; without one they are inferred (see `infer`). `columns` narrows what is decoded:
    only these and the required ones are judged. `limit` ends the read, and its ranges, at that many events, partition
    by partition. `ranges` (partition -> [start, end)) says what to read, or `start` and `end`: an offset, one per
    partition, or an aware datetime. `isolation` is read_uncommitted or read_committed, `timeout` the seconds for all of
    it (60). `decoder` is auto, native or python.

    Raises `TopicMissing`, `BrokerGone`, `ReadTimeout`, `OffsetsGone` or `CorruptBatch`, each naming what is missing.
    """
    columns = None if columns is None else list(columns)
    chosen = _decoder(decoder)
    with Reading(Request(connection, topic, **wanted)) as reading:
        pipeline = Pipeline(Planner.of(schema, columns), chosen.decode)
        gathered, ranges = Gathered(), reading.ranges
        if limit is None:
            for part in pipeline.parts(reading.works(ranges, answer=chosen.answer)):
                gathered.add(part)
        else:
            ranges = _Limited(reading, pipeline, gathered, limit).read()
        return build(gathered, pipeline.planner.plan, ranges, reading.decoder or chosen.name, columns)


def read_batches(
    connection: Connection,
    topic: str,
    schema: Schema | None = None,
    *,
    memory: int = 64 << 20,
    aside: Callable[[int, Decoded], None] | None = None,
    columns: Iterable[str] | None = None,
    decoder: str = "auto",
    **wanted: Any,
) -> Iterator[pa.Table]:
    """The same rows as Arrow tables, one after another, for a topic that is larger than memory.

    All that is in flight at a time takes about `memory` bytes, unless a single record batch is larger. How far a codec
    inflates is learned from the answers that come, so one takes more that inflates much further than those before it,
    or the first one by more than 50. Through the consumer (TLS, SASL) kafka-python's own buffers come on top: up to
    50 MB as the brokers have them.

    Tables come in each partition's order, with the partition in front; without a schema, later ones may have more or
    wider columns.
    `aside(partition, decoded)` gets the rejects and tombstones as they come; without it, a reject raises a `LabError`
    and tombstones are passed over in silence.
    """
    columns = None if columns is None else list(columns)
    answer = min(ANSWER, max(memory // _COPIES, _LEAST))
    with Reading(Request(connection, topic, **wanted)) as reading:
        pipeline = Pipeline(Planner.of(schema, columns), _decoder(decoder).decode)
        for part in pipeline.parts(reading.works(reading.ranges, answer=answer, inflated=True)):
            _set_aside(part, aside)
            if part.decoded.table.num_rows:
                yield narrowed(placed(part.decoded.table, part.partition), part.plan, columns)


def read_text(connection: Connection, topic: str, *, ranges: Ranges | None = None, timeout: float = 60.0) -> list[str]:
    """The values as lines of text, by partition and offset, as kcat prints them; bytes that are not UTF-8 as \\xNN."""
    lines: dict[int, list[str]] = {}
    with Reading(Request(connection, topic, ranges, timeout=timeout)) as reading:
        for work in reading.works(reading.ranges):
            for partition, walked in work.walked():
                values = walked.records.values(len(walked.records))
                lines.setdefault(partition, []).extend(value.decode(errors="backslashreplace") for value in values)
            work.done()
    return [line for partition in sorted(lines) for line in lines[partition]]


class _Decoder(NamedTuple):
    decode: Decode
    name: str  # what the result says about it
    answer: int  # bytes at once that serve it best


def _decoder(name: str) -> _Decoder:
    if name not in ("auto", "native", "python"):
        raise LabError(f"decoder {name!r} is unknown", "Use auto, native or python.")
    if name != "python" and native.available():
        return _Decoder(native.decode_chunk, "native", ANSWER)
    if name == "native":
        raise LabError(f"the native decoder is not there: {native.status()}", "Use decoder='auto'.")
    why = "asked for" if name == "python" else native.status()
    return _Decoder(decode.decode_chunk, f"python: {why}", _PURE)


def _set_aside(part: Part, aside: Callable[[int, Decoded], None] | None) -> None:
    if aside is not None and (part.decoded.rejects or part.decoded.tombstones):
        aside(part.partition, part.decoded)
    elif part.decoded.rejects:
        first = part.decoded.rejects[0]
        raise LabError(
            f"partition {first.partition}, offset {first.offset} is no row: {first.reason}",
            "Pass `aside` to get such records and read on.",
        )


@dataclass
class _Limited:
    """A read that ends with the last of so many events that are `missing`."""

    reading: Reading
    pipeline: Pipeline
    gathered: Gathered
    missing: int

    def read(self) -> Ranges:
        """One partition after another; the ranges that this covered."""
        covered = {}
        for partition, (start, end) in self.reading.ranges.items():
            at = max(start, min(end, start + self.missing))  # far enough where every offset is an event
            self._all(partition, start, at)
            covered[partition] = start, self._further(partition, at, end) if self.missing > 0 else at
        return covered

    def _further(self, partition: int, at: int, end: int) -> int:
        """Look on for the last event that is missing; the offset behind it, or `end` if there are too few."""
        works = self.reading.works({partition: (at, end)}, answer=_LIMITED)
        with closing(works), closing(self.pipeline.parts(works)) as parts:
            for part in parts:
                if part.decoded.table.num_rows >= self.missing:
                    end = part.decoded.table["offset"][self.missing - 1].as_py() + 1
                    break
                self._add(part)
                at = part.decoded.next_offset
            else:
                return end
        self._all(partition, at, end)  # that chunk once more, without anything of what lies behind
        return end

    def _all(self, partition: int, start: int, end: int) -> None:
        for part in self.pipeline.parts(self.reading.works({partition: (start, end)}, answer=_LIMITED)):
            self._add(part)

    def _add(self, part: Part) -> None:
        self.gathered.add(part)
        self.missing -= part.decoded.table.num_rows
