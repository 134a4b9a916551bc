"""The codecs of record batches, with a bound: no batch becomes larger than its limit, whatever its bytes claim.

37 kB of zstd can hold 800 MB of text. A batch is decompressed into memory of a fixed size, so that a codec stops where
that memory ends; a page that no byte reaches costs nothing.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cramjam
import numpy as np

INFLATED_LIMIT = 256 << 20  # bytes of a decompressed batch; the default of `batch_limit`

NOT_INFLATED = (cramjam.DecompressionError, struct.error, ValueError)
_XERIAL = b"\x82SNAPPY\x00"  # the Java client's framing of snappy blocks
_USUAL_RATIO, _USUAL_BYTES = 64, 64 << 10  # room of the first attempt; untouched room costs nothing
_MORE = 8  # times the room of the attempt before: an attempt that fails has cost an eighth of the next
_NO_ROOM = "failed to write whole buffer"  # cramjam's words when the memory ends before the data
_INTO: dict[int, Callable[[Any, Any], int]] = {
    1: cramjam.gzip.decompress_into,
    3: cramjam.lz4.decompress_into,
    4: cramjam.zstd.decompress_into,
}


@dataclass(frozen=True)
class Bounds:
    """The bounds of decompression in bytes: `batch` for a batch, `piece` for batches decoded at a time (None: all).

    A batch that inflates further is an error, or with `skip` a reject.
    """

    batch: int = INFLATED_LIMIT
    skip: bool = False
    piece: int | None = None


NO_PIECES = Bounds()


class InflatesTooFar(Exception):
    """The data is larger than its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {format_bytes(limit)}")


def format_bytes(size: int) -> str:
    """The size as text: 256 MB, 37 kB, 800 bytes."""
    if size >= 1 << 20:
        return f"{size / (1 << 20):.4g} MB"
    return f"{size / (1 << 10):.4g} kB" if size >= 1 << 10 else f"{size} bytes"


def inflate(codec: int, data: memoryview, limit: int = INFLATED_LIMIT) -> memoryview:
    """The decompressed records of a batch.

    Raises `InflatesTooFar` beyond `limit` bytes, and one of `NOT_INFLATED` when `data` is damaged.
    """
    if codec == 2:
        return memoryview(_snappy(data, limit))
    if codec not in _INTO:
        raise ValueError(f"unknown codec {codec}")
    room = _USUAL_RATIO * len(data) + _USUAL_BYTES
    while True:
        memory = np.empty(min(room, limit), np.uint8)
        try:
            return memory.data[: _INTO[codec](data, memory)]
        except cramjam.DecompressionError as error:
            if _NO_ROOM not in str(error):
                raise
            if room >= limit:
                raise InflatesTooFar(limit) from error
        room *= _MORE


def _snappy(data: memoryview, limit: int) -> bytes:
    """Snappy as librdkafka writes it (one raw block) or as the Java client does (blocks with their lengths)."""
    if data[:8] != _XERIAL:
        return _snappy_block(data, limit)
    blocks, at = [], 16  # magic, version, lowest compatible version
    while at < len(data):
        (length,) = struct.unpack_from(">i", data, at)
        blocks.append(_snappy_block(data[at + 4 : at + 4 + length], limit))
        limit -= len(blocks[-1])
        at += 4 + max(length, 0)
    return b"".join(blocks)


def _snappy_block(data: memoryview, limit: int) -> bytes:
    """One block, which begins with its decompressed size."""
    if cramjam.snappy.decompress_raw_len(data) > limit:
        raise InflatesTooFar(limit)
    return bytes(cramjam.snappy.decompress_raw(data))
