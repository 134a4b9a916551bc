"""Rejects in bulk: one line a cause, with its count, its first place, and a hint at the mistake behind it.

The hint is read from the value's bytes, the cause from the reject's reason without the values and places in it.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from streaming_lab.reader.decode.nearly import parse_literal, remove_commas

_LOOKED_AT = 4096  # bytes of a value that hints are read from
_MAGIC = (  # first bytes -> hint; https://en.wikipedia.org/wiki/List_of_file_signatures
    (b"\x1f\x8b", "gzip: let the producer's compression.type compress instead, or gunzip the values"),
    (b"\x28\xb5\x2f\xfd", "zstd: let the producer's compression.type compress instead"),
    (b"\x04\x22\x4d\x18", "lz4: let the producer's compression.type compress instead"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy: let the producer's compression.type compress instead"),
    (b"\x82SNAPPY\x00", "snappy, as Java frames it: let the producer's compression.type compress instead"),
    (b"BZh", "bzip2: let the producer's compression.type compress instead, or bunzip2 the values"),
    (b"\xfd7zXZ\x00", "xz: let the producer's compression.type compress instead, or unxz the values"),
    (b"PK\x03\x04", "a ZIP file: send what is in it"),
    (b"\x89PNG\r\n", "a PNG picture: send its address, or keep pictures out of the topic"),
    (b"\xff\xd8\xff", "a JPEG picture: send its address, or keep pictures out of the topic"),
    (b"GIF8", "a GIF picture: send its address, or keep pictures out of the topic"),
    (b"%PDF-", "a PDF: send its address, or keep files out of the topic"),
    (b"SQLite format 3\x00", "a SQLite file: write its rows, one JSON object per record"),
    (b"ORC", "an ORC file: write one JSON object per record"),
    (b"ARROW1", "an Arrow file: write one JSON object per record"),
    (b"Obj\x01", "an Avro file: write one JSON object per record"),
    (b"PAR1", "a Parquet file: write one JSON object per record"),
    (b"\xac\xed\x00\x05", "a serialised Java object: use a JSON serialiser"),
)
_PLACES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")
_LINE_OF_JSON = re.compile(r'[\[\]{},\s]+|"(?:[^"\\]|\\.)*"\s*:.*', re.DOTALL)
LINE_OF_JSON = "a line of one JSON text, fed line by line"
_BARE_KEY = re.compile(r"\{\s*[A-Za-z_]\w*\s*:")
_PROTOBUF = "bytes that look like Protobuf: decode them with their .proto file"
_MESSAGEPACK = (*range(0x81, 0x90), 0xDE)  # maps, which begin with a text as their first key
_NUMBERS = {  # sizes of what Kafka's own serialisers write, where the bytes are no text
    4: "binary data, four bytes as of an int or a float: write it as JSON",
    8: "binary data, eight bytes as of a long or a double: write it as JSON",
    16: "binary data, sixteen bytes as of a UUID: write it as JSON text",
}


@dataclass(frozen=True)
class RejectCause:
    """Rejects of one cause: their count, the place of the first, and a hint, or "" where there is none."""

    cause: str
    hint: str
    count: int
    partition: int
    offset: int


def group_by_cause(rejects: Iterable[tuple[int, int, str, bytes]]) -> list[RejectCause]:
    """The causes of these rejects (partition, offset, reason, raw), the most frequent first."""
    found: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for partition, offset, reason, raw in rejects:
        found.setdefault((_general(reason), hint_for(raw, reason)), []).append((partition, offset, reason))
    causes = []
    for (general, hint), places in found.items():
        partition, offset, reason = min(places)
        same = all(place[2] == reason for place in places)
        causes.append(RejectCause(reason if same else general, hint, len(places), partition, offset))
    return sorted(causes, key=lambda each: (-each.count, each.partition, each.offset))


def _general(reason: str) -> str:
    """The reason without places and values: what is equal for many rejects."""
    return _PLACES.sub("…", reason)


def hint_for(raw: bytes, reason: str = "") -> str:
    """The mistake that these bytes look like, with its cure; "" where they look like none."""
    if "inflate to more than" in reason:
        return "a batch beyond the bound: read with a larger batch_limit"
    if not raw:
        return "an empty value: a tombstone is a record without a value (null)"
    raw = raw[:_LOOKED_AT]
    for magic, hint in _MAGIC:
        if raw.startswith(magic):
            return hint
    if raw[0] == 0 and len(raw) > 5 and (number := int.from_bytes(raw[1:5], "big")):
        return f"Avro or Protobuf of a schema registry (schema {number}): decode it with the registry"
    if raw[0] == 0x80 and len(raw) > 1 and raw[1] in range(2, 6):
        return "a Python pickle: use json.dumps"
    if _is_bson(raw):
        return "BSON: decode it with bson, or write JSON"
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return _hint_for_bytes(raw)
    if not text.isprintable() and _is_protobuf(raw):
        return _PROTOBUF
    if len(raw) in _NUMBERS and b"\0" in raw:
        return _NUMBERS[len(raw)]
    return _hint_for_text(text)


def _hint_for_bytes(raw: bytes) -> str:
    text = raw.decode("latin-1").strip()
    if text.startswith("{") and _loads(text) is not None:
        return "Latin-1 or Windows text: encode values as UTF-8"
    if _is_protobuf(raw):
        return _PROTOBUF
    if raw[0] in _MESSAGEPACK and re.match(rb"[\xa0-\xbf\xd9]", raw[1 if raw[0] < 0x90 else 3 :]):
        return "bytes that look like MessagePack: decode them with msgpack, or write JSON"
    if raw[0] in range(0xA1, 0xB8) and raw[1:2] and raw[1] in range(0x60, 0x78):
        return "bytes that look like CBOR: decode them with cbor2, or write JSON"
    if text[0].isascii() and text.isprintable():
        return "Latin-1 or Windows text: encode values as UTF-8"
    return _NUMBERS.get(len(raw), "binary data: Avro without a registry, a compressed or an encrypted value?")


def _hint_for_text(text: str) -> str:
    found = _loads(text)
    if isinstance(found, str):
        inner = _loads(found)
        return (
            "JSON encoded twice: call json.dumps once" if isinstance(inner, (dict, list)) else "a JSON text, no object"
        )
    if isinstance(found, list) and found and all(isinstance(each, dict) for each in found):
        return f"a list of {len(found)} objects: write one record for each"
    if found is not None:
        return "NaN or Infinity: write null" if re.search(r"\b(?:NaN|Infinity)\b", text) else ""
    return _hint_for_broken(text) if text[:1] in ("{", "[") else _hint_for_prose(text)


def _hint_for_broken(text: str) -> str:
    """Text that begins like JSON and is none."""
    if _LINE_OF_JSON.fullmatch(text):
        return LINE_OF_JSON
    if isinstance(parse_literal(text), (dict, list)):
        return "Python's repr: use json.dumps, not str"
    try:
        first, stop = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        pass
    else:
        more = text[stop:].lstrip(" \t\r\n,")
        if isinstance(first, dict) and more in ("", "]"):
            return LINE_OF_JSON
        if isinstance(first, dict) and more.startswith("{"):
            return "several objects in one record: write one record for each"
        return "an object with something behind it"
    if _loads(remove_commas(text)) is not None:
        return "a comma too many before } or ]"
    if _BARE_KEY.match(text):
        return "keys without quotes, as in JavaScript: use a JSON serialiser"
    if text.count("{") > text.count("}"):
        return "cut off: the object has no end"
    return ""


def _hint_for_prose(text: str) -> str:
    if _LINE_OF_JSON.fullmatch(text):
        return LINE_OF_JSON
    if text.startswith("<"):
        return "XML or HTML: write a JSON object"
    if text.count(",") >= 2:
        return "a line of CSV? Write a JSON object with the columns' names"
    return "plain text: write a JSON object" if text.isprintable() and text else "control characters: no text, no JSON"


def _loads(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_bson(raw: bytes) -> bool:
    """Does a BSON document begin here: its length, and the type of its first element (https://bsonspec.org)?"""
    return len(raw) > 6 and int.from_bytes(raw[:4], "little") in range(len(raw), 1 << 24) and raw[4] in range(1, 20)


def _is_protobuf(raw: bytes) -> bool:
    """Do the bytes parse as fields of a message, to the end? (https://protobuf.dev/programming-guides/encoding)"""
    at, fields = 0, 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind, number = tag & 7, tag >> 3
        if at < 0 or not 1 <= number <= 1000 or kind not in (0, 1, 2, 5):
            return False
        if kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            value, at = _varint(raw, at)
            if at < 0:
                return False
            at += value if kind == 2 else 0
        fields += 1
    return fields > 0 and (at == len(raw) or len(raw) == _LOOKED_AT)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number at this place and the place after it, -1 when there is none."""
    value = shift = 0
    while at < len(raw) and shift < 64:
        value |= (raw[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if raw[at - 1] < 0x80:
            return value, at
    return value, -1
