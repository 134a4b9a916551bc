"""Rejects in bulk: the hint for each mistake, and one line a cause."""

import gzip
import json
import pickle

import pandas as pd
import pytest
from kafka import KafkaAdminClient, TopicPartition
from topics_of import values

from streaming_lab.analysis.tables import REJECTS_SHOWN, reject_table
from streaming_lab.client.connection import Connection
from streaming_lab.reader import read_topic
from streaming_lab.reader.causes import RejectCause, group_by_cause, hint_for

EVENT = {"player": "ann", "sword": None, "n": 1}


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (str(EVENT).encode(), "Python's repr"),
        (b"{'a': 'x'}", "Python's repr"),
        (json.dumps(json.dumps(EVENT)).encode(), "JSON encoded twice"),
        (json.dumps(EVENT).encode() * 2, "several objects in one record"),
        (b'{"a": 1}\n{"b": 2}', "several objects in one record"),
        (b'{"a": 1} x', "an object with something behind it"),
        (b'{"a": 1,}', "a comma too many"),
        (b'{"a": [1, 2,]}', "a comma too many"),
        (b'[{"a": 1}, {"a": 2}]', "a list of 2 objects"),
        (b'{"a": NaN}', "NaN or Infinity"),
        (b"{a: 1}", "keys without quotes"),
        (b'{"a": "x', "cut off"),
        (b"ann bought a sword", "plain text"),
        (b"ann,sword,1,2019", "a line of CSV"),
        (b"<event/>", "XML or HTML"),
        (b"", "an empty value"),
        (gzip.compress(b"{}", mtime=0), "gzip"),
        (b"\x28\xb5\x2f\xfd\0\0", "zstd"),
        (b"Obj\x01\x04", "an Avro file"),
        (b"\0\0\0\0\x07\x06ann\x02", "Avro or Protobuf of a schema registry (schema 7)"),
        (b"\x0a\x03ann\x10\x96\x01", "bytes that look like Protobuf"),
        (b"\x0a\x02\xff\xfe\x18\x01", "bytes that look like Protobuf"),
        (b"\xff\xfe\xfd\xfc", "binary data"),
        (pickle.dumps(EVENT), "a Python pickle"),
        ('{"player": "Zoë"}'.encode("latin-1"), "Latin-1"),
        (b'{"a": "x"}', ""),
    ],
)
def test_hints(raw: bytes, hint: str) -> None:
    """Bytes that look like a usual mistake have a hint with its cure, and no bytes are an error."""
    found = hint_for(raw)
    assert (found[: len(hint)], bool(found)) == (hint, bool(hint))


@pytest.mark.parametrize("letter", [b'"', b"[", b"{", b"{'", b"\0", b"\xff", b"\x08", b"-", b"\n"])
def test_no_bytes_break_a_hint(letter: bytes) -> None:
    """Very long and very deep values have some hint, or none, and are no error."""
    assert [isinstance(hint_for(letter * count), str) for count in (1, 2, 300, 100_000)] == [True] * 4


def test_equal_mistakes_are_one_cause() -> None:
    """Places and values in reasons do not make causes; the most frequent one is first, with its first place."""
    rejects = [(p, o, f"n: '{o}' is text, not int64", b'{"n": "%d"}' % o) for o in range(5) for p in (1, 0)]
    rejects += [(0, 9, "player is missing", b"{}"), (2, 3, "player is missing", b"{}")]
    assert group_by_cause(rejects) == [
        RejectCause("n: … is text, not int64", "", 10, 0, 0),
        RejectCause("player is missing", "", 2, 0, 9),
    ]


def test_causes_of_a_topic(kafka: Connection) -> None:
    """200 equal mistakes and a few others are a row each, in the frame and in the chapter's table."""
    repeated = [str({"player": "ann", "n": n}).encode() for n in range(200)]
    topic = read_topic(kafka, values(kafka, b'{"n": 1}', *repeated, b"plain", gzip.compress(b"{}")))
    causes = topic.causes()
    assert causes["count"].tolist() == [200, 1, 1]
    assert [hint.partition(":")[0] for hint in causes["hint"]] == ["Python's repr", "plain text", "gzip"]
    assert (causes["partition"][0], causes["offset"][0]) == (0, 1)
    assert [row[0] for row in reject_table(topic.rejects, "t").rows] == [200, 1, 1]
    assert len(reject_table(topic.rejects[:REJECTS_SHOWN], "t").rows) == REJECTS_SHOWN


def test_no_rejects_have_no_causes(kafka: Connection) -> None:
    """Without rejects the frame of causes is empty, with its columns."""
    causes = read_topic(kafka, values(kafka, b"{}")).causes()
    assert (len(causes), list(causes)) == (0, ["count", "cause", "hint", "partition", "offset"])
    assert isinstance(causes, pd.DataFrame)


def test_a_partition_that_begins_above_0(kafka: Connection, caplog: pytest.LogCaptureFixture) -> None:
    """Deleted records are named in the notes, unless the read says itself where it begins."""
    topic = values(kafka, *(b'{"n": %d}' % n for n in range(10)))
    assert read_topic(kafka, topic).notes == ()
    admin = KafkaAdminClient(**kafka)
    admin.delete_records({TopicPartition(topic, 0): 4})
    admin.close()
    found = read_topic(kafka, topic)
    note = "partition 0 begins at offset 4: the records before it are gone (retention, or deleted)"
    assert (found.notes, found.ranges) == ((note,), {0: (4, 10)})
    assert f"topic {topic}, {note}" in caplog.messages
    assert read_topic(kafka, topic, start=0).notes == ()
    assert read_topic(kafka, topic, ranges={0: (5, 10)}).notes == ()
