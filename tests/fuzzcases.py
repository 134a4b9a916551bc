"""Cases for the fuzzer: record batches of odd rows, plans to decode them with, and wounds for their bytes."""

import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace

from recordbatches import ODD_VALUES, PLAN, ROW, SCHEMA, batch, signed, with_

from streaming_lab.reader.decode.infer import empty_plan, widen_plan
from streaming_lab.reader.decode.schema import Plan, Schema, compile_plan


def plans() -> list[Plan]:
    """The tests' plan, one for whatever it can become, one that must know every key, and one that was inferred."""
    learned = widen_plan(empty_plan(ROW), [b'{"price": 0.5, "quantity": 1, "item": [], "id": "x"}'])
    some = compile_plan(Schema({"id": "string", "price": "int64", "at": "string", "extra": "json", "item": "null"}))
    return [PLAN, PLAN, compile_plan(SCHEMA, ["price"]), some, replace(some, inferred=True, all_keys=True), learned]


def make(dice: random.Random) -> bytes:
    """A few good batches: plain rows, the tests' odd values, and JSON of any shape."""

    def value() -> bytes | None:
        kind = dice.random()
        if kind < 0.4:
            return with_(id=str(dice.random()), price=dice.choice([dice.random(), dice.getrandbits(60), None]))
        if kind < 0.6:
            return dice.choice(ODD_VALUES[:400])[:2000]
        return any_object(dice).encode("utf8", "surrogatepass") if kind < 0.95 else None

    batches, base = [], 0
    for _ in range(dice.randrange(1, 4)):
        values = [value() for _ in range(dice.randrange(1, 6))]
        keys = dice.choice([[None], [b"k", None], [b""], [b"key" * 50]])
        headers = dice.choice([[], [], [("h", b"v")], [("h", b"v" * 200)]])
        codec = dice.choice([0, 0, 0, 0, 1, 2, 3, 4])
        batches.append(batch(values, base=base, codec=codec, keys=keys, headers=headers))
        base += len(values) + dice.choice([0, 0, 3])
    return b"".join(batches)


def any_object(dice: random.Random) -> str:
    """An object of the plan's and other names with any values, laid out in any way."""
    names = [*ROW, "extra", "é", "x" * 70]
    row = {dice.choice(names): any_value(dice, 0) for _ in range(dice.randrange(9))}
    gap = dice.choice([(", ", ": "), (",", ":"), (" ,\t", " :\n ")])
    return json.dumps(row, ensure_ascii=dice.random() < 0.5, separators=gap)


def any_value(dice: random.Random, depth: int) -> object:
    makers: list[Callable[[], object]] = [
        lambda: dice.choice(list(ROW.values())),
        lambda: dice.choice([True, False, None, 0, -0.0, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 1e308, 5e-324]),
        lambda: dice.uniform(-1, 1) * 10.0 ** dice.randrange(-320, 308),
        lambda: dice.getrandbits(dice.randrange(1, 70)),
        lambda: "".join(dice.choice('a"\\/\n\té薙😀\ud83d\x00 :,{}') for _ in range(dice.randrange(24))),
    ]
    if depth < 3:
        makers.append(lambda: [any_value(dice, depth + 1) for _ in range(dice.randrange(3))])
        makers.append(lambda: {str(i): any_value(dice, depth + 1) for i in range(dice.randrange(3))})
    return dice.choice(makers)()


def mutated(dice: random.Random, data: bytes) -> bytes:
    """The bytes with up to four wounds, mostly behind checksums that are right again."""
    wounded = bytearray(data)
    for _ in range(dice.choice([0, 1, 1, 1, 2, 4])):
        if len(wounded) < 2:
            break
        dice.choice(WOUNDS)(dice, wounded)
    return signed(bytes(wounded)) if dice.random() < 0.9 else bytes(wounded)


def flip_bit(dice: random.Random, data: bytearray) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def set_byte(dice: random.Random, data: bytearray) -> None:
    data[dice.randrange(len(data))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, *b'"\\{}[]:,ne-09.+ \n'])


def set_field(dice: random.Random, data: bytearray) -> None:
    """A field of the first batch's header: length, magic, attributes, last offset, timestamps, producer, count."""
    at, form = dice.choice(
        [(8, ">i"), (16, ">b"), (21, ">h"), (23, ">i"), (27, ">q"), (35, ">q"), (43, ">q"), (57, ">i")]
    )
    if len(data) >= 61:
        bits = 8 * struct.calcsize(form)
        near = struct.unpack_from(form, data, at)[0] + dice.randrange(-3, 4)
        value = dice.choice([near, 0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), dice.getrandbits(bits - 1)])
        struct.pack_into(form, data, at, max(-(2 ** (bits - 1)), min(value, 2 ** (bits - 1) - 1)))


def cut_out(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data))
    del data[at : at + dice.choice([1, 1, 2, 8, 100, len(data)])]


def double(dice: random.Random, data: bytearray) -> None:
    at, length = dice.randrange(len(data)), dice.choice([1, 2, 8, 61, 200])
    data[at:at] = data[at : at + length]


def long_number(dice: random.Random, data: bytearray) -> None:
    """A varint that never seems to end, or a huge one."""
    at = dice.randrange(len(data))
    data[at : at + 1] = dice.choice(
        [b"\xff" * 11, b"\xff\xff\xff\xff\x0f", b"\xfe\xff\xff\xff\x0f", b"\x80" * 9 + b"\x02"]
    )


WOUNDS = (flip_bit, set_byte, set_byte, set_field, cut_out, double, long_number)
