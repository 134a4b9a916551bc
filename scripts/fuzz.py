"""Tries to break the native core: mutated record batches under AddressSanitizer and UBSan, compared with pure Python.

python3 scripts/fuzz.py                      half a minute
python3 scripts/fuzz.py --minutes 60         a long one
python3 scripts/fuzz.py --seed 7 --case 123  one case of a run again
"""

import bootstrap

bootstrap.enter()

import argparse
import ctypes
import faulthandler
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from streaming_lab.cli import positive, run, whole
from streaming_lab.errors import LabError

PROJECT = Path(bootstrap.PROJECT)
SOURCE = PROJECT / "app" / "reader" / "decode" / "_columns.c"
FLAGS = ["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
COMPARED = 3  # every third case is also decoded in pure Python, which takes most of the time
STUCK = 60.0  # seconds for 200 cases; a hang is a failure


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
    """The environment that preloads the sanitizers' runtime; leaks of Python, which has no sanitizers, are ignored."""
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
    spec = importlib.util.spec_from_file_location("streaming_lab.reader.decode._columns", options.module)
    assert spec is not None
    core = importlib.util.module_from_spec(spec)
    sys.modules["streaming_lab.reader.decode._columns"] = core
    sys.path.insert(0, str(PROJECT / "tests"))
    from streaming_lab.reader.decode import native

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
    from fuzzcases import make, mutated, plans
    from recordbatches import result

    from streaming_lab.reader.decode import native, python
    from streaming_lab.reader.decode.batches import Chunk

    data = mutated(dice, make(dice))
    start = dice.choice([0, 0, 0, dice.randrange(8)])
    end = dice.choice([1 << 60, 1 << 60, start + dice.randrange(8)])
    aborted = ((dice.randrange(3), dice.randrange(8)),) if dice.random() < 0.2 else ()
    plan = dice.choice(plans())
    exact = memoryview(ctypes.create_string_buffer(data, len(data))).cast("B")  # no byte more than the data has
    found = result(native.decode_chunk_native, plan, Chunk(3, start, end, exact, aborted, bool(aborted)))
    if compared:
        copy = memoryview(bytearray(data))
        expected = result(python.decode_chunk, plan, Chunk(3, start, end, copy, aborted, bool(aborted)))
        assert found == expected, f"native: {found}\npure Python: {expected}\ndata: {data!r}\nplan: {plan}"


if __name__ == "__main__":
    raise SystemExit(run(main))
