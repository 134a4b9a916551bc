"""The positions of a chunk's records: offsets, timestamps, keys and values as arrays.

A record (KIP-98): length, attributes, timestamp delta, offset delta, key length, key, value length, value, headers;
numbers are zigzag varints. Only the lengths have to be read one after another; the rest is done for a whole chunk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streaming_lab.reader.decode.batches import BatchTooLarge, Chunk, CorruptBatch, Reject, Segment, scan_batches

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_STEP = 128 << 10  # bytes that are searched at once


@dataclass(frozen=True)
class RecordIndex:
    """Positions in `data`, an entry per record: the value is data[start:stop]; a length of -1 is a null."""

    data: bytes
    offsets: Ints
    timestamps: Ints  # ms UTC; -1 where there is none
    key_starts: Ints
    key_lengths: Ints
    starts: Ints
    lengths: Ints

    def __len__(self) -> int:
        return len(self.offsets)

    def where(self, wanted: Flags) -> "RecordIndex":
        """The wanted records; the same object if all are wanted."""
        if wanted.all():
            return self
        columns = (self.offsets, self.timestamps, self.key_starts, self.key_lengths, self.starts, self.lengths)
        return RecordIndex(self.data, *(column[wanted] for column in columns))

    def value(self, row: int) -> bytes:
        """The bytes of a value that is not null."""
        start = self.starts[row]
        return self.data[start : start + self.lengths[row]]

    def keys(self) -> pa.Array:
        """The keys as an Arrow binary array."""
        if (self.key_lengths < 0).all():
            return pa.nulls(len(self), pa.binary())
        lengths = np.maximum(self.key_lengths, 0)
        ends = np.zeros(len(self) + 1, np.int32)
        np.cumsum(lengths, out=ends[1:])
        places = np.repeat(self.key_starts - ends[:-1], lengths) + np.arange(ends[-1])
        text = np.frombuffer(self.data, np.uint8)[places]
        valid = np.packbits(self.key_lengths >= 0, bitorder="little")
        return pa.Array.from_buffers(pa.binary(), len(self), [pa.py_buffer(b) for b in (valid, ends, text)])

    def values(self, most: int) -> list[bytes]:
        """The first values, without tombstones."""
        return [self.value(int(row)) for row in np.flatnonzero(self.lengths >= 0)[:most]]

    def meta(self) -> list[pa.Array]:
        """Offset, timestamp and key as Arrow arrays."""
        return [pa.array(self.offsets), pa.array(self.timestamps).cast(pa.timestamp("ms", "UTC")), self.keys()]


@dataclass(frozen=True)
class IndexedRecords:
    """The wanted records of a chunk, how many more were aborted, and where the next chunk begins."""

    records: RecordIndex
    aborted: int
    next_offset: int
    rejects: list[Reject] = field(default_factory=list)  # batches that inflate too far


class Piece(NamedTuple):
    """Decompressed batches of a chunk that are decoded together, and where the next piece begins.

    `aborted` counts the whole chunk's aborted records, in the chunk's last piece.
    """

    segments: list[Segment]
    rejects: list[Reject]
    aborted: int
    next_offset: int


def inflate_pieces(chunk: Chunk) -> Iterator[Piece]:
    """The chunk's batches, decompressed one after another, in pieces of about `chunk.bounds.piece` bytes."""
    opened, bounds = scan_batches(chunk), chunk.bounds
    segments: list[Segment] = []
    rejects: list[Reject] = []
    size = 0
    for segment in opened.segments:
        if bounds.piece is not None and size >= bounds.piece:
            yield Piece(segments, rejects, 0, segment.base_offset)
            segments, rejects, size = [], [], 0
        try:
            segments.append(segment.inflated(bounds.batch))
            size += segments[-1].stop - segments[-1].start
        except BatchTooLarge as error:
            if not bounds.skip:
                raise
            reason = error.problem.partition(": ")[2]
            rejects.append(Reject(chunk.partition, max(segment.base_offset, chunk.start), reason, b""))
    yield Piece(segments, rejects, opened.aborted, opened.next_offset)


def index_records(chunk: Chunk) -> IndexedRecords:
    """Index the wanted records of a whole chunk; raises what `scan_batches` raises, and `CorruptBatch`."""
    (found,) = index_pieces(replace(chunk, bounds=replace(chunk.bounds, piece=None)))
    return found


def index_pieces(chunk: Chunk) -> Iterator[IndexedRecords]:
    """Index the wanted records of a chunk in pieces of about `chunk.bounds.piece` decompressed bytes."""
    for piece in inflate_pieces(chunk):
        yield _index(chunk, piece)


def _index(chunk: Chunk, piece: Piece) -> IndexedRecords:
    data, segments = _one_buffer(chunk, piece.segments)
    ats = _all_starts(data, segments, chunk.partition)
    try:
        records = _fields(data, segments, ats)
    except (IndexError, ValueError) as error:
        first = segments[0].base_offset
        raise CorruptBatch(chunk.partition, first, f"a record's lengths do not fit ({error})") from error
    wanted = (records.offsets >= chunk.start) & (records.offsets < chunk.end)
    return IndexedRecords(records.where(wanted), piece.aborted, piece.next_offset, piece.rejects)


def index_values(
    offsets: Sequence[int],
    timestamps: Sequence[int | None],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
) -> RecordIndex:
    """The index of records that a consumer has taken apart; message format v0 has no timestamps."""
    times = [-1 if time is None else time for time in timestamps]
    texts = [text for pair in zip(keys, values, strict=True) for text in pair]
    lengths = np.array([-1 if text is None else len(text) for text in texts], np.int64)
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.maximum(lengths, 0) + 1, out=starts[1:])  # a byte in between, as there is in a batch
    data = b"\n".join(text or b"" for text in texts) + b"\n"
    rows = slice(0, None, 2), slice(1, None, 2)
    parts = [part[row] for row in rows for part in (starts[:-1], lengths)]
    return RecordIndex(data, np.array(offsets, np.int64), np.array(times, np.int64), *parts)


def _one_buffer(chunk: Chunk, segments: list[Segment]) -> tuple[bytes, list[Segment]]:
    """The bytes of all segments in one object, and the segments in its positions."""
    if chunk.bounds.piece is None and all(segment.data is chunk.data for segment in segments):
        return bytes(chunk.data), segments
    moved, size = [], 0
    for segment in segments:
        length = segment.stop - segment.start
        moved.append(segment._replace(start=size, stop=size + length))
        size += length
    return b"".join(segment.data[segment.start : segment.stop] for segment in segments), moved


def _all_starts(data: bytes, segments: list[Segment], partition: int) -> Ints:
    """The position after each record's length, in all segments; raises `CorruptBatch`.

    Most values end in a brace, and most records have no headers, which is a 0 behind it: there the next record is
    looked for. Where each length leads to the next of these places, they are the records; else the lengths are walked.
    """
    if len(segments):
        found = _guessed_starts(np.frombuffer(data, np.uint8), segments)
        if found is not None:
            return found
    ats: list[int] = []
    for segment in segments:
        _record_starts(data, segment, partition, ats)
    return np.array(ats, np.int64)


def _guessed_starts(view: npt.NDArray[np.uint8], segments: list[Segment]) -> Ints | None:
    guesses = np.concatenate([_behind_braces(view, at) for at in range(0, len(view) or 1, _STEP)])
    first, stop, count = np.array([(each.start, each.stop, each.records) for each in segments], np.int64).T
    low, high = np.searchsorted(guesses, first, "right"), np.searchsorted(guesses, stop, "right")
    if not np.array_equal(high - low, count) or not np.array_equal(guesses[high - 1], stop):
        return None
    ends = guesses[np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum())]
    starts = np.append(0, ends[:-1])
    starts[np.cumsum(count) - count] = first
    try:
        lengths, ats = read_varints(view, starts)
    except (IndexError, ValueError):
        return None
    return ats if np.array_equal(ats + lengths, ends) else None


def _behind_braces(view: npt.NDArray[np.uint8], at: int) -> Ints:
    """The places behind a brace and a 0 in the step that begins at `at`: small enough to stay in the cache."""
    brace, zero = view[at : at + _STEP], view[at + 1 : at + _STEP + 1]
    return np.flatnonzero((brace[: len(zero)] == ord("}")) & (zero == 0)) + (at + 2)


def _record_starts(data: bytes, segment: Segment, partition: int, ats: list[int]) -> None:
    """Append the position after each record's length; the records must fill the batch exactly."""
    at, found = segment.start, ats.append
    try:
        for _ in range(segment.records):
            length = data[at]
            at += 1
            if length & 0x80:  # two bytes hold 8191, which most records need
                high = data[at]
                at += 1
                length = length & 0x7F | (high & 0x7F) << 7
                shift = 14
                while high & 0x80:
                    high = data[at]
                    at += 1
                    length |= (high & 0x7F) << shift
                    shift += 7
            found(at)
            at += length >> 1
    except IndexError:
        at = -1
    if at != segment.stop:
        raise CorruptBatch(partition, segment.base_offset, "its records do not fill it")


def _fields(data: bytes, segments: list[Segment], at: Ints) -> RecordIndex:
    counts = np.array([segment.records for segment in segments], np.int64)
    view = np.frombuffer(data, np.uint8)
    ends = np.append(at[1:], 0)  # no record reaches past the place where the next one's fields begin
    if len(segments):
        ends[np.cumsum(counts) - 1] = [segment.stop for segment in segments]
    times, at = read_varints(view, at + 1)
    deltas, at = read_varints(view, at)
    key_lengths, key_starts = read_varints(view, at)
    lengths, starts = read_varints(view, key_starts + np.maximum(key_lengths, 0))
    if (key_lengths < -1).any() or (lengths < -1).any() or (starts + np.maximum(lengths, 0) >= ends).any():
        raise ValueError("a key or value reaches out of its record")
    base = np.array([segment.base_offset for segment in segments], np.int64)
    return RecordIndex(
        data,
        np.repeat(base, counts) + deltas,
        _times(segments, counts, times),
        key_starts,
        key_lengths,
        starts,
        lengths,
    )


def _times(segments: list[Segment], counts: Ints, deltas: Ints) -> Ints:
    base = [s.base_timestamp if s.append_time is None else s.append_time for s in segments]
    created = [s.append_time is None for s in segments]
    times: Ints = np.repeat(np.array(base, np.int64), counts) + np.where(np.repeat(created, counts), deltas, 0)
    return times


def read_varints(view: npt.NDArray[np.uint8], at: Ints) -> tuple[Ints, Ints]:
    """The zigzag varint at each position, and the positions after them."""
    if not len(at):
        return at, at
    if at.min() < 0:
        raise ValueError("a negative place")
    byte = view[at].astype(np.int64)
    value, at = byte & 0x7F, at + 1
    more, shift = np.flatnonzero(byte & 0x80), 7
    while len(more):
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
        byte = view[at[more]].astype(np.int64)
        value[more] |= (byte & 0x7F) << shift
        at[more] += 1
        more, shift = more[(byte & 0x80) != 0], shift + 7
    return (value >> 1) & 0x7FFF_FFFF_FFFF_FFFF ^ -(value & 1), at
