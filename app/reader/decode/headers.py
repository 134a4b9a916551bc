"""The headers of records: names may repeat, values are bytes or null (KIP-82)."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from streaming_lab.reader.decode.batches import CorruptBatch
from streaming_lab.reader.decode.records import RecordIndex, read_varints

Headers: TypeAlias = list[tuple[str, bytes | None]]


def read_headers(partition: int, records: RecordIndex) -> Iterator[tuple[int, Headers]]:
    """Offset and headers of each record that has some; the records must lie in `data` as in their batch."""
    if not len(records):
        return
    behind_value = records.starts + np.maximum(records.lengths, 0)
    counts, places = read_varints(np.frombuffer(records.data, np.uint8), behind_value)
    for row in np.flatnonzero(counts).tolist():
        offset = int(records.offsets[row])
        try:
            yield offset, _parse(records.data, int(places[row]), int(counts[row]))
        except (IndexError, ValueError) as error:
            raise CorruptBatch(partition, offset, f"a record's headers do not fit ({error})") from error


def _parse(data: bytes, at: int, count: int) -> Headers:
    found: Headers = []
    for _ in range(count):
        name, at = _take(data, at)
        value, at = _take(data, at)
        found.append(((name or b"").decode(errors="backslashreplace"), value))
    return found


def _take(data: bytes, at: int) -> tuple[bytes | None, int]:
    """A length as a zigzag varint, and so many bytes; a length of -1 is a null."""
    raw = shift = 0
    while True:
        byte = data[at]
        raw |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    length = raw >> 1 ^ -(raw & 1)
    if length < -1 or at + length > len(data):
        raise ValueError(f"a length of {length}")
    return (None, at) if length < 0 else (data[at : at + length], at + length)
