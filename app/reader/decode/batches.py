"""Record batches (message format v2, KIP-98): headers, checksums, codecs, transactions; the decoders read the records.

Source: Kafka's documentation, "Message Format"; https://kafka.apache.org/documentation/#recordbatch.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from streaming_lab.errors import LabError
from streaming_lab.reader.decode.codecs import (
    INFLATED_LIMIT,
    NO_PIECES,
    NOT_INFLATED,
    Bounds,
    InflatesTooFar,
    format_bytes,
    inflate,
)
from streaming_lab.reader.decode.schema import Plan


@dataclass(frozen=True)
class Chunk:
    """Bytes of one partition from a Fetch answer: whole record batches, the last one perhaps cut off.

    Records with offsets in [start, end) are wanted. `aborted` is the answer's list of (producer id, first offset);
    it counts only when `committed`. `data` is valid only until the decoder returns.
    """

    partition: int
    start: int
    end: int
    data: memoryview
    aborted: tuple[tuple[int, int], ...] = ()
    committed: bool = False
    bounds: Bounds = NO_PIECES


@dataclass(frozen=True)
class Reject:
    """A record, or a batch that inflates too far, that is no row: its place, the reason, and its bytes."""

    partition: int
    offset: int
    reason: str
    raw: bytes


@dataclass(frozen=True)
class WideRow:
    """A record whose JSON needs a wider schema than the inferred one; `timestamp` is in ms UTC."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes


@dataclass(frozen=True)
class Decoded:
    """One decoded chunk: its rows (see `schema.table_schema`), and every record that is no row.

    `aborted` counts the wanted records of aborted transactions; the next chunk begins at `next_offset`.
    """

    table: pa.Table
    next_offset: int
    rejects: list[Reject] = field(default_factory=list)
    tombstones: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset, key
    strays: list[WideRow] = field(default_factory=list)
    aborted: int = 0


Decode: TypeAlias = Callable[[Plan, Chunk], Iterator[Decoded]]  # a piece at a time; `python` and `native` have one each


# base offset, batch length, leader epoch, magic, crc, attributes, last offset delta, base and max timestamp,
# producer id, producer epoch, base sequence, count
_HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size  # 61
_CRC_FROM = 21  # the checksum covers everything after itself
_AFTER_LENGTH = 12  # batch length counts the bytes after itself

_RATIO_TRIED = 16 << 20  # bytes
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20


class OldFormat(Exception):
    """A batch in message format v0 or v1, from before Kafka 0.11."""


class CorruptBatch(LabError):
    """A record batch that is damaged."""

    def __init__(self, partition: int, offset: int, what: str) -> None:
        super().__init__(
            f"partition {partition}, batch at offset {offset}: {what}",
            "Read again; if it stays, the log on the broker's disk is damaged.",
        )


class BatchTooLarge(CorruptBatch):
    """A record batch that inflates beyond its bound."""

    def __init__(self, partition: int, offset: int, what: str) -> None:
        LabError.__init__(
            self,
            f"partition {partition}, batch at offset {offset}: {what}",
            "Give the read a larger `batch_limit`, get such batches as rejects with oversized='reject', or leave these "
            "offsets out with `ranges`.",
        )


class Segment(NamedTuple):
    """The records of one batch: `records` of them in data[start:stop], as the codec left them.

    `append_time` (ms), if not None, is the timestamp of every record. Offsets and timestamps of records are deltas
    to `base_offset` and `base_timestamp` (ms).
    """

    partition: int
    data: memoryview
    start: int
    stop: int
    codec: int
    records: int
    base_offset: int
    base_timestamp: int
    append_time: int | None
    last_offset: int

    def inflated(self, limit: int = INFLATED_LIMIT) -> "Segment":
        """The same records without a codec, in memory of their own if they had one.

        Raises `CorruptBatch`, and `BatchTooLarge` beyond `limit` bytes, or where the machine does not have the memory.
        """
        if not self.codec:
            return self
        try:
            data = inflate(self.codec, self.data[self.start : self.stop], limit)
        except InflatesTooFar as error:
            raise BatchTooLarge(self.partition, self.base_offset, self.oversized(str(error))) from error
        except MemoryError as error:
            what = self.oversized("more memory than this process can have")
            raise BatchTooLarge(self.partition, self.base_offset, what) from error
        except NOT_INFLATED as error:
            raise CorruptBatch(self.partition, self.base_offset, f"cannot be decompressed ({error})") from error
        return self._replace(data=data, start=0, stop=len(data), codec=0)

    def oversized(self, size: str) -> str:
        """The reason for an error or a reject of a batch that inflates to `size`."""
        stored = format_bytes(self.stop - self.start)
        return f"{stored} of offsets {self.base_offset} to {self.last_offset} inflate to {size}"


@dataclass(frozen=True)
class ScannedBatches:
    """The batches of a chunk with wanted records, how many more were aborted, and where the next chunk begins."""

    segments: list[Segment]
    aborted: int
    next_offset: int


def scan_batches(chunk: Chunk) -> ScannedBatches:
    """Walk the batch headers, check each CRC-32C, skip control and aborted batches.

    Raises `CorruptBatch` for a bad checksum or impossible lengths, `OldFormat` for magic < 2. A batch that is cut off
    at the end of the chunk is left for the next fetch. The caller inflates: one batch at a time takes the least memory.
    """
    data, segments, aborted, next_offset = chunk.data, [], 0, chunk.start
    transactions = _Transactions(chunk.aborted if chunk.committed else ())
    for at, stop, header in _headers(chunk):
        base, _, _, _, _, attributes, last_delta, base_time, max_time, producer, _, _, count = header
        next_offset = max(next_offset, base + last_delta + 1)
        if attributes & _CONTROL:
            transactions.ended(producer, base + last_delta)
            continue
        if attributes & _TRANSACTIONAL and transactions.aborts(producer, base + last_delta):
            aborted += min(count, _overlap(chunk, base, base + last_delta + 1))
            continue
        if count == 0 or next_offset <= chunk.start or base >= chunk.end:
            continue
        append_time = max_time if attributes & _APPEND_TIME else None
        codec = attributes & _CODEC
        segments.append(
            Segment(
                chunk.partition,
                data,
                at + HEADER_BYTES,
                stop,
                codec,
                count,
                base,
                base_time,
                append_time,
                base + last_delta,
            )
        )
    return ScannedBatches(segments, aborted, next_offset)


def _overlap(chunk: Chunk, start: int, stop: int) -> int:
    """How many of these offsets are wanted: the cleaner removes an aborted batch as a whole or not at all."""
    return max(0, min(stop, chunk.end) - max(start, chunk.start))


def complete_prefix(partition: int, data: memoryview, offset: int) -> tuple[int, int, int]:
    """How many bytes of `data` are whole batches, the offset after them (`offset` when there is none), and the leader
    epoch of the last one (-1).

    Raises `OldFormat` and `CorruptBatch` for a batch without a recognisable end.
    """
    at, size, epoch = 0, len(data), -1
    while size - at >= HEADER_BYTES:
        base, length = struct.unpack_from(">qi", data, at)
        if data[at + 16] < 2:
            raise OldFormat(f"offset {base}: magic {data[at + 16]}")
        if length < HEADER_BYTES - _AFTER_LENGTH:
            raise CorruptBatch(partition, base, f"impossible header (length {length}, magic {data[at + 16]})")
        if at + _AFTER_LENGTH + length > size:
            break
        offset = max(offset, base + int(struct.unpack_from(">i", data, at + 23)[0]) + 1)
        epoch = struct.unpack_from(">i", data, at + _AFTER_LENGTH)[0]
        at += _AFTER_LENGTH + length
    return at, offset, epoch


def batch_checksums(chunk: Chunk) -> Iterator[tuple[int, int]]:
    """(first offset, CRC-32C) of each whole batch, as its header says: nothing is verified or inflated here."""
    data, at, size = chunk.data, 0, len(chunk.data)
    while size - at >= HEADER_BYTES:
        base, length, _, _, crc = _HEADER.unpack_from(data, at)[:5]
        at += _AFTER_LENGTH + length
        if length < HEADER_BYTES - _AFTER_LENGTH or at > size:
            return  # impossible, or cut off: the decoder judges
        yield base, crc


def first_batches(chunk: Chunk, records: int) -> Chunk:
    """A chunk of the first batches that together have `records` wanted records, or of all batches."""
    wanted = 0
    for _, stop, header in _headers(chunk):
        base, last_delta, count = header[0], header[6], header[12]
        if base + last_delta >= chunk.start:
            wanted += count
        if wanted >= records:
            return replace(chunk, data=chunk.data[:stop])
    return chunk


def compression_ratio(chunk: Chunk) -> float:
    """The codec's ratio in the chunk's first wanted batch (at least: no more than 16 MB are tried), 1 without a codec.

    Raises `CorruptBatch`.
    """
    for segment in scan_batches(first_batches(chunk, 1)).segments:
        if segment.codec:
            stored = max(1, segment.stop - segment.start)
            try:
                return len(segment.inflated(_RATIO_TRIED).data) / stored
            except BatchTooLarge:
                return _RATIO_TRIED / stored
    return 1.0


def _headers(chunk: Chunk) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(start, stop, header fields) of each whole batch, with magic and checksum verified."""
    from crc32c import crc32c  # 20 ms, which the native core does not need

    data, at, size = chunk.data, 0, len(chunk.data)
    while size - at >= HEADER_BYTES:
        header = _HEADER.unpack_from(data, at)
        base, length, magic, crc, last_delta, count = header[0], header[1], header[3], header[4], header[6], header[12]
        stop = at + _AFTER_LENGTH + length
        if magic < 2:
            raise OldFormat(f"partition {chunk.partition}, offset {base}: magic {magic}")
        if length < HEADER_BYTES - _AFTER_LENGTH or magic > 2:
            raise CorruptBatch(chunk.partition, base, f"impossible header (length {length}, magic {magic})")
        if stop > size:
            return
        if crc32c(data[at + _CRC_FROM : stop]) != crc:
            raise CorruptBatch(chunk.partition, base, "the CRC-32C does not match")
        if count < 0 or last_delta < 0:
            raise CorruptBatch(chunk.partition, base, f"impossible header ({count} records, delta {last_delta})")
        yield at, stop, header
        at = stop


class _Transactions:
    """The producers whose transactions, at this point of the scan, are known to end in an abort (KIP-98)."""

    def __init__(self, aborted: tuple[tuple[int, int], ...]) -> None:
        self._to_come = sorted(aborted, key=lambda transaction: -transaction[1])
        self._open: set[int] = set()

    def aborts(self, producer: int, last_offset: int) -> bool:
        while self._to_come and self._to_come[-1][1] <= last_offset:
            self._open.add(self._to_come.pop()[0])
        return producer in self._open

    def ended(self, producer: int, last_offset: int) -> None:
        """Note a marker that ends the producer's transaction; its records may all lie before this chunk."""
        if self.aborts(producer, last_offset):
            self._open.discard(producer)
