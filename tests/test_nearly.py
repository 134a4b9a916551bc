"""Values that are no JSON object: text, nearly JSON, a stream over records, binary data; the option that reads them."""

import gzip
import json
import struct
import uuid

import pytest
from topics_of import new_topic, producer, values, write

from streaming_lab.client.connection import Connection
from streaming_lab.errors import LabError
from streaming_lab.reader import Schema, read_topic
from streaming_lab.reader.causes import hint_for
from streaming_lab.reader.decode.nearly import mend

EVENT = {"a": 'x, } "y"', "n": 1, "none": None, "deep": {"b": [True, {"c": 2}]}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (str(EVENT).encode(), EVENT),
        (json.dumps(json.dumps(EVENT)).encode(), EVENT),
        (json.dumps(EVENT)[:-1].encode() + b",}", EVENT),
        (json.dumps(EVENT).encode() + b",", EVENT),
        (b"[" + json.dumps(EVENT).encode() + b",", EVENT),
        (b"{a: 1, b: 'x', c: true}", {"a": 1, "b": "x", "c": True}),
        (b'{"a": NaN, "b": [Infinity]}', {"a": None, "b": [None]}),
        ('{"a": "Zoë"}'.encode("latin-1"), {"a": "Zoë"}),
        (b'{"a": 1}\n{"a": 2}', None),
        (b'[{"a": 1}, {"a": 2}]', None),
        (b'{"a": "cut', None),
        (b"plain text", None),
        (b"{'a': {1, 2}}", None),
        (b"", None),
        (b"\xff\xfe\x00", None),
        (b"{" * 100_000, None),
    ],
)
def test_what_is_mended(value: bytes, expected: dict[str, object] | None) -> None:
    """One object that a usual mistake hides comes out as it was meant; two objects, or none, are not guessed."""
    mended = mend(value)
    assert (None if mended is None else json.loads(mended)) == expected


@pytest.mark.parametrize("decoder", ["auto", "python"])
def test_nearly_json_is_named_and_read_on_request(kafka: Connection, decoder: str) -> None:
    """Python's repr is 200 rejects with one sentence, and with the option 200 rows of inferred types."""
    topic = values(kafka, *(str({"a": i, "b": None, "c": "x"}).encode() for i in range(200)), b'{"a": 200}', b"nothing")
    plain = read_topic(kafka, topic, decoder=decoder)
    assert (len(plain.events), len(plain.rejects)) == (1, 201)
    assert "Python's repr: use json.dumps, not str; values='nearly' reads some of them" in plain.notes[0]
    mended = read_topic(kafka, topic, values="nearly", decoder=decoder)
    assert mended.events["a"].tolist() == list(range(201))
    assert mended.events["c"].tolist()[:2] == ["x", "x"]
    assert mended.rejects["raw"].tolist() == [b"nothing"]
    declared = read_topic(kafka, topic, Schema({"a": "int64"}), values="nearly", decoder=decoder)
    assert declared.events["a"].tolist() == list(range(201))


def test_a_topic_of_text_is_given_as_text(kafka: Connection) -> None:
    """Nothing is JSON and nothing was declared: the column `value` holds the text, tombstones stay apart."""
    topic = values(kafka, b"hello", b"12", "Zoë, 3".encode(), None)
    found = read_topic(kafka, topic)
    assert found.events["value"].tolist() == ["hello", "12", "Zoë, 3"]
    assert (len(found.rejects), len(found.tombstones)) == (0, 1)
    assert found.notes == (f"topic {topic!r} holds text, no JSON: column value has it",)
    assert read_topic(kafka, topic, limit=2).events["value"].tolist() == ["hello", "12"]
    assert len(read_topic(kafka, topic, Schema({"a": "string"})).rejects) == 3


def test_one_json_object_among_text_is_a_topic_of_json(kafka: Connection) -> None:
    """Text beside objects stays a reject: a broken producer must be seen."""
    found = read_topic(kafka, values(kafka, b"hello", b'{"a": 1}'))
    assert (len(found.events), len(found.rejects), "value" in found.events) == (1, 1, False)


LINES = ["[", '{"a": 1},', '{"a": 2,', ' "b": {"c": 3}', "},", "oops", '{"a": 3}', "]"]


def test_an_array_fed_line_by_line(kafka: Connection) -> None:
    """The read says which option joins the lines; then each object is a row at the record where it begins."""
    topic = values(kafka, *map(str.encode, LINES))
    assert "values='stream' joins and reads them" in read_topic(kafka, topic).notes[0]
    found = read_topic(kafka, topic, values="stream", headers=True)
    assert found.events[["offset", "a"]].to_numpy().tolist() == [[1, 1], [2, 2], [6, 3]]
    assert found.events["b"].tolist() == [None, {"c": 3}, None]
    assert [bytes(raw) for raw in found.rejects["raw"]] == [b"oops"]


def test_several_objects_in_one_record(kafka: Connection) -> None:
    """As a stream they are rows of one offset, lists are opened, and the sum of rows and rejects loses nothing."""
    topic = values(kafka, b'{"a": 1}\n{"a": 2}', b'[{"a": 3}, {"a": 4}]', b'{"a": 5')
    assert "values='stream' makes a row of each object" in read_topic(kafka, topic).notes[0]
    found = read_topic(kafka, topic, values="stream")
    assert found.events[["offset", "a"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 3], [1, 4]]
    assert found.rejects["offset"].tolist() == [2]


def test_nested_objects_become_columns_on_request(kafka: Connection) -> None:
    """A column of objects is named with the option; flat columns have types of their own, lists stay cells."""
    rows = [{"id": i, "event": {"kind": "buy", "by": {"n": i}, "tags": [i]}} for i in range(50)]
    topic = values(kafka, *(json.dumps(row).encode() for row in rows), b'{"id": 50, "event": 7}')
    pure = values(kafka, *(json.dumps(row).encode() for row in rows))
    assert read_topic(kafka, pure).notes[0].startswith("column event: objects, one in a cell; flat=True")
    found = read_topic(kafka, topic, flat=True)
    assert list(found.events)[4:] == ["id", "event.kind", "event.by.n", "event.tags", "event"]
    assert found.events["event.by.n"].dtype == "Int64"
    assert found.events["event.by.n"].sum() == sum(range(50))
    assert read_topic(kafka, topic, flat=True, columns=["event.by.n"]).events["event.by.n"].sum() == sum(range(50))


@pytest.mark.parametrize("wanted", [{}, {"columns": ["n"]}, {"limit": 10}, {"decoder": "python"}, {"flat": True}])
def test_headers_are_a_column_on_request(kafka: Connection, wanted: dict[str, object]) -> None:
    """Repeated names, raw bytes, null values and long names are kept, and shift no value."""
    topic, many = new_topic(kafka, 1), [("trace", b"a"), ("trace", b"b"), ("raw", b"\xff\xfe"), ("n" * 300, None)]
    out = producer(kafka)
    for i in range(30):
        out.produce(topic, b'{"n": %d}' % i, headers=many if i % 3 else [], partition=0)
    assert out.flush(20) == 0
    write(kafka, topic, {0: [(b"k", None)]})
    found = read_topic(kafka, topic, headers=True, **wanted)  # type: ignore[arg-type]
    rows = 10 if "limit" in wanted else 30
    assert found.events["n"].tolist() == list(range(rows))
    assert found.events["headers"].tolist() == [many if i % 3 else [] for i in range(rows)]


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (struct.pack(">q", 1815), "binary data, eight bytes"),
        (struct.pack(">d", 0.5), "binary data, eight bytes"),
        (uuid.UUID("8b5b0a6e-8f5c-4d0c-9d0d-9f2c5a5b9a11").bytes, "binary data, sixteen bytes"),
        (b"\x82\xa6player\xa3ann\xa1n\xcd\x01\x00", "bytes that look like MessagePack"),
        (b"\xa2fplayercann\x61n\x19\x01\x00\xff", "bytes that look like CBOR"),
        (b"\x16\0\0\0\x02player\0\x04\0\0\0ann\0\0", "BSON"),
        (b"\x89PNG\r\n\x1a\n\0", "a PNG picture"),
        (b"\x82SNAPPY\x00\0\0", "snappy"),
        (b"BZh91AY", "bzip2"),
        (b"  }, {", "a line of one JSON text"),
        (b'  "a": 1,', "a line of one JSON text"),
        ("Zoë, again".encode("latin-1"), "Latin-1"),
    ],
)
def test_bytes_are_named_for_what_they_look_like(raw: bytes, hint: str) -> None:
    """What other people's serialisers write has its name."""
    assert hint_for(raw)[: len(hint)] == hint


def test_a_topic_of_one_mistake_has_one_sentence(kafka: Connection) -> None:
    """Where nothing is a row, the likely cause stands in the notes."""
    found = read_topic(kafka, values(kafka, *[gzip.compress(b"{}")] * 20))
    assert found.notes[0].startswith("20 of 20 values are no JSON object: gzip")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"values": "yaml"}, "values 'yaml' is unknown"),
        ({"values": "text", "flat": True}, "flat=True is for JSON"),
        ({"values": "text", "schema": Schema({})}, "takes no schema"),
        ({"values": "stream", "limit": 1}, "takes no limit"),
        ({"values": "text", "decoder": "native"}, "the native decoder does not read text"),
    ],
)
def test_options_that_contradict_each_other(kafka: Connection, options: dict[str, object], problem: str) -> None:
    """They are refused before the topic is asked about."""
    with pytest.raises(LabError, match=problem):
        read_topic(kafka, values(kafka, b"{}"), **options)  # type: ignore[arg-type]
