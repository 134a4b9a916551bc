"""Record batches and odd values for tests; the records are laid out by kafka-python, not by our idea of the format."""

import json
import struct
from collections.abc import Sequence
from typing import Any

import cramjam
from crc32c import crc32c
from kafka.record.memory_records import MemoryRecordsBuilder

from streaming_lab.reader.decode.batches import Chunk, Decoded
from streaming_lab.reader.decode.schema import Plan, Schema, compile_plan


class SnappyBlock:
    """Snappy as librdkafka writes it: one raw block."""

    compress = staticmethod(cramjam.snappy.compress_raw)


SCHEMA = Schema(
    {
        "id": "string",
        "kind": "string",
        "at": "timestamp",
        "price": "float64",
        "item": "string",
        "quantity": "int64",
        "paid": "bool",
    },
    required=("id",),
    one_of={"kind": frozenset({"buy", "sell", "épée"})},
)
PLAN = compile_plan(SCHEMA)
ROW: dict[str, Any] = {
    "id": "e-1",
    "kind": "buy",
    "at": "2026-11-01T12:34:56.789Z",
    "price": 12.5,
    "item": "bröadsword",
    "quantity": 3,
    "paid": True,
}


CODECS = {1: cramjam.gzip, 2: SnappyBlock, 3: cramjam.lz4, 4: cramjam.zstd}


def with_(**changes: Any) -> bytes:
    """The plain row with some cells changed, as JSON."""
    return json.dumps({**ROW, **changes}, ensure_ascii=False).encode()


def raw(name: str, text: str) -> bytes:
    """The plain row with one cell's JSON text replaced: for what json.dumps would not write."""
    return with_(**{name: "@"}).replace(b'"@"', text.encode("utf8", "surrogatepass"))


_NUMBERS = r"""
0 -0 1 -1 7 2.0 2.5 -2.5 1e3 1E+3 1.5e-7 0.1 0.30000000000000004 123456789012345678 9007199254740993
9007199254740992.0 0.1234567890123456789 9223372036854775807 -9223372036854775808 9223372036854775808
1180591620717411303424 1e22 1e23 1.7976931348623157e308 1e309 -1e999 5e-324 1e-400 2.2250738585072011e-308 8.5e22
0.000000000000000000000000000001 007 01 -01 1. .5 +1 1e 1e+ - 0x1 1_0 NaN Infinity -Infinity 1.5.5 12a true null "3"
"3.5" [] {} [1] -0.0 0.0 1234567890123456789012345678901234567890.5 100000000000000000000 99999999999999999999e-5 0e5
-0e5 00 0.0e-999 1e00001
"""
NUMBERS = _NUMBERS.split()
_TIMES = r"""
2026-11-01T12:34:56Z 2026-11-01T12:34:56.7Z 2026-11-01T12:34:56.789012Z 2026-11-01T12:34:56.7890123Z
2026-11-01T12:34:56.789+02:00 2026-11-01T12:34:56-11:30 2026-11-01T12:34:56 2026-11-01 20261101T123456Z
2024-02-29T23:59:59Z 2023-02-29T00:00:00Z 2100-02-29T00:00:00Z 2000-02-29T00:00:00Z 2026-13-01T00:00:00Z
2026-00-10T00:00:00Z 2026-01-32T00:00:00Z 2026-01-01T24:00:00Z 2026-01-01T23:60:00Z 2026-01-01T23:59:60Z
0001-01-01T00:00:00+02:00 9999-12-31T23:59:59.999999-01:00 1969-12-31T23:59:59.999999Z 0000-01-01T00:00:00Z
2026-11-01t12:34:56Z 2026-11-01T12:34:56z 2026-11-01T12:34:56+24:00 2026-11-01T12:34:56.Z 2026-11-01T12:34:56+0200
2026-11-01T12:34:56+02 2026-W10-1T00:00:00Z yesterday 1761998096 2026-11-01T12:34:56.789+02:00:30 1000-01-01T00:00:00Z
"""
TIMES = _TIMES.split()
TEXTS = (
    r'""', r'"a\"b"', r'"\\"', r'"\/\b\f\n\r\t"', r'"é"', r'"é薙刀"', r'"😀"', r'"\ud83d"', r'"\ude00\ud83d"',
    r'"\ud83dx"', r'"\ud83dA"', r'"\u00e"', r'"\u00zz"', r'"\x41"', r'"\u0000"', '"\t"', '"tab\there"', '"\x7f"',
    '"薙刀 😀 épée and a long tail that crosses eight bytes"', '"open', "'single'", '"\ud83d"', r'"\uD83D\uDE00\u00E9"',
    '"a" "b"', "nullx", "tru", "True", "nul", "5", "[]", '"0123456\\n"', '"01234567\\n01234567\\""',
)  # fmt: skip
WHOLE = (
    b"", b" ", b"{}", b"{ }", b"null", b"[1,2]", b'"x"', b"5", b"true", b"not json", b'{"id": "x"', b'{"id": "x"}}',
    b'{"id": "x"} ', b' \t\r\n{"id":"x"}\n', b'{"id":"x",}', b'{,"id":"x"}', b'{"id" "x"}',
    b'{"id": "x" "kind": "buy"}',
    b'{"id": "a", "id": "b"}', b'{"price": 1, "id": "a", "price": "x"}', b'{"id": "e"} x', b'\xef\xbb\xbf{"id": "x"}',
    b'\xff\xfe{"id": 1}', b'{"id": "\xff"}', b'{"id": "\xc3"}', b'{"id": "\xed\xa0\xbd"}',
    b'{"id": "\xf4\x90\x80\x80"}',
    b'{"id": "\xc0\x80"}', b'{"id": "x", "\xff": 1}', b'{"\\u0069d": "x"}', b'{"id": "x", "\\u0069d": "y"}',
    '{"id": "x"}'.encode("utf-16"), '{"id": "x"}'.encode("utf-16-le"), '{"id": "x"}'.encode("utf-32-be"),
    b'{"id": "x", "extra": {"a": [1, 2.5e3, "s\\n", true, false, null, {}], "b": []}}', b'{"id": "x", "extra": [1,]}',
    b'{"id": "x", "extra": NaN}', b'{"id": "x", "extra": {"a": Infinity}}', b'{"id": "x", "extra": -}',
    b'{"id": "x", "extra": "\xff"}', b'{"id": "x", "extra": "\\ud800"}', b'{"id": "x", "extra": "\t"}',
    b'{"id": "x", "extra": 01}', b'{"id": "x", "extra": 1.}', b'{"id": "x", "extra": tru}', b'{"extra": {"id": "x"}}',
    b'{"id": "x", "extra": ' + b"[" * 100 + b"]" * 100 + b"}", b'{"id": "x", "extra": ' + b"[" * 100_000 + b"}",
    b'{"id": "x", "extra": ' + b"9" * 5000 + b"}", b'{"id": "x", "quantity": ' + b"9" * 5000 + b"}",
    b'{"id": "x", "price": ' + b"9" * 5000 + b"}", b'{"id": "x", "price": 0.' + b"1" * 5000 + b"}",
    b'{"id": "x", "": 1}', b'{"": {"": {"": ""}}, "id": "x"}', b'{"id": null}', b'{"id": "x", "kind": null}',
    b'{"id": "x", "kind": "steal"}', b'{"id": "x", "kind": "\xc3\xa9p\xc3\xa9e"}', b"{\"id\": 'x'}", b"{id: 1}",
    b"\x00", b'{"id": "x"}\x00', b'{\x00"id": "x"}', b'{"id":"x"//\n}', b'{"ID": "x"}', b'{"id ": "x"}', b"{" * 50,
)  # fmt: skip
ODD_VALUES: tuple[bytes, ...] = (
    *WHOLE,
    *(raw(name, text) for text in NUMBERS for name in ("price", "quantity")),
    *(with_(at=text) for text in TIMES),
    *(raw(name, text) for text in TEXTS for name in ("item", "id", "at")),
    *(raw("paid", text) for text in ("true", "false", "null", "True", "1", "truex", '"true"', "tru", "f")),
    with_(at=1761998096),
    with_(at=None, price=None, item=None, quantity=None, paid=None),
    json.dumps(dict(reversed(ROW.items()))).encode(),
    json.dumps(ROW, separators=(",", ":")).encode(),
    json.dumps(ROW, indent=1).encode(),
    *(json.dumps({name: ROW[name] for name in ROW if name != gone}).encode() for gone in ROW),
)


def batch(
    values: Sequence[bytes | None],
    *,
    base: int = 0,
    codec: int = 0,
    keys: Sequence[bytes | None] = (None,),
    headers: Sequence[tuple[str, bytes]] = (),
    time: int = 1_700_000_000_000,
) -> bytes:
    """One record batch; keys repeat, timestamps rise by a millisecond."""
    builder = MemoryRecordsBuilder(2, 0, 1 << 30)
    for i, value in enumerate(values):
        builder.append(timestamp=time + i, key=keys[i % len(keys)], value=value, headers=list(headers))
    builder.close()
    data = bytearray(builder.buffer())
    data[:8] = struct.pack(">q", base)
    if codec:
        data[22] |= codec
        data[61:] = bytes(CODECS[codec].compress(bytes(data[61:])))
        data[8:12] = struct.pack(">i", len(data) - 12)
    return signed(bytes(data))


def transactional(data: bytes, producer: int) -> bytes:
    """The batch as part of this producer's transaction."""
    changed = bytearray(data)
    changed[22] |= 0x10
    struct.pack_into(">q", changed, 43, producer)
    return signed(bytes(changed))


def signed(data: bytes) -> bytes:
    """The same bytes with the CRC of every batch made right, so that what is behind the checksum is reached."""
    fixed, at = bytearray(data), 0
    while len(fixed) - at >= 61:
        stop = at + 12 + int(struct.unpack_from(">i", fixed, at + 8)[0])
        if stop < at + 61 or stop > len(fixed):
            break
        struct.pack_into(">I", fixed, at + 17, crc32c(bytes(fixed[at + 21 : stop])))
        at = stop
    return bytes(fixed)


def chunk(data: bytes, *, start: int = 0, end: int = 1 << 60, **others: Any) -> Chunk:
    """A chunk of partition 3 over a copy of the bytes: a decoder may overwrite its own."""
    return Chunk(3, start, end, memoryview(bytearray(data)), **others)


def result(decoder: Any, plan: Plan, of: Chunk) -> object:
    """What a decoder makes of a chunk, in a form that compares whole: tables by bytes of every cell, errors by text."""
    try:
        decoded: Decoded = decoder(plan, of)
    except Exception as error:
        return type(error).__name__, str(error)
    decoded.table.validate(full=True)
    cells = {name: _bits(decoded.table[name]) for name in decoded.table.column_names}
    rest = (decoded.next_offset, decoded.rejects, decoded.tombstones, decoded.strays, decoded.aborted)
    return decoded.table.schema.to_string(), cells, *rest


def _bits(column: Any) -> list[object]:
    """Cells that compare exactly: floats by their bits (0.0 is not -0.0), times as integers."""
    kind = str(column.type)
    if kind.startswith("timestamp"):
        column = column.cast("int64")
    found = column.to_pylist()
    return [None if cell is None else struct.pack(">d", cell) for cell in found] if kind == "double" else found
