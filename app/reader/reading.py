"""Reading a topic into frames: `read_topic`.

A read takes a range of offsets per partition, by default from the beginning to the end at the start of the read. A read
needs no consumer group and commits nothing; it reads the whole range, or raises an error that names what is missing.
"""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from streaming_lab.client.connection import Connection
from streaming_lab.client.metadata import Ranges
from streaming_lab.errors import LabError
from streaming_lab.reader.advice import is_text
from streaming_lab.reader.decode.schema import Schema
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource, Response
from streaming_lab.reader.frames import FoundHeaders, TopicFrame, build_frames
from streaming_lab.reader.pipeline import TEXT_PLAN, Decoder, Part, Pipeline, Planner, ResultBuilder, select_decoder
from streaming_lab.reader.stream import split_stream


@dataclass
class _HeaderWatch:
    """Passes responses on, and keeps the headers of their records."""

    source: RecordSource
    found: FoundHeaders = field(default_factory=dict)

    @property
    def ranges(self) -> Ranges:
        return self.source.ranges

    def responses(self, ranges: Ranges, **settings: Any) -> Generator[Response, None, None]:
        for response in self.source.responses(ranges, **settings):
            self.found |= {(partition, offset): headers for partition, offset, headers in response.headers()}
            yield response


_LIMITED = 256 << 10  # bytes of one fetch when only the first rows are wanted


def read_topic(
    connection: Connection,
    topic: str,
    schema: Schema | None = None,
    *,
    columns: Iterable[str] | None = None,
    limit: int | None = None,
    decoder: str = "auto",
    values: str = "json",
    flat: bool = False,
    headers: bool = False,
    **wanted: Any,
) -> TopicFrame:
    """The topic's records as a `TopicFrame`: `events`, `rejects`, `tombstones` and the `ranges` that they cover.

    `schema` gives columns and types; without one they are inferred (see `infer`). `columns` narrows what is decoded:
    only these and the required ones are judged. `limit` ends the read, and its ranges, at that many events, partition
    by partition. `ranges` (partition -> [start, end)) says what to read, or `start` and `end`: an offset, one per
    partition, or an aware datetime. `isolation` is read_uncommitted or read_committed, `timeout` the seconds for all of
    it (60). `decoder` is auto, native or python. A record batch that inflates to more than `batch_limit` bytes (256 MB)
    is the error `BatchTooLarge`, or with oversized="reject" one reject for the whole batch.

    `values`: "json" is an object per value; a topic that holds nothing but text is read as "text": a column `value`.
    "nearly" mends Python's repr, JSON encoded twice, commas too many, bare keys, NaN (as null) and Latin-1. "stream"
    joins the values of a partition, as where a JSON array was fed line by line. `flat` gives each field of a nested
    object a column with a dotted name. `headers` adds a column of (name, bytes or None) pairs; names may repeat.

    Raises `UnknownTopic`, `BrokerUnavailable`, `AccessDenied`, `ReadTimeout`, `OffsetOutOfRange` or `CorruptBatch`,
    each with what is missing.
    """
    columns = None if columns is None else list(columns)
    options = _Options(schema, columns, limit, decoder, values, flat, headers)
    with RecordSource(ReadRequest(connection, topic, **wanted)) as source:
        found, notes = options.gather(source), source.notes
        if options.undeclared and found.holds_text():
            notes = (*notes, f"topic {topic!r} holds text, no JSON: column value has it")
            found = replace(options, values="text").gather(source)
    return found.frames(options.columns, notes)  # the source is closed: its buffers are free before columns are made


@dataclass(frozen=True)
class _Gathered:
    """What one reading of a source came to, before it becomes frames."""

    built: ResultBuilder
    planner: Planner
    ranges: Ranges
    decoder: str
    headers: FoundHeaders | None

    def holds_text(self) -> bool:
        """Are there values, and is every one text that was never meant to be JSON?"""
        return not self.built.rows() and is_text(reject.raw for reject in self.built.rejects)

    def frames(self, columns: list[str] | None, notes: tuple[str, ...]) -> TopicFrame:
        """The frames; what was gathered is gone afterwards."""
        return build_frames(self.built, self.planner.plan, self.ranges, self.decoder, columns, notes, self.headers)


@dataclass(frozen=True)
class _Options:
    """How the records of a source become frames: the arguments of `read_topic`."""

    schema: Schema | None
    columns: list[str] | None
    limit: int | None
    decoder: str
    values: str
    flat: bool
    headers: bool

    def __post_init__(self) -> None:
        self.chosen()
        if self.values == "text" and self.flat:
            raise LabError("flat=True is for JSON, and values='text' reads none", "Leave one of the two away.")
        if self.values == "text" and self.schema is not None:
            raise LabError("values='text' reads no JSON, so it takes no schema", "Leave one of the two away.")
        if self.values == "stream" and self.limit is not None:
            raise LabError("values='stream' reads whole partitions, so it takes no limit", "Use ranges, start or end.")

    @property
    def undeclared(self) -> bool:
        """Was nothing said about what the values are?"""
        return self.schema is None and self.columns is None and self.values == "json" and not self.flat

    def chosen(self) -> Decoder:
        """The decoder for these options."""
        only_python = "text" if self.values in ("text", "stream") else "flat=True" if self.flat else ""
        return select_decoder(self.decoder, only_python)

    def gather(self, source: RecordSource) -> _Gathered:
        """Read the source's ranges once."""
        gathered, watched = ResultBuilder(), _HeaderWatch(source)
        origin = watched if self.headers else source
        chosen = self.chosen()
        planner = Planner.of(self.schema, self.columns, self.values, self.flat)
        if self.values == "stream":
            parts = list(Pipeline(Planner(TEXT_PLAN), chosen.decode).parts(origin.responses(source.ranges)))
            ranges, produced = source.ranges, split_stream(parts, planner)
            for part in produced:
                gathered.add(part)
        elif self.limit is None:
            ranges = source.ranges
            for part in Pipeline(planner, chosen.decode).parts(origin.responses(ranges, answer=chosen.answer)):
                gathered.add(part)
        else:
            ranges = _LimitedRead(origin, Pipeline(planner, chosen.decode), gathered, self.limit).read()
        found = watched.found if self.headers else None
        return _Gathered(gathered, planner, ranges, source.decoder or chosen.name, found)


@dataclass
class _LimitedRead:
    """A read that ends with the last of the `missing` events."""

    source: RecordSource | _HeaderWatch
    pipeline: Pipeline
    gathered: ResultBuilder
    missing: int

    def read(self) -> Ranges:
        """Read one partition after another; the ranges that were covered."""
        covered = {}
        for partition, (start, end) in self.source.ranges.items():
            at = max(start, min(end, start + self.missing))  # far enough where every offset is an event
            self._all(partition, start, at)
            covered[partition] = start, self._further(partition, at, end) if self.missing > 0 else at
        return covered

    def _further(self, partition: int, at: int, end: int) -> int:
        """Search on for the last missing event; the offset behind that event, or `end` if there are too few."""
        responses = self.source.responses({partition: (at, end)}, answer=_LIMITED)
        with closing(responses), closing(self.pipeline.parts(responses)) as parts:
            for part in parts:
                if part.decoded.table.num_rows >= self.missing:
                    end = part.decoded.table["offset"][self.missing - 1].as_py() + 1
                    break
                self._add(part)
                at = part.decoded.next_offset
            else:
                return end
        self._all(partition, at, end)  # that chunk once more, without the records behind the last event
        return end

    def _all(self, partition: int, start: int, end: int) -> None:
        for part in self.pipeline.parts(self.source.responses({partition: (start, end)}, answer=_LIMITED)):
            self._add(part)

    def _add(self, part: Part) -> None:
        self.gathered.add(part)
        self.missing -= part.decoded.table.num_rows
