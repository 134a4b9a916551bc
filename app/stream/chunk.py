"""What goes into a decoder and what comes out of it, whichever decoder it is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from streaming_lab.stream.schema import Plan


@dataclass(frozen=True)
class Chunk:
    """Bytes of one partition as a Fetch answer brings them: whole record batches, the last one perhaps cut off.

    Records with offsets in [start, end) are wanted. `aborted` is the answer's list of (producer id, first offset);
    it only counts when `committed`. `data` is only valid until the decoder returns.
    """

    partition: int
    start: int
    end: int
    data: memoryview
    aborted: tuple[tuple[int, int], ...] = ()
    committed: bool = False


@dataclass(frozen=True)
class Reject:
    """A record that is no row: where it lies, why, and its bytes."""

    partition: int
    offset: int
    reason: str
    raw: bytes


@dataclass(frozen=True)
class Stray:
    """A record that is good JSON and needs a wider schema than the inferred one: `timestamp` in ms UTC."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes


@dataclass(frozen=True)
class Decoded:
    """One chunk decoded: the rows (see `schema.table_schema`), and everything in the chunk that is none.

    `aborted` counts wanted records of aborted transactions, `next_offset` is where the next chunk begins.
    """

    table: pa.Table
    next_offset: int
    rejects: list[Reject] = field(default_factory=list)
    tombstones: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset, key
    strays: list[Stray] = field(default_factory=list)
    aborted: int = 0


Decode: TypeAlias = Callable[[Plan, Chunk], Decoded]  # app.stream.decode and app.stream.native have one each
