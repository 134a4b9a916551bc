"""The reader against independent ones: stock KafkaConsumer with json.loads, row for row, and kcat."""

import json
import math
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from kafka import KafkaConsumer, TopicPartition
from peers import needs, needs_native
from recordbatches import ODD_VALUES, SCHEMA, with_
from topics_of import Record, new_topic, producer, write

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.client.metadata import Ranges
from streaming_lab.reader import read_text, read_topic

ISOLATIONS = ["read_uncommitted", "read_committed"]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
TYPES = {"string": str, "bool": bool, "float64": float, "int64": int, "timestamp": str}


@pytest.fixture(params=["python", "native"])
def decoder(request: pytest.FixtureRequest) -> str:
    """Both decoders; a machine without a compiler has only one, CI has both."""
    if request.param == "native":
        needs_native()
    return str(request.param)


@pytest.fixture(scope="module")
def everything(kafka: Connection) -> str:
    """A topic with every codec, keys and headers, hundreds of odd values, tombstones, and transactions of all fates."""
    topic = new_topic(kafka, 2)
    plain = [(None if i % 3 else b"k%d" % i, with_(id=f"e{i}", quantity=i)) for i in range(100)]
    odd: list[Record] = [(None, value) for value in ODD_VALUES]
    for codec in CODECS:
        out = producer(kafka, compression_type=codec)
        for i, (key, value) in enumerate(plain):
            out.produce(topic, value, key, partition=i % 2, headers={"h": b"v", "n": b""} if i % 4 == 0 else None)
        write(kafka, topic, {0: odd, 1: [(b"gone", None), (None, None), *plain[:5]]}, out)
    for fate in ("commit", "abort", "commit", "abort"):
        transact(kafka, topic, fate, {p: plain[p:40:2] for p in range(2)})
    write(kafka, topic, dict.fromkeys(range(2), plain[:30]))
    transact(kafka, topic, "abort", {0: plain[:1]})
    return topic


def transact(kafka: Connection, topic: str, fate: str, records: dict[int, list[Record]]) -> None:
    """One transaction that ends by commit or abort."""
    out = producer(kafka, transactional_id=f"{topic}-{fate}")
    out.init_transactions(20)
    out.begin_transaction()
    write(kafka, topic, records, out)
    {"commit": out.commit_transaction, "abort": out.abort_transaction}[fate](20)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_every_row(kafka: Connection, everything: str, decoder: str, isolation: str) -> None:
    """Rows, rejects and tombstones are those of the obvious loader, cell for cell, and account for the range."""
    found = read_topic(kafka, everything, SCHEMA, isolation=isolation, decoder=decoder)
    rows, rejects, tombstones = judged(consume(kafka, everything, isolation, found.ranges), judge)
    assert places(found.rejects) == rejects
    assert places(found.tombstones) == tombstones
    assert places(found.events) == [place for place, _ in rows]
    for name in SCHEMA.columns:
        assert cells(found.events[name]) == [row[name] for _, row in rows], name
    assert (found.aborted > 0) == (isolation == "read_committed")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_every_row_without_a_schema(kafka: Connection, everything: str, decoder: str, isolation: str) -> None:
    """Whatever types the columns become, cells are what json.loads reads; only what no type holds is a reject."""
    found = read_topic(kafka, everything, isolation=isolation, decoder=decoder)
    rows, rejects, tombstones = judged(consume(kafka, everything, isolation, found.ranges), judge_any)
    assert (places(found.rejects), places(found.tombstones)) == (rejects, tombstones)
    assert places(found.events) == [place for place, _ in rows]
    names = {name for _, row in rows for name in row}
    assert set(found.events.columns) == {"partition", "offset", "timestamp", "key", *names}
    for name in names:
        assert cells(found.events[name]) == [row.get(name) for _, row in rows], name


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_keys_and_timestamps(kafka: Connection, everything: str, decoder: str, isolation: str) -> None:
    """What belongs to the record itself, for every row."""
    found = read_topic(kafka, everything, SCHEMA, isolation=isolation, decoder=decoder)
    rows = set(places(found.events))
    records = [r for r in consume(kafka, everything, isolation, found.ranges) if (r.partition, r.offset) in rows]
    assert cells(found.events["key"]) == [None if r.key is None else r.key.decode() for r in records]
    assert found.events["timestamp"].astype("int64").tolist() == [r.timestamp for r in records]


def test_nobody_waits_for_an_open_transaction(kafka: Connection, decoder: str) -> None:
    """read_committed ends at the last stable offset; read_uncommitted sees what is not decided yet."""
    topic = new_topic(kafka)
    write(kafka, topic, {0: [(None, b'{"n": 1}')]})
    out = producer(kafka, transactional_id=topic)
    out.init_transactions(20)
    out.begin_transaction()
    write(kafka, topic, {0: [(None, b'{"n": 2}')]}, out)
    committed = read_topic(kafka, topic, isolation="read_committed", decoder=decoder, timeout=10)
    assert (committed.events["n"].tolist(), committed.ranges) == ([1], {0: (0, 1)})
    assert read_topic(kafka, topic, decoder=decoder).events["n"].tolist() == [1, 2]
    out.abort_transaction(20)
    assert read_topic(kafka, topic, isolation="read_committed", decoder=decoder).events["n"].tolist() == [1]


def test_a_batch_larger_than_the_fetch(kafka: Connection, decoder: str) -> None:
    """One record larger than a partition's share of an answer still comes."""
    topic = new_topic(kafka, 2, max_message_bytes=str(20 << 20))
    big = json.dumps({"text": "x" * (10 << 20)}).encode()
    out = producer(kafka, message_max_bytes=20 << 20)
    write(kafka, topic, {p: [(None, big), (None, b'{"text": "y"}')] for p in range(2)}, out)
    found = read_topic(kafka, topic, decoder=decoder)
    assert found.events["text"].str.len().tolist() == [10 << 20, 1] * 2


def test_kcat_agrees(kafka: Connection, everything: str, decoder: str) -> None:
    """A client that shares no code with ours sees the same offsets, keys and values."""
    form = '{"p":%p,"o":%o,"k":%K,"s":%S,"t":%T}\n'
    command = [needs("kcat"), "-b", addresses(kafka), "-C", "-t", everything, "-o", "beginning", "-e", "-q", "-f", form]
    printed = subprocess.run([*command, "-X", "isolation.level=read_committed"], capture_output=True, check=True)
    seen = sorted((r["p"], r["o"], r["k"], r["s"], r["t"]) for r in map(json.loads, printed.stdout.splitlines()))
    found = read_topic(kafka, everything, SCHEMA, isolation="read_committed", decoder=decoder)
    ours = sorted(places(found.events) + places(found.rejects) + places(found.tombstones))
    assert ours == [(partition, offset) for partition, offset, *_ in seen]
    times = {(p, o): t for p, o, _, _, t in seen}
    assert found.events["timestamp"].astype("int64").tolist() == [times[place] for place in places(found.events)]


def test_kcat_prints_the_same_lines(kafka: Connection) -> None:
    """read_text is what kcat prints."""
    topic = new_topic(kafka)
    write(kafka, topic, {0: [(None, b"default"), (None, b"purchased_sword"), (b"k", "épée".encode())]})
    command = [needs("kcat"), "-b", addresses(kafka), "-C", "-t", topic, "-o", "beginning", "-e", "-q"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert read_text(kafka, topic) == printed.splitlines() == ["default", "purchased_sword", "épée"]


def consume(kafka: Connection, topic: str, isolation: str, ranges: Ranges) -> list[Any]:
    """Every record of the ranges, by partition and offset, as the stock consumer gives them."""
    found = []
    with KafkaConsumer(**kafka, group_id=None, isolation_level=isolation, enable_auto_commit=False) as consumer:
        for partition, (start, end) in ranges.items():
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            consumer.seek(place, start)
            while consumer.position(place) < end:
                for records in consumer.poll(200).values():
                    found += [record for record in records if record.offset < end]
    return found


def judged(records: list[Any], judge: Callable[[bytes], dict[str, Any]]) -> tuple[list[Any], list[Any], list[Any]]:
    """What json.loads, and nothing of ours, makes of the records: rows, rejects, tombstones."""
    rows: list[Any] = []
    rejects, tombstones = [], []
    for record in records:
        place = (record.partition, record.offset)
        if record.value is None:
            tombstones.append(place)
            continue
        try:
            rows.append((place, judge(record.value)))
        except (ValueError, RecursionError):
            rejects.append(place)
    return rows, rejects, tombstones


def judge(value: bytes) -> dict[str, Any]:
    """One value by the letter of the schema; ValueError when it is no row."""
    found = an_object(value)
    row = {name: judge_cell(kind, found.get(name)) for name, kind in SCHEMA.columns.items()}
    if row["id"] is None or row["kind"] not in (None, *SCHEMA.one_of["kind"]):
        raise ValueError("required or not one of")
    return row


def judge_any(value: bytes) -> dict[str, Any]:
    """One value as it is; ValueError when it is no row of any schema."""
    found = an_object(value)
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    return found


def an_object(value: bytes) -> dict[str, Any]:
    """What json.loads reads, or ValueError; integers of more digits than Python likes are floats."""
    found = json.loads(
        value, parse_constant=not_json, parse_int=lambda digits: float(digits) if len(digits) > 4000 else int(digits)
    )
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def judge_cell(kind: str, cell: Any) -> Any:
    """The cell in the column's type; a float's integer value counts as an integer, and the other way round."""
    if cell is None:
        return None
    if kind == "float64" and type(cell) in (int, float):
        cell = float_of(cell)
    if kind == "int64" and type(cell) is float and cell.is_integer() and abs(cell) <= 2**53:
        cell = int(cell)
    if type(cell) is not TYPES[kind] or (kind == "int64" and not -(2**63) <= cell < 2**63):
        raise ValueError("type")
    if kind == "string":
        cell.encode()
    if kind != "timestamp":
        return cell
    try:
        moment = datetime.fromisoformat(cell)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("out of time") from None


def float_of(number: Any) -> float:
    """A finite float, or ValueError."""
    try:
        found = float(number)
    except OverflowError:
        raise ValueError("too large") from None
    if not math.isfinite(found):
        raise ValueError("not finite")
    return found


def not_json(name: str) -> None:
    raise ValueError(name)


def places(frame: pd.DataFrame) -> list[tuple[int, int]]:
    """(partition, offset) of each row."""
    return list(zip(frame["partition"].tolist(), frame["offset"].tolist(), strict=True))


def cells(column: "pd.Series[Any]") -> list[Any]:
    """Python values, None where missing, times with their microseconds."""
    return [
        None if missing(cell) else cell.to_pydatetime() if isinstance(cell, pd.Timestamp) else cell for cell in column
    ]


def missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))
