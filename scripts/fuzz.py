"""Tries to break the native core: mutated record batches under AddressSanitizer and UBSan, compared with pure Python.

python3 scripts/fuzz.py                      half a minute
python3 scripts/fuzz.py --minutes 60         a long one
python3 scripts/fuzz.py --seed 7 --case 123  one case of a run again
"""

import argparse
import ctypes
import faulthandler
import importlib.util
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bootstrap

bootstrap.enter()

from app.cli import positive, run, whole
from app.errors import LabError

PROJECT = Path(bootstrap.PROJECT)
SOURCE = PROJECT / "app" / "stream" / "_columns.c"
FLAGS = ["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
COMPARED = 3  # every third case is also decoded in pure Python, which takes most of the time
STUCK = 60.0  # seconds for 200 cases; a hang is a failure, too


def main() -> int:
    """Build the core with sanitizers, and run the cases in a process that has them loaded."""
    options = arguments().parse_args()
    if options.module:
        return cases(options)
    with tempfile.TemporaryDirectory() as folder:
        module, runtime = build(Path(folder))
        place = Path(folder) / "case"
        command = [
            sys.executable,
            __file__,
            "--seed",
            str(options.seed),
            "--module",
            str(module),
            "--place",
            str(place),
        ]
        command += ["--minutes", str(options.minutes)] if options.case is None else ["--case", str(options.case)]
        code = subprocess.run(command, env=environment(runtime), check=False).returncode
        if code:
            print(
                f"Failed. The same case again: python3 scripts/fuzz.py --seed {options.seed} --case {place.read_text()}"
            )
        return 1 if code else 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=positive, default=0.5, help="how long to try (default 0.5)")
    parser.add_argument(
        "--seed", type=whole(0), default=int(time.time()), help="of the random numbers (default: the clock)"
    )
    parser.add_argument("--case", type=whole(0), help="run one case only")
    parser.add_argument("--module", help=argparse.SUPPRESS)  # given in the process that runs the cases
    parser.add_argument("--place", help=argparse.SUPPRESS)  # where that process notes which case it is at
    return parser


def build(folder: Path) -> tuple[Path, Path]:
    """Compile the core with the sanitizers; where the module and the sanitizer's runtime library lie."""
    compiler = next(filter(shutil.which, ("gcc", "clang", "cc")), None)
    if compiler is None:
        raise LabError(
            "no C compiler here (gcc, clang, cc)", "Install one (Debian: sudo apt install gcc) and run it again."
        )
    module = folder / "_columns.so"
    link = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    include = sysconfig.get_path("include")
    compiled = subprocess.run(
        [compiler, *FLAGS, *link, "-shared", "-fPIC", f"-I{include}", str(SOURCE), "-o", str(module)],
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode:
        raise LabError(f"{compiler} cannot build it: {compiled.stderr.strip()[-400:]}", "It needs AddressSanitizer.")
    name = "libclang_rt.asan_osx_dynamic.dylib" if sys.platform == "darwin" else "libasan.so"
    found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return module, Path(found.stdout.strip())


def environment(runtime: Path) -> dict[str, str]:
    """Python is no sanitized program: the runtime must be loaded first, and leaks at its exit are its own."""
    preload = "DYLD_INSERT_LIBRARIES" if sys.platform == "darwin" else "LD_PRELOAD"
    return {
        **os.environ,
        preload: str(runtime),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that each object has its own guarded memory
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


def cases(options: argparse.Namespace) -> int:
    """Run cases until the time is over, or the asked one."""
    spec = importlib.util.spec_from_file_location("app.stream._columns", options.module)
    assert spec is not None
    core = importlib.util.module_from_spec(spec)
    sys.modules["app.stream._columns"] = core
    sys.path.insert(0, str(PROJECT / "tests"))
    from app.stream import native

    native._core = core  # the build has no hash to check
    ends, number = time.monotonic() + 60 * options.minutes, options.case or 0
    with open(options.place, "w") as place:
        while True:
            if number % 200 == 0:
                faulthandler.dump_traceback_later(STUCK, exit=True)
            os.pwrite(place.fileno(), b"%d" % number, 0)
            dice = random.Random(options.seed * 1_000_003 + number)  # noqa: S311 - cases must repeat, not surprise
            check(dice, number % COMPARED == 0 or options.case is not None)
            number += 1
            if options.case is not None or time.monotonic() > ends:
                break
    faulthandler.cancel_dump_traceback_later()
    print(f"{number - (options.case or 0)} cases of seed {options.seed}: nothing found")
    return 0


def check(dice: random.Random, compared: bool) -> None:
    """One case: the native core must survive it, and agree with the pure-Python decoder."""
    from recordbatches import result

    from app.stream import decode, native
    from app.stream.chunk import Chunk

    data = mutated(dice, make(dice))
    start = dice.choice([0, 0, 0, dice.randrange(8)])
    end = dice.choice([1 << 60, 1 << 60, start + dice.randrange(8)])
    aborted = ((dice.randrange(3), dice.randrange(8)),) if dice.random() < 0.2 else ()
    plan = dice.choice(plans())
    exact = memoryview(ctypes.create_string_buffer(data, len(data))).cast("B")  # no byte more than the data has
    found = result(native.decode_chunk, plan, Chunk(3, start, end, exact, aborted, bool(aborted)))
    if compared:
        copy = memoryview(bytearray(data))
        expected = result(decode.decode_chunk, plan, Chunk(3, start, end, copy, aborted, bool(aborted)))
        assert found == expected, f"native: {found}\npure Python: {expected}\ndata: {data!r}\nplan: {plan}"


def plans() -> list[object]:
    """The tests' plan, one for whatever it can become, one that must know every key, and one that was inferred."""
    from dataclasses import replace

    from recordbatches import PLAN, ROW, SCHEMA

    from app.stream.infer import start, widened
    from app.stream.schema import Schema, compile_plan

    learned = widened(start(ROW), [b'{"price": 0.5, "quantity": 1, "item": [], "id": "x"}'])
    some = compile_plan(Schema({"id": "string", "price": "int64", "at": "string", "extra": "json", "item": "null"}))
    return [PLAN, PLAN, compile_plan(SCHEMA, ["price"]), some, replace(some, inferred=True, all_keys=True), learned]


def make(dice: random.Random) -> bytes:
    """A few good batches: plain rows, the tests' odd values, and JSON of any shape."""
    from recordbatches import ODD_VALUES, batch, with_

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
    from recordbatches import ROW

    names = [*ROW, "extra", "é", "x" * 70]
    row = {dice.choice(names): any_value(dice, 0) for _ in range(dice.randrange(9))}
    gap = dice.choice([(", ", ": "), (",", ":"), (" ,\t", " :\n ")])
    return json.dumps(row, ensure_ascii=dice.random() < 0.5, separators=gap)


def any_value(dice: random.Random, depth: int) -> object:
    from recordbatches import ROW

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
    from recordbatches import signed

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

if __name__ == "__main__":
    raise SystemExit(run(main))
