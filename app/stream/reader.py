"""Topic to DataFrame: one function, one result, whichever way the bytes came.

A read takes a range of offsets per partition, by default from the beginning to the end as it was at the start. It needs
no group and commits nothing; it reads all of the range, or raises naming what is missing.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from streaming_lab.client.connection import Connection
from streaming_lab.client.topics import Ranges
from streaming_lab.stream import choice
from streaming_lab.stream.frames import TopicFrame, build
from streaming_lab.stream.gathered import Gathered
from streaming_lab.stream.pipeline import Part, Pipeline, Planner
from streaming_lab.stream.reading import Reading
from streaming_lab.stream.request import Request
from streaming_lab.stream.schema import Schema

_LIMITED = 256 << 10  # bytes at once when only the first rows are wanted


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
    chosen = choice.of(decoder)
    with Reading(Request(connection, topic, **wanted)) as reading:
        pipeline = Pipeline(Planner.of(schema, columns), chosen.decode)
        gathered, ranges = Gathered(), reading.ranges
        if limit is None:
            for part in pipeline.parts(reading.works(ranges, answer=chosen.answer)):
                gathered.add(part)
        else:
            ranges = _Limited(reading, pipeline, gathered, limit).read()
        return build(gathered, pipeline.planner.plan, ranges, reading.decoder or chosen.name, columns)


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
