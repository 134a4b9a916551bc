"""The types of the optional native core (`_columns.c`)."""

from collections.abc import Callable
from typing import TypeAlias

Buffer: TypeAlias = bytes | memoryview
Field: TypeAlias = tuple[bytes, int, bool, tuple[bytes, ...] | None]  # name, kind, required, allowed values
Filled: TypeAlias = tuple[int, Memory | None, Memory | None, Memory]  # nulls, validity, offsets, values

SOURCE_SHA256: str
END: int
HAND_OVER: int
MALFORMED: int
PAUSED: int

class Memory:
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Columns:
    def __new__(cls, fields: tuple[Field, ...], all_keys: bool, inferred: bool, /) -> Columns: ...
    def read_batches(
        self,
        data: Buffer,
        start: int,
        end: int,
        transactions: bool,
        inflate: Callable[[int, memoryview], Buffer | None],
        /,
    ) -> tuple[int, int, int]: ...
    def read_records(
        self, records: Buffer, base: int, count: int, timestamp: int, is_append_time: bool, start: int, end: int, /
    ) -> int: ...
    def finish(
        self,
    ) -> tuple[int, Memory, Memory, Filled, list[Filled], list[tuple[int, bytes]], list[tuple[int, bytes | None]]]: ...

def crc32c(data: Buffer, /) -> tuple[int, int]: ...
