"""Topic to DataFrame on a real broker."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import cast

import pandas as pd
import pytest
from kafka import KafkaConsumer, errors as kafka_errors
from recordbatches import batch, chunk
from topics_of import abort, new_topic, producer, values, write
from waiting import within

from streaming_lab.client import topics
from streaming_lab.client.broker_connection import BrokerConnection, Unsupported
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import BrokerUnavailable, UnknownTopic
from streaming_lab.errors import LabError
from streaming_lab.game.schema import EVENTS
from streaming_lab.reader import read_batches, read_text, read_topic
from streaming_lab.reader.decode import infer
from streaming_lab.reader.decode.python import decode_chunk
from streaming_lab.reader.decode.records import index_values
from streaming_lab.reader.decode.schema import Schema
from streaming_lab.reader.fetch.consumer import ConsumerSource, PolledBatch
from streaming_lab.reader.fetch.fetcher import FetchedChunks, Fetcher
from streaming_lab.reader.fetch.request import ReadRequest
from streaming_lab.reader.pipeline import Pipeline, Planner

DECODERS = ["python", "auto"]


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> str:
    """Every way of decoding."""
    return str(request.param)


@pytest.mark.essential
def test_several_shapes_in_one_topic_are_one_frame(kafka: Connection, decoder: str) -> None:
    """The union of all columns; a column of lists and text is kept as objects and reported as mixed."""
    more = {"event_type": "bought", "host": "h", "n": 1, "price": 1.5}
    rows = [{"event_type": "default"}] * 10 + [more] * 10
    rows += [{"event_type": "bought", "sword_type": ["long", "sharp"]}] * 10
    rows += [{"event_type": "bought", "sword_type": "short"}] * 10
    found = read_topic(kafka, values(kafka, *(json.dumps(row).encode() for row in rows)), decoder=decoder)
    assert (len(found.events), len(found.rejects)) == (40, 0)
    assert found.mixed == {"sword_type": {"missing": 20, "list": 10, "text": 10}}
    assert found.events["sword_type"].tolist()[19:31:10] == [None, ["long", "sharp"]]
    assert found.events["sword_type"][39] == "short"


@pytest.mark.essential
def test_a_column_that_comes_after_the_sample(kafka: Connection, decoder: str) -> None:
    """Without a schema, later keys and types widen the frame; no row is lost and the order stays."""
    rows = [{"a": i} for i in range(3000)] + [{"a": 0.5, "b": "x"}, {"b": 7}, {"c": None}] + [{"a": 1}] * 3000
    found = read_topic(kafka, values(kafka, *(json.dumps(row).encode() for row in rows)), decoder=decoder)
    events = found.events
    assert (len(events), len(found.rejects), events["offset"].is_monotonic_increasing) == (6003, 0, True)
    assert events["a"].dtype == "float64"
    assert events["a"][2999:3001].tolist() == [2999.0, 0.5]
    assert events["b"][3000:3002].tolist() == ["x", 7]
    assert found.mixed == {"b": {"missing": 6001, "text": 1, "number": 1}}
    assert events["c"].isna().all()


def test_a_sample_without_values_is_none() -> None:
    """A schema is learned from the first values, not from the tombstones before them: none of the rows is a stray."""
    first, second = batch([None] * 300), batch([None] * 300 + [b'{"n": 1}'] * 300)
    link = cast(BrokerConnection, None)
    works = [
        FetchedChunks([], link, bytearray()),
        *(FetchedChunks([chunk(data)], link, bytearray()) for data in (first, second)),
    ]
    planner = Planner.of(None, None)
    for work in works:
        planner.sample(work)
    assert planner.plan.names == {"n"}
    assert decode_chunk(planner.plan, works[2].chunks[0]).strays == []


def test_strays_come_in_their_places() -> None:
    """Rows that need a wider plan are in the table of their chunk, by offset; rejects are beside it."""
    lines = [b'{"a": 1}', b'{"b": 2}', b"{", None, b'{"a": 0.5}', b'{"a": 3}']
    work = PolledBatch(0, index_values(range(6), [0] * 6, [None] * 6, lines), 6)
    (part,) = Pipeline(Planner(infer.widen_plan(infer.empty_plan(), lines[:1]))).parts(iter([work]))
    columns = {name: part.decoded.table[name].to_pylist() for name in ("offset", "a", "b")}
    assert columns == {"offset": [0, 1, 4, 5], "a": [1.0, None, 0.5, 3.0], "b": [None, 2, None, None]}
    assert ([reject.offset for reject in part.decoded.rejects], part.decoded.tombstones) == ([2], [(3, None)])


def test_all_records_each_time(kafka: Connection) -> None:
    """Every read has every record of the range, and two reads are equal."""
    topic = values(kafka, *(b'{"n": %d}' % i for i in range(1000)), partitions=3)
    first, second = read_topic(kafka, topic), read_topic(kafka, topic)
    assert sorted(first.events["n"]) == list(range(1000))
    pd.testing.assert_frame_equal(first.events, second.events)


def test_records_appended_meanwhile_are_left_out(kafka: Connection) -> None:
    """A read ends at the end offset of its start, however much a writer adds meanwhile."""
    topic = values(kafka, *(b'{"n": %d}' % i for i in range(1000)), partitions=3)
    stop = threading.Event()

    def keep_writing() -> None:
        out = producer(kafka)
        while not stop.is_set():
            write(kafka, topic, {p: [(None, b'{"n": -1}')] * 50 for p in range(3)}, out)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(3):
            ends = topics.end_offsets(kafka, topic)
            found = read_topic(kafka, topic, ranges={p: (0, end) for p, end in ends.items()})
            assert found.events.groupby("partition")["offset"].max().add(1).to_dict() == ends
            assert len(found.events) == sum(ends.values())
            free = read_topic(kafka, topic)
            assert len(free.events) == sum(end for _, end in free.ranges.values())
    finally:
        stop.set()
        writer.join()


def test_tombstones_are_their_own_kind(kafka: Connection, decoder: str) -> None:
    """10 records, 3 of them a key without a value: 7 rows, 3 tombstones with key, partition and offset."""
    topic = new_topic(kafka)
    write(kafka, topic, {0: [(b"k%d" % i, None if i in (2, 5, 9) else b'{"n": %d}' % i) for i in range(10)]})
    found = read_topic(kafka, topic, decoder=decoder)
    assert found.events["n"].tolist() == [0, 1, 3, 4, 6, 7, 8]
    expected = {"partition": [0, 0, 0], "offset": [2, 5, 9], "key": ["k2", "k5", "k9"]}
    assert found.tombstones.to_dict("list") == expected
    assert len(found.rejects) == 0


@pytest.mark.parametrize("schema", [None, Schema({"id": "int64", "digits": "string"})], ids=["inferred", "declared"])
def test_integers_keep_all_their_digits(kafka: Connection, decoder: str, schema: Schema | None) -> None:
    """19 digits beside a missing value stay exact in a nullable integer column; digit text stays text."""
    topic = values(kafka, b'{"id": 1234567890123456789, "digits": "9999999999999999"}', b"{}", b'{"id": 3}')
    events = read_topic(kafka, topic, schema, decoder=decoder).events
    assert events["id"].dtype == "Int64"
    assert events["id"][0] - 1234567890123456789 == 0
    assert events["id"].isna().tolist() == [False, True, False]
    assert events["digits"].tolist()[:1] == ["9999999999999999"]
    assert events["digits"].dtype == "str"


def test_bytes_that_are_no_text(kafka: Connection, decoder: str) -> None:
    """A bad key is kept as bytes, a bad value is a reject with its bytes, and reading goes on."""
    topic = new_topic(kafka)
    good = [(b"k%d" % i, b'{"a": %d}' % i) for i in range(8)]
    write(kafka, topic, {0: [(b"\x83\x84", b'{"a": 1}'), (b"k", b"\xff\xfe\x7b"), *good]})
    found = read_topic(kafka, topic, decoder=decoder)
    assert (len(found.events), len(found.rejects)) == (9, 1)
    assert found.events["key"].tolist()[:2] == [b"\x83\x84", "k0"]
    ((partition, offset, reason, raw),) = found.rejects.itertuples(index=False)
    assert (partition, offset, raw) == (0, 1, b"\xff\xfe\x7b")
    assert reason.startswith("not UTF-8")


def test_a_huge_reject_is_cut_and_says_so(kafka: Connection) -> None:
    """The bytes of a reject are bounded."""
    found = read_topic(kafka, values(kafka, b"{" * 100_000))
    assert len(found.rejects["raw"][0]) == 65536
    assert found.rejects["reason"][0].endswith("(the first 65536 of 100000 bytes are kept)")


@pytest.mark.parametrize("schema", [None, Schema({"n": "float64"}), Schema({"n": "int64"}), Schema({"m": "string"})])
def test_nan_and_infinity_are_not_json(kafka: Connection, decoder: str, schema: Schema | None) -> None:
    """NaN, Infinity and 1e999 are rejects with their reasons, never a float infinity in silence."""
    topic = values(kafka, b'{"n": NaN}', b'{"n": Infinity}', b'{"n": 1e999}', b'{"n": 1}')
    found = read_topic(kafka, topic, schema, decoder=decoder)
    if schema is not None and "m" in schema.columns:  # nobody asked for n: 1e999 is a JSON number all the same
        assert found.rejects["reason"].tolist() == ["NaN is not JSON", "Infinity is not JSON"]
        return
    assert len(found.events) == 1
    assert found.events["n"].tolist() == [1]
    reasons = found.rejects["reason"].tolist()
    assert reasons[:2] == ["NaN is not JSON", "Infinity is not JSON"]
    assert reasons[2].startswith("n: ")


def test_an_empty_topic(kafka: Connection, decoder: str) -> None:
    """No row, the declared columns and types, at once; one record later, one row with the same types."""
    topic = new_topic(kafka, 4)
    with within(2):
        empty = read_topic(kafka, topic, EVENTS, decoder=decoder)
    assert (len(empty.events), len(empty.rejects), len(empty.tombstones)) == (0, 0, 0)
    assert empty.ranges == dict.fromkeys(range(4), (0, 0))
    event = {"event_id": "e", "event_type": "default", "player": "p", "at": "2026-01-01T00:00:00Z"}
    write(kafka, topic, {2: [(b"p", json.dumps(event).encode())]})
    one = read_topic(kafka, topic, EVENTS, decoder=decoder)
    assert len(one.events) == 1
    assert one.events.dtypes.to_dict() == empty.events.dtypes.to_dict()
    assert str(one.events["at"].dtype) == "datetime64[us, UTC]"
    assert str(one.events["timestamp"].dtype) == "datetime64[ms, UTC]"


def test_a_topic_that_does_not_exist(kafka: Connection) -> None:
    """The error names the topic and the nearest existing name, in less than 5 s."""
    name = values(kafka, b"{}")
    with within(5), pytest.raises(UnknownTopic, match=f"topic '{name}s' does not exist .did you mean '{name}'"):
        read_topic(kafka, name + "s")


@pytest.mark.slow
def test_a_broker_that_is_not_there() -> None:
    """A missing broker has another message than a missing topic, in less than 5 s."""
    with within(5), pytest.raises(BrokerUnavailable, match=r"no broker answers at 127\.0\.0\.1:1"):
        read_topic({"bootstrap_servers": ["127.0.0.1:1"]}, "events")


def test_events_of_the_game_that_are_none(kafka: Connection, decoder: str) -> None:
    """With the game's schema: a wrong type, an unknown event type, a missing key and another timestamp are rejects."""
    good = {"event_id": "e", "event_type": "default", "player": "p", "at": "2026-01-01T00:00:00.123Z"}
    odd = [{"event_id": 5}, {"event_type": "danced"}, {"player": None}, {"at": "noon"}]
    topic = values(kafka, *(json.dumps({**good, **change}).encode() for change in [{}, *odd, {"new": 1}]))
    found = read_topic(kafka, topic, EVENTS, decoder=decoder)
    assert found.events["offset"].tolist() == [0, 5]
    assert found.rejects["reason"].tolist() == [
        "event_id: 5 is an integer, not string",
        "event_type 'danced' is not one of default, joined_guild, purchased_sword, sold_sword",
        "player is missing",
        "at: 'noon' is not an ISO 8601 time",
    ]


def test_columns_are_pushed_down(kafka: Connection, decoder: str) -> None:
    """Only the requested columns are decoded and judged; an unknown name is an error."""
    topic = values(kafka, b'{"a": 1, "b": "x", "offset": 9}', b'{"a": 2, "b": 5}')
    schema = Schema({"a": "int64", "b": "string", "offset": "int64"})
    found = read_topic(kafka, topic, schema, columns=["offset", "a", "offset_value"], decoder=decoder)
    assert found.events.columns.tolist() == ["offset", "a", "offset_value"]
    assert found.events["a"].tolist() == [1, 2]
    assert found.events["offset_value"].tolist()[:1] == [9]
    assert read_topic(kafka, topic, columns=["a", "key"], decoder=decoder).events["a"].tolist() == [1, 2]
    with pytest.raises(LabError, match="no such column: c"):
        read_topic(kafka, topic, schema, columns=["c"])


def test_limit_reads_no_further(kafka: Connection, decoder: str) -> None:
    """A limit gives that many events, and the ranges that were read for them."""
    topic = values(kafka, *[b"{broken", None, *(b'{"n": %d}' % i for i in range(100))], partitions=2)
    found = read_topic(kafka, topic, limit=60, decoder=decoder)
    assert len(found.events) == 60
    assert found.ranges == {0: (0, 51), 1: (0, 11)}
    assert (len(found.rejects), len(found.tombstones)) == (1, 1)


def test_limit_passes_over_what_is_no_event(kafka: Connection, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 aborted records take a few requests; what lies behind the last event is not counted."""
    topic = values(kafka, b"{", *[b'{"n": 1}'] * 4)
    abort(kafka, topic, 20_000)
    write(kafka, topic, {0: [(None, value) for value in (b"{", None, b'{"n": 2}', b"{", None) for _ in range(10)]})
    ask, asked = Fetcher._ask, []
    monkeypatch.setattr(Fetcher, "_ask", lambda self, *of: (asked.append(of), ask(self, *of)))
    found = read_topic(kafka, topic, limit=6, isolation="read_committed", decoder=decoder)
    assert found.events["n"].tolist() == [1] * 4 + [2] * 2
    assert (len(found.rejects), len(found.tombstones), found.aborted) == (11, 10, 20_000)
    assert found.ranges == {0: (0, 5 + 20_001 + 22)}
    assert len(asked) < 40


def test_the_whole_range_is_accounted_for(kafka: Connection, decoder: str) -> None:
    """Events, rejects, tombstones, aborted and control records are all there is between any two offsets."""
    topic = values(kafka, b"{}", b"{", None)
    abort(kafka, topic, 5)  # [3, 8), and the control record 8
    write(kafka, topic, {0: [(None, b"{}")] * 3})
    for start, end in [(0, 12), (2, 5), (4, 6), (5, 9), (8, 10), (9, 12)]:
        found = read_topic(kafka, topic, ranges={0: (start, end)}, isolation="read_committed", decoder=decoder)
        rows = len(found.events) + len(found.rejects) + len(found.tombstones) + found.aborted
        assert rows + (start <= 8 < end) == end - start


def test_start_and_end(kafka: Connection) -> None:
    """Offsets for all, offsets per partition, and moments."""
    topic = values(kafka, *(b'{"n": %d}' % i for i in range(20)), partitions=2)
    assert read_topic(kafka, topic, start=3, end=5).ranges == {0: (3, 5), 1: (3, 5)}
    assert read_topic(kafka, topic, start={1: 8}, end={0: 2}).ranges == {0: (0, 2), 1: (8, 10)}
    later = read_topic(kafka, topic).events["timestamp"].max().to_pydatetime() + timedelta(milliseconds=1)
    assert read_topic(kafka, topic, start=later).ranges == {0: (10, 10), 1: (10, 10)}
    assert len(read_topic(kafka, topic, end=later).events) == 20
    assert len(read_topic(kafka, topic, start=datetime(2020, 1, 1, tzinfo=UTC)).events) == 20
    with pytest.raises(LabError, match="no time zone"):
        read_topic(kafka, topic, start=datetime(2020, 1, 1))  # noqa: DTZ001


def test_moments_between_two_milliseconds(kafka: Connection) -> None:
    """A moment is the first millisecond that is not before it: nothing earlier is read, nor left out at the end."""
    topic = new_topic(kafka)
    out, moment = producer(kafka), datetime(2026, 11, 1, tzinfo=UTC)
    for milliseconds in (0, 1, 2):
        out.produce(topic, b"{}", partition=0, timestamp=int(moment.timestamp() * 1000) + milliseconds)
    assert out.flush(20) == 0
    later = moment + timedelta(microseconds=900)
    assert read_topic(kafka, topic, start=later).ranges == {0: (1, 3)}
    assert read_topic(kafka, topic, end=later).ranges == {0: (0, 1)}
    assert read_topic(kafka, topic, start=moment + timedelta(milliseconds=1)).ranges == {0: (1, 3)}
    assert read_topic(kafka, topic, start=datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)).ranges == {0: (0, 3)}


def test_a_range_is_never_backwards(kafka: Connection) -> None:
    """A start beyond the log, or beyond the end that was asked for, is a range without offsets."""
    topic = values(kafka, *[b"{}"] * 4)
    assert read_topic(kafka, topic, start=9).ranges == {0: (4, 4)}
    assert read_topic(kafka, topic, start=3, end=1).ranges == {0: (1, 1)}
    assert read_topic(kafka, topic, start=9, limit=1).ranges == {0: (4, 4)}


def test_a_partition_that_is_not_there(kafka: Connection) -> None:
    """An unknown partition is an error at once, in ranges, start and end, with the existing partitions."""
    topic = values(kafka, b"{}", b"{}", partitions=2)
    for place in ({"ranges": {1: (0, 1), 7: (0, 1)}}, {"start": {7: 0}}, {"end": {7: 0}}):
        with pytest.raises(LabError, match=r"there is no partition \[7\]\nThe partitions are \[0, 1\]"):
            read_topic(kafka, topic, **place)


def test_text(kafka: Connection) -> None:
    """The seed's lines, as kcat prints them."""
    topic = values(kafka, b"default", b"purchased_sword", None, b"sold \xff")
    assert read_text(kafka, topic) == ["default", "purchased_sword", "sold \\xff"]
    assert read_text(kafka, topic, ranges={0: (1, 2)}) == ["purchased_sword"]


def test_batches_within_a_budget(kafka: Connection, decoder: str) -> None:
    """Tables one after another, whose rows are those of the frame; rejects go to a callback or stop the walk."""
    topic = new_topic(kafka, 2)
    lines = [b'{"n": %d, "pad": "%s"}' % (i, b"x" * 500) for i in range(5000)] + [b"{"]
    small = producer(kafka, batch_size=1 << 16)  # a record batch that is larger than the budget comes as a whole
    write(kafka, topic, {p: [(None, line) for line in lines[p::2]] for p in range(2)}, small)
    rejected: list[int] = []
    tables = list(
        read_batches(kafka, topic, memory=1 << 20, decoder=decoder, on_rejected=lambda p, _: rejected.append(p))
    )
    assert sum(len(table) for table in tables) == 5000
    assert max(table.nbytes for table in tables) < 1 << 20
    assert rejected == [0]
    found = pd.concat([table.to_pandas() for table in tables]).sort_values(["partition", "offset"])
    assert found["n"].tolist() == read_topic(kafka, topic).events["n"].tolist()
    with pytest.raises(LabError, match="partition 0, offset 2500 is no row: not JSON"):
        list(read_batches(kafka, topic))


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_batches_within_a_budget_however_compressed(kafka: Connection, decoder: str, codec: str) -> None:
    """The memory bound counts inflated bytes, not the bytes in the log."""
    topic = new_topic(kafka)
    lines = [(None, b'{"n": %d, "pad": "%s"}' % (i, b"x" * 500)) for i in range(20_000)]
    write(kafka, topic, {0: lines}, producer(kafka, batch_size=1 << 15, compression_type=codec))
    tables = list(read_batches(kafka, topic, memory=2 << 20, decoder=decoder))
    assert sum(map(len, tables)) == 20_000
    assert max(table.nbytes for table in tables) < (2 << 20) / 3  # three are in flight
    assert len(tables) < 200


def test_a_range_that_is_not_there_yet(kafka: Connection) -> None:
    """At the deadline the error names partition, position and end."""
    topic = values(kafka, b"{}", b"{}")
    with pytest.raises(LabError, match=r"partition 0 is at 2 of 5"):
        read_topic(kafka, topic, ranges={0: (0, 5)}, timeout=1.5)


def test_unknown_settings(kafka: Connection) -> None:
    """An unknown decoder or isolation is an error with the known names."""
    with pytest.raises(LabError, match="decoder 'rust' is unknown"):
        read_topic(kafka, "events", decoder="rust")
    with pytest.raises(LabError, match="isolation 'none' is unknown"):
        read_topic(kafka, "events", isolation="none")


def test_the_way_round_gives_the_same(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where plain sockets do not apply from some offset on, KafkaConsumer continues there, and the result says so."""
    topic = new_topic(kafka, 2)
    write(kafka, topic, {p: [(b"k", b'{"n": %d}' % i) for i in range(3000)] for p in range(2)})
    write(kafka, topic, {0: [(b"\xff", None), (None, b"{"), (None, b'{"n": "text"}')]})
    write(kafka, topic, {0: [(None, b'{"n": 1, "pad": "%s"}' % (b"x" * 900_000))] * 12})  # more than one answer
    expected = read_topic(kafka, topic)
    fetch, taken = Fetcher._take, []

    def gives_up(self: Fetcher, link: BrokerConnection) -> object:
        taken.append(link)
        return fetch(self, link) if len(taken) < 2 else (FetchedChunks([], link, bytearray()), Unsupported("error 99"))

    monkeypatch.setattr(Fetcher, "_take", gives_up)
    found = read_topic(kafka, topic)
    assert found.decoder == "consumer: error 99"
    for name in ("events", "rejects", "tombstones"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name))
    assert (found.ranges, found.mixed) == (expected.ranges, expected.mixed)


@pytest.mark.parametrize("asked", ["poll", "position", "beginning_offsets", "end_offsets", "offsets_for_times"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            kafka_errors.TopicAuthorizationFailedError("not you"),
            "has no right to do this on topic TOPIC .*\nLet whoever",
        ),
        (kafka_errors.KafkaTimeoutError("too slow"), "topic TOPIC: no answer from 127.0.0.1:.*too slow\nSee whether"),
    ],
)
def test_errors_of_the_consumer(
    kafka: Connection, monkeypatch: pytest.MonkeyPatch, asked: str, error: Exception, message: str
) -> None:
    """Each of KafkaConsumer's errors becomes a LabError with the topic and the next step."""

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(KafkaConsumer, asked, fails)
    topic = values(kafka, b"{}")
    with ConsumerSource(kafka, topic, committed=False, deadline=time.monotonic() + 10) as source:
        request = ReadRequest(kafka, topic, start=datetime(2020, 1, 1, tzinfo=UTC))
        with pytest.raises(LabError, match=message.replace("TOPIC", f"'{topic}'")):
            list(source.read(request.resolve_offsets(source)))


def test_security_is_left_to_the_consumer(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection with TLS or SASL never sees our plain sockets; all of it comes through KafkaConsumer."""

    def plainly(connection: Connection, *names: str, **settings: object) -> ConsumerSource:
        return ConsumerSource(
            {**connection, "security_protocol": "PLAINTEXT"}, *names, **settings
        )  # the broker has no SASL

    monkeypatch.setattr("streaming_lab.reader.fetch.consumer.ConsumerSource", plainly)
    topic = values(kafka, b'{"n": 1}', b"{", None, b'{"n": 2}', partitions=2)
    found = read_topic({**kafka, "security_protocol": "SASL_PLAINTEXT"}, topic, start=datetime(2020, 1, 1, tzinfo=UTC))
    assert found.decoder == "consumer: the connection is SASL_PLAINTEXT"
    expected = read_topic(kafka, topic)
    assert found.ranges == expected.ranges
    pd.testing.assert_frame_equal(found.events, expected.events)
    pd.testing.assert_frame_equal(found.rejects, expected.rejects)
