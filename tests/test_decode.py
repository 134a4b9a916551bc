"""The pure-Python decoder: a row means the same wherever it stands, and broken bytes are never a row."""

import json
import struct

import pytest
from hypothesis import given, settings, strategies as st
from recordbatches import ODD_VALUES, PLAN, batch, chunk, result, signed, transactional, with_

from streaming_lab.reader.decode import native
from streaming_lab.reader.decode.batches import CorruptBatch, Decoded, OldFormat, complete_prefix, first_batches
from streaming_lab.reader.decode.python import decode_chunk, decode_records
from streaming_lab.reader.decode.records import index_values
from streaming_lab.reader.decode.schema import Schema, compile_plan

COUNT = 57  # where a batch header has its number of records


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value[:40]))
def test_a_row_means_the_same_alone_and_among_others(value: bytes) -> None:
    """pyarrow reads the plain neighbours in one go; that changes nothing for the odd one, nor it for them."""
    alone = decode_chunk(PLAN, chunk(batch([value])))
    among = decode_chunk(PLAN, chunk(batch([with_(id="a")] * 20 + [value] + [with_(id="b")] * 20)))
    assert [r.reason for r in among.rejects] == [r.reason for r in alone.rejects]
    ours = among.table.filter(_at(among, 20)).drop_columns(["offset", "timestamp"])
    assert repr(ours.to_pydict()) == repr(alone.table.drop_columns(["offset", "timestamp"]).to_pydict())
    assert among.table.num_rows == 40 + alone.table.num_rows
    assert among.table["id"].to_pylist()[:20] == ["a"] * 20


def _at(decoded: Decoded, offset: int) -> list[bool]:
    return [found == offset for found in decoded.table["offset"].to_pylist()]


cells = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=3))
documents = st.dictionaries(st.sampled_from(["id", "item", "price", "quantity", "paid", "at", "x"]), cells, max_size=7)
texts = documents.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=30) | st.sampled_from(ODD_VALUES)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.lists(st.none() | texts, max_size=12), st.integers(0, 4), st.integers(0, 20))
def test_any_values_in_any_codec(values: list[bytes | None], codec: int, start: int) -> None:
    """Batches and single values agree: rows, rejects and tombstones account for every wanted record."""
    data = batch(values, codec=codec) if values else b""
    found = decode_chunk(PLAN, chunk(data, start=start, end=start + 8))
    wanted = range(start, min(len(values), start + 8))
    accounted = found.table["offset"].to_pylist() + [r.offset for r in found.rejects] + [o for o, _ in found.tombstones]
    assert sorted(accounted) == list(wanted)
    one_by_one = index_values(*([f(o) for o in wanted] for f in (int, int, lambda _: None, values.__getitem__)))
    again = decode_records(PLAN, 3, one_by_one, found.next_offset)
    assert again.rejects == found.rejects
    names = list(PLAN.payload.names)
    assert repr(again.table.select(names).to_pydict()) == repr(found.table.select(names).to_pydict())


def test_a_thousand_bad_rows_among_good_ones() -> None:
    """Halving finds each; when there are too many, the rest is read one by one; never a row is lost."""
    values = [b"{%d" % i if i % 3 == 0 else with_(id=str(i)) for i in range(3000)]
    found = decode_chunk(PLAN, chunk(batch(values)))
    assert [reject.offset for reject in found.rejects] == list(range(0, 3000, 3))
    assert found.table["id"].to_pylist() == [str(i) for i in range(3000) if i % 3]


def test_offsets_that_compaction_left_empty() -> None:
    """Batches that end after their last record, and batches without any, move the position on."""
    first, empty = bytearray(batch([with_(id="a")], base=10)), bytearray(batch([with_()], base=20)[:61])
    struct.pack_into(">i", first, 23, 7)  # last offset delta: seven records are gone
    struct.pack_into(">i", empty, 8, 49)
    struct.pack_into(">i", empty, COUNT, 0)
    found = decode_chunk(PLAN, chunk(signed(bytes(first + empty)), start=5))
    assert (found.table["offset"].to_pylist(), found.next_offset) == ([10], 21)


def test_the_time_of_the_log() -> None:
    """With message.timestamp.type=LogAppendTime, every record has the batch's time."""
    data = bytearray(batch([with_(), with_()], time=1000))
    data[22] |= 0x08
    struct.pack_into(">q", data, 35, 5000)
    found = decode_chunk(PLAN, chunk(signed(bytes(data))))
    assert found.table["timestamp"].cast("int64").to_pylist() == [5000, 5000]


def test_records_without_a_time() -> None:
    """Message format v0 has none, which newer formats write as -1."""
    found = decode_records(PLAN, 3, index_values([7, 8], [None, 5], [None, None], [with_(), with_()]), 9)
    assert found.table["timestamp"].cast("int64").to_pylist() == [-1, 5]


def test_what_is_cut_off_waits_for_the_next_fetch() -> None:
    """A batch that the answer cut off is no error and no row."""
    data = batch([with_(id="a")]) + batch([with_(id="b")], base=1)
    found = decode_chunk(PLAN, chunk(data[:-1]))
    assert (found.table["id"].to_pylist(), found.next_offset) == (["a"], 1)
    assert complete_prefix(3, memoryview(data[:-1]), 0) == (len(batch([with_(id="a")])), 1, 0)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (70, b"\x00", "the CRC-32C does not match"),
        (16, b"\x07", "magic 7"),
        (8, b"\x00\x00\x00\x03", "length 3"),
    ],
)
def test_corrupt(at: int, value: bytes, message: str) -> None:
    """Partition, offset and what is wrong."""
    data = bytearray(batch([with_()], base=40))
    data[at : at + len(value)] = value
    with pytest.raises(CorruptBatch, match=f"partition 3, batch at offset 40: .*{message}"):
        decode_chunk(PLAN, chunk(bytes(data)))


def test_old_formats_are_left_to_others() -> None:
    """Message formats from before Kafka 0.11 raise `OldFormat`, also when the answer is only measured."""
    data = bytearray(batch([with_()]))
    data[16] = 1
    with pytest.raises(OldFormat):
        decode_chunk(PLAN, chunk(bytes(data)))
    with pytest.raises(OldFormat):
        complete_prefix(3, memoryview(data), 0)


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(st.integers(61, 400), st.binary(min_size=1, max_size=6))
def test_broken_records_are_never_wrong_rows(at: int, noise: bytes) -> None:
    """Behind a right checksum anything may stand: the records are read in order, or an error says what is wrong."""
    data = bytearray(batch([with_(id=str(i)) for i in range(4)]))
    data[at : at + len(noise)] = noise[: max(0, len(data) - at)]
    found = result(decode_chunk, PLAN, chunk(signed(bytes(data))))
    assert isinstance(found, tuple)
    assert len(found) == 7 or found[0] == "CorruptBatch"


@pytest.mark.parametrize(("start", "end", "aborted"), [(0, 9, 4), (0, 2, 0), (3, 5, 2), (5, 9, 1), (6, 9, 0)])
def test_aborted_records_of_a_range(start: int, end: int, aborted: int) -> None:
    """Only those in the range are counted, wherever their batch begins and ends."""
    plain, ended = batch([with_()] * 2), transactional(batch([with_()] * 4, base=2), 7)
    data = plain + ended + batch([with_()] * 3, base=6)
    for decoder in (decode_chunk, native.decode_chunk_native if native.core_available() else decode_chunk):
        found = decoder(PLAN, chunk(data, start=start, end=end, committed=True, aborted=((7, 2),)))
        assert (found.aborted, len(found.table) + found.aborted) == (aborted, end - start)


def test_no_column_at_all() -> None:
    """Also then a record is a row or a reject."""
    found = decode_chunk(compile_plan(Schema({})), chunk(batch([b'{"a": 1}', b"{}", b"{", b'{"": 5}', b'{"a": NaN}'])))
    assert found.table["offset"].to_pylist() == [0, 1, 3]
    assert [reject.offset for reject in found.rejects] == [2, 4]


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"[1, NaN]", b'{"a":NaN}'])
def test_what_is_not_json_where_nobody_looks(value: bytes) -> None:
    """pyarrow takes NaN and Infinity for JSON, also under a key that is no column."""
    odd = with_(extra="@").replace(b'"@"', value)
    found = decode_chunk(PLAN, chunk(batch([with_(extra="NaN, Infinity ]")] * 40 + [odd] + [with_(extra=1)] * 40)))
    assert [(reject.offset, reject.raw) for reject in found.rejects] == [(40, odd)]
    assert found.table.num_rows == 80


def test_a_sample_takes_no_more_batches_than_it_needs() -> None:
    """The first batches with enough wanted records; all batches when there are too few."""
    batches = [batch([with_()] * 4, base=base) for base in (0, 4, 8, 12)]
    whole = chunk(b"".join(batches), start=5)
    sizes = [len(first_batches(whole, records).data) for records in (1, 4, 5, 100)]
    assert sizes == [sum(map(len, batches[:count])) for count in (2, 2, 3, 4)]
