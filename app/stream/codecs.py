"""The codecs of record batches: what a producer compressed is decompressed here."""

import struct

import cramjam

NOT_INFLATED = (cramjam.DecompressionError, struct.error, ValueError)
_XERIAL = b"\x82SNAPPY\x00"  # the Java client's framing of snappy blocks


def inflate(codec: int, data: memoryview) -> memoryview:
    """The records of a batch, decompressed. Raises one of `NOT_INFLATED` when they cannot be."""
    match codec:
        case 1:
            return memoryview(cramjam.gzip.decompress(data))
        case 2:
            return memoryview(_snappy(data))
        case 3:
            return memoryview(cramjam.lz4.decompress(data))
        case 4:
            return memoryview(cramjam.zstd.decompress(data))
    raise ValueError(f"unknown codec {codec}")


def _snappy(data: memoryview) -> bytes:
    """Snappy as librdkafka writes it (one raw block) or as the Java client does (blocks with their lengths)."""
    if data[:8] != _XERIAL:
        return bytes(cramjam.snappy.decompress_raw(data))
    blocks, at = [], 16  # magic, version, lowest compatible version
    while at < len(data):
        (length,) = struct.unpack_from(">i", data, at)
        blocks.append(bytes(cramjam.snappy.decompress_raw(data[at + 4 : at + 4 + length])))
        at += 4 + max(length, 0)
    return b"".join(blocks)
