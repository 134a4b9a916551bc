"""The native core gives the same result as the pure-Python decoder, and reports whether it is there."""

import json
import locale
import os
import struct
import subprocess
import sys
import threading
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import SimpleNamespace

import pytest
from crc32c import crc32c
from hypothesis import given, settings, strategies as st
from peers import needs_native
from recordbatches import ODD_VALUES, PLAN, ROW, batch, chunk, result, signed, with_

from streaming_lab.reader.decode import native, python
from streaming_lab.reader.decode.infer import empty_plan, widen_plan
from streaming_lab.reader.decode.schema import Schema, compile_plan
from streaming_lab.reader.decode.values import canonical_json

_columns = native._core


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The core itself: these are its tests."""
    needs_native()


def check_same(data: bytes, plan: object = PLAN, **of: object) -> None:
    """Both decoders give the same rows, cells, types, rejects, tombstones and errors."""
    expected = result(python.decode_chunk, plan, chunk(data, **of))
    assert result(native.decode_chunk_native, plan, chunk(data, **of)) == expected


def test_odd_values_beside_plain_ones() -> None:
    """Hundreds of odd values, each with plain neighbours in the same batch."""
    check_same(batch([value for odd in ODD_VALUES for value in (with_(), odd)]))


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value[:40]))
def test_odd_value_alone(value: bytes) -> None:
    """Each odd value as the last bytes of the chunk, where reading ahead would leave it."""
    check_same(batch([value]))


@pytest.mark.parametrize("codec", range(5), ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_codecs(codec: int) -> None:
    """Compressed batches, keys, headers and tombstones mixed with plain ones."""
    keys, headers = [b"k", None, b"", b"\xff\x00"], [("trace", b"1"), ("empty", b"")]
    values = [with_(), None, b"{", with_(id="2"), None]
    first = batch(values, codec=codec, keys=keys, headers=headers)
    check_same(first + batch(values, base=5) + batch(values, base=10, codec=codec, keys=[b"x"]))


@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_stay_native(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core has them inflated and reads on, odd rows of memory that is gone by then included."""
    monkeypatch.setattr(native.python, "decode_pieces", lambda *_: pytest.fail("handed to the pure-Python decoder"))
    data = batch([with_(), b"{", with_(id="é")], codec=codec) + batch([None, with_()], base=3, codec=codec)
    found = native.decode_chunk_native(PLAN, chunk(data))
    assert (found.table["offset"].to_pylist(), found.table["id"].to_pylist()) == ([0, 2, 4], ["e-1", "é", "e-1"])
    assert ([reject.raw for reject in found.rejects], found.tombstones) == ([b"{"], [(3, None)])


JSON_PLAN = compile_plan(Schema({"any": "json", "id": "string"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":1,"b":[1,2.50,-0.0,"x"]}', '{"a": 1, "b": [1, 2.5, -0.0, "x"]}'),
        (" [ ] ", "[]"),
        ('{ "a" :\t{ } }', '{"a": {}}'),
        (r'"\u00e9\u0007\n\/\u0022\u005c\ud83d\ude00"', r'"é\u0007\n/\"\\😀"'),
        ("true", "true"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("0.1234567890123456", "0.1234567890123456"),
        ("-0.30000000000000004", "-0.30000000000000004"),
        ("0.000123", "0.000123"),
        ("100.0", "100.0"),
    ],
)
def test_any_value_in_its_canonical_text(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of type json is read by the core, too: what json.dumps would write of it."""
    monkeypatch.setattr(native, "patch_rows", lambda *_: pytest.fail("read as an odd row"))
    found = native.decode_chunk_native(JSON_PLAN, chunk(batch([f'{{"any": {text}, "id": "e-1"}}'.encode()])))
    assert found.table["any"].to_pylist() == [expected] == [canonical_json(json.loads(text))]


INFERRED = widen_plan(
    empty_plan(["int", "float", "any", "id"]), [b'{"int": 1, "float": 0.5, "any": []}', b'{"id": "x"}']
)


def test_numbers_of_an_inferred_plan_stay_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core has whole numbers in a json column as integers, and exact ones in the others."""
    monkeypatch.setattr(native, "patch_rows", lambda *_: pytest.fail("read as an odd row"))
    rows = [(2**53, float(2**53), "1"), (-(2**53), 1e300, "-7"), (0, -0.0, "-0.0"), (1, -1.0, "0.5")]
    texts = [b'{"int": 9007199254740992, "float": 9007199254740992, "any": 1.0}']
    texts += [b'{"int": -9007199254740992, "float": 1e300, "any": -7.00}', b'{"int": 0, "float": -0.0, "any": -0.0}']
    table = native.decode_chunk_native(INFERRED, chunk(batch([*texts, b'{"int": 1, "float": -1, "any": 0.5}']))).table
    assert list(zip(*(table[name].to_pylist() for name in ("int", "float", "any")), strict=True)) == rows


@pytest.mark.parametrize("text", [str(2**53 + 1), str(-(2**53) - 1), str(2**63), "-0", "1.0", "1" * 20, "9" * 5000])
def test_numbers_that_an_inferred_plan_has_no_room_for(text: str) -> None:
    """What a float64 would round, or an integer column not tell from an integer, is judged by Python."""
    check_same(batch([f'{{"{name}": {text}}}'.encode() for name in ("int", "float", "any")]), INFERRED)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.from_regex(
    r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
VALUES = st.recursive(
    NUMBERS | st.text(st.characters(), max_size=12).map(json.dumps) | st.sampled_from(["null", "true", "false"]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda all: "[" + " , ".join(all) + "]")
        | st.lists(st.tuples(st.sampled_from(["a", "é", r"\u00e9", "b", ""]), inner), max_size=4).map(
            lambda all: "{" + ",".join(f'"{name}":{value}' for name, value in all) + "}"
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=6))
def test_any_values(texts: list[str]) -> None:
    """Whatever stands in a json column, both decoders have the same text of it, or the same reason."""
    values = [f'{{"any": {text}, "id": "e-1"}}'.encode("utf8", "surrogatepass") for text in texts]
    check_same(batch(values), JSON_PLAN)
    check_same(batch([value.replace(b'"any"', b'"float"') for value in values] + values), INFERRED)


def test_digits_in_another_locale() -> None:
    """The program's locale does not change which digits are the shortest."""
    names = [name for name in ("de_DE.UTF-8", "fr_FR.UTF-8") if _has_locale(name)]
    value = batch([b'{"any": [0.10000000000000001, 0.30000000000000004]}'])
    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        for name in [*names, "C"]:
            locale.setlocale(locale.LC_NUMERIC, name)
            check_same(value, JSON_PLAN)
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)


def _has_locale(name: str) -> bool:
    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        locale.setlocale(locale.LC_NUMERIC, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_NUMERIC, before)
    return True


def test_a_codec_that_there_is_not() -> None:
    """Both decoders name it."""
    data = bytearray(batch([with_()]))
    data[22] |= 6
    check_same(signed(bytes(data)))


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (3, 8), (4, 100), (9, 9), (11, 100), (50, 100)])
def test_wanted_range(start: int, end: int) -> None:
    """Only the wanted offsets become rows, wherever the batches begin; the next offset counts whole batches."""
    data = b"".join(batch([with_(id=str(base + i)) for i in range(4)], base=base) for base in (0, 4, 8))
    check_same(data, start=start, end=end)


def test_partial_batch_at_the_end() -> None:
    """A batch that is cut off is left for the next chunk, cut at any place."""
    whole, cut = batch([with_()]), batch([with_()], base=1)
    for length in range(len(cut)):
        check_same(whole + cut[:length])


def test_damaged_checksum() -> None:
    """A flipped bit is the Python decoder's error, word for word."""
    data = bytearray(batch([with_(), with_()]))
    data[80] ^= 1
    check_same(bytes(data))


def test_broker_time() -> None:
    """With LogAppendTime every record has the batch's time."""
    data = bytearray(batch([with_(), with_()]))
    data[22] |= 0x08
    data[35:43] = struct.pack(">q", 1_800_000_000_123)
    check_same(signed(bytes(data)))


def test_transactions() -> None:
    """Control batches are no rows; aborted ones are left out when only committed records are wanted."""
    plain = [bytearray(batch([with_(id=str(base))], base=base)) for base in range(4)]
    for data, producer in zip(plain, (7, 8, 7, 7), strict=True):
        data[22] |= 0x10
        data[43:51] = struct.pack(">q", producer)
    plain[2][22] |= 0x20
    data = signed(b"".join(map(bytes, plain)))
    check_same(data)
    check_same(data, committed=True, aborted=((7, 0),))
    check_same(data, committed=True)


@pytest.mark.parametrize(
    "types",
    [{"a": "json", "b": "string"}, {"a": "null", "b": "int64"}, {"timestamp": "timestamp", "key": "string"}, {}],
)
def test_other_plans(types: dict[str, str]) -> None:
    """Columns of any value, of nothing yet, with names of the record's own columns, and no column at all."""
    values = [
        b'{"a": [1, {"b": 2.0}], "b": "x"}',
        b'{"a": null, "b": 5}',
        b'{"key": "k", "timestamp": "2026-11-01T00:00:00Z"}',
    ]
    check_same(batch([*values, b"{}", b"5"]), compile_plan(Schema(types)))


def test_new_keys_and_types_of_an_inferred_plan() -> None:
    """With an inferred plan, what has no room yet is a stray, in both decoders."""
    from dataclasses import replace

    plan = replace(compile_plan(Schema({"a": "int64", "b": "null"})), inferred=True, all_keys=True)
    check_same(batch([b'{"a": 1}', b'{"a": 1.5}', b'{"a": 1, "c": 2}', b'{"b": "x"}', b'{"a": 2, "b": null}']), plan)


cells = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=2)
)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from([*ROW, "extra", "é"]), cells | st.sampled_from(list(ROW.values()))), max_size=8
    ),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_any_rows(rows: list[dict[str, object]], ascii_only: bool, indent: int | None) -> None:
    """Whatever Hypothesis makes of the plan's names and of JSON's types, as json.dumps writes it."""
    texts = [json.dumps(row, ensure_ascii=ascii_only, indent=indent) for row in rows]
    check_same(batch([with_(), *(text.encode("utf8", "surrogatepass") for text in texts)]))


@settings(deadline=None, max_examples=150)
@given(number=st.floats(allow_nan=False, allow_infinity=False) | st.decimals(allow_nan=False, allow_infinity=False))
def test_any_number(number: object) -> None:
    """A float64 cell is what json.loads reads, to the last bit."""
    values = [b'{"id": "x", "price": %s}' % str(number).lower().encode()]
    found = native.decode_chunk_native(PLAN, chunk(batch(values))).table["price"].to_pylist()
    assert found in ([float(json.loads(values[0])["price"])], [])
    check_same(batch(values))


OTHERS = {
    "none": [],
    "a tombstone": [None],
    "a space": [b'{"id": "1"} '],
    "long": [b'{"id": "' + b"x" * 20_000 + b'"}'],
}
KEYS = {"none": [None], "an end": [b"}\0"], "one in four": [b"}\0", None, None, None], "two ends": [b"}\0}\0", b"k"]}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
def test_what_looks_like_the_end_of_a_record(keys: list[bytes | None], others: list[bytes | None]) -> None:
    """Braces and zeros where no record ends, and records that end in something else, cut no record in two."""
    whole = [with_(), with_(id="2"), *others, with_(id="3")]
    for data in (batch(whole, keys=keys), batch(whole, keys=keys) + batch(whole, keys=keys, base=len(whole))):
        check_same(data)
    check_same(batch(whole, keys=keys, headers=[("trace", b"}\0")]) + batch(whole, base=len(whole)))


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 200))
def test_corrupted_batches(at: int, byte: int, cut: int) -> None:
    """A wrong byte anywhere, behind a right checksum, gives the same rows or the same error in both."""
    data = bytearray(batch([with_(), None, b"{", with_(id="2")], keys=[b"key", None]) * 2)
    data[at % len(data)] = byte
    check_same(signed(bytes(data[: len(data) - cut])))


@pytest.mark.parametrize("length", [*range(20), 255, 256, 767, 768, 769, 1535, 1536, 4096, 65_537])
def test_checksums(length: int) -> None:
    """The processor's CRC-32C, the one by tables, and the crc32c package agree."""
    data = os.urandom(length)
    assert _columns.crc32c(data) == (crc32c(data), crc32c(data))


def test_a_limit_of_memory_is_no_reason_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a batch that compresses well promises is only a hint: when it is not to be had, what is needed will do."""
    resource, status = pytest.importorskip("resource"), Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("needs /proc, which tells how much memory a process has")
    monkeypatch.setattr(native.python, "decode_pieces", lambda *_: pytest.fail("handed to the pure-Python decoder"))
    plain = [batch([b'{"a": "%s"}' % os.urandom(32 << 10).hex().encode()], base=base) for base in range(1, 33)]
    data = batch([b'{"a": "%s"}' % (b"x" * (256 << 10))], codec=4) + b"".join(plain)
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(status.read_text().split()[0]) * resource.getpagesize()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (now + (200 << 20), before[1]))
        found = native.decode_chunk_native(compile_plan(Schema(dict.fromkeys("abcdefghijkl", "json"))), chunk(data))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert [len(cell) - 2 for cell in found.table["a"].to_pylist()] == [256 << 10, *[64 << 10] * 32]


def test_without_enough_memory_python_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that is too large for the core's memory goes to the Python decoder, with the same result."""

    class Columns:
        def __init__(self, *_: object) -> None:
            raise MemoryError

    monkeypatch.setattr(native, "_core", SimpleNamespace(Columns=Columns, PAUSED=4))
    check_same(batch([with_(), b"{"]))


def test_threads_share_nothing() -> None:
    """Many threads decode at once, and each gets its own rows."""
    chunks = [chunk(batch([with_(id=f"{i}-{j}") for j in range(200)])) for i in range(8)]
    found: dict[int, list[str]] = {}

    def work(i: int) -> None:
        for _ in range(20):
            found[i] = native.decode_chunk_native(PLAN, chunks[i]).table["id"].to_pylist()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [f"{i}-{j}" for j in range(200)] for i in range(8)}


def test_columns_outlive_everything_else() -> None:
    """The table owns its buffers: the chunk's bytes may be reused at once."""
    data = bytearray(batch([with_(id="kept")], keys=[b"key"]))
    table = native.decode_chunk_native(PLAN, chunk(data)).table
    data[:] = bytes(len(data))
    assert (table["id"].to_pylist(), table["key"].to_pylist()) == (["kept"], [b"key"])


def test_status_names_the_source() -> None:
    """The status carries the first digits of the source's hash."""
    import hashlib

    assert (
        native.core_status()
        == f"native core built from {hashlib.sha256(native.CORE_SOURCE.read_bytes()).hexdigest()[:8]}"
    )


@pytest.mark.parametrize(
    ("hashed", "reason"),
    [
        (b"other bytes", "was changed after it was built"),
        (None, "has no hash beside it"),
        (b"no module", "does not load"),
    ],
)
def test_a_swapped_core_is_not_loaded(tmp_path: Path, hashed: bytes | None, reason: str) -> None:
    """A built file without its hash, or with another one, is absent, and none of its code has run."""
    package = tmp_path / "swapped"
    package.mkdir()
    built = package / f"_columns{EXTENSION_SUFFIXES[0]}"
    built.write_bytes(b"no module")
    if hashed is not None:
        Path(f"{built}.sha256").write_text(sha256(hashed).hexdigest() + "\n")
    program = f"""
import importlib.machinery, importlib.util, sys
from streaming_lab.reader.decode import native
loader = importlib.machinery.ExtensionFileLoader("streaming_lab.reader.decode._columns", {str(built)!r})
spec = importlib.util.spec_from_file_location("streaming_lab.reader.decode._columns", {str(built)!r}, loader=loader)
sys.modules.pop("streaming_lab.reader.decode._columns", None)
native.find_spec = lambda name: spec
native.import_module = lambda name: importlib.util.module_from_spec(spec)
try:
    native.load_core()
except native.Absent as absent:
    print(absent)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert reason in ran.stdout


def test_stale_core_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pull that changed the source, the old build is not used, and the reason has both hashes."""
    changed = tmp_path / "_columns.c"
    changed.write_bytes(native.CORE_SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(native, "CORE_SOURCE", changed)
    with pytest.raises(native.Absent, match=r"stale \(built from [0-9a-f]{8}, the source is [0-9a-f]{8}\)"):
        native.load_core()
