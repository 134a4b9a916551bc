"""Rejects in bulk: one line a cause, with its count, its first place, and a hint at the mistake behind it.

The hint is read from the value's bytes, the cause from the reject's reason without the values and places in it.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

_LOOKED_AT = 4096  # bytes of a value that hints are read from
_MAGIC = (  # first bytes -> hint; https://en.wikipedia.org/wiki/List_of_file_signatures
    (b"\x1f\x8b", "gzip: let the producer's compression.type compress instead, or gunzip the values"),
    (b"\x28\xb5\x2f\xfd", "zstd: let the producer's compression.type compress instead"),
    (b"\x04\x22\x4d\x18", "lz4: let the producer's compression.type compress instead"),
    (b"Obj\x01", "an Avro file: write one JSON object per record"),
    (b"PAR1", "a Parquet file: write one JSON object per record"),
    (b"\xac\xed\x00\x05", "a serialised Java object: use a JSON serialiser"),
)
_PLACES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")
_COMMA_TOO_MANY = re.compile(r",(\s*[}\]])")
_BARE_KEY = re.compile(r"\{\s*[A-Za-z_]\w*\s*:")


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
    if raw[0] == 0 and len(raw) > 5:
        number = int.from_bytes(raw[1:5], "big")
        return f"Avro or Protobuf of a schema registry (schema {number}): decode it with the registry"
    if raw[0] == 0x80 and len(raw) > 1 and raw[1] in range(2, 6):
        return "a Python pickle: use json.dumps"
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return _hint_for_bytes(raw)
    if not text.isprintable() and _is_protobuf(raw):
        return "bytes that look like Protobuf: decode them with their .proto file"
    return _hint_for_text(text)


def _hint_for_bytes(raw: bytes) -> str:
    text = raw.decode("latin-1").strip()
    if text.startswith("{") and _loads(text) is not None:
        return "Latin-1 or Windows text: encode values as UTF-8"
    if _is_protobuf(raw):
        return "bytes that look like Protobuf: decode them with their .proto file"
    return "binary data: Avro without a registry, a compressed or an encrypted value?"


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
    if isinstance(_literal(text), (dict, list)):
        return "Python's repr: use json.dumps, not str"
    try:
        first, stop = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        pass
    else:
        more = text[stop:].lstrip(" \t\r\n,")
        if isinstance(first, dict) and more.startswith("{"):
            return "several objects in one record: write one record for each"
        return "an object with something behind it"
    if _loads(_COMMA_TOO_MANY.sub(r"\1", text)) is not None:
        return "a comma too many before } or ]"
    if _BARE_KEY.match(text):
        return "keys without quotes, as in JavaScript: use a JSON serialiser"
    if text.count("{") > text.count("}"):
        return "cut off: the object has no end"
    return ""


def _hint_for_prose(text: str) -> str:
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


def _literal(text: str) -> object:
    if "'" not in text and not re.search(r"\b(?:None|True|False)\b", text):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in somebody's text
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


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
