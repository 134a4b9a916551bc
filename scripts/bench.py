"""Measures the lab against its peers, on this machine, with a real broker.

python3 scripts/bench.py read       a topic to a DataFrame
python3 scripts/bench.py stages     where the time of that reading goes
python3 scripts/bench.py request    one request through the game and its log
python3 scripts/bench.py lag        from the log to a consumer
python3 scripts/bench.py start      from nothing to the first acknowledged record
python3 scripts/bench.py report     the phases of a whole report
python3 scripts/bench.py scale      tables of 10^5 to 10^8 rows by pandas, processes and Dask
python3 scripts/bench.py memory     what each way keeps while the broker is down, against what it states

Each has its own options: python3 scripts/bench.py read --help
"""

import os
import sys

import bootstrap

bootstrap.enter(scale=sys.argv[1:2] == ["scale"])

import importlib

from streaming_lab.cli import run
from streaming_lab.errors import LabError

KINDS = ("read", "stages", "request", "lag", "start", "report", "scale", "memory")


def main() -> int:
    """Hand over to `benchmarks.<kind>.main(arguments)`."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # imports are measured: compiled once, not in each process
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0
    kind = sys.argv[1]
    if kind not in KINDS:
        raise LabError(f"there is no benchmark {kind!r}", f"Use one of: {', '.join(KINDS)}.")
    return int(importlib.import_module(f"benchmarks.{kind}").main(sys.argv[2:]))


if __name__ == "__main__":
    raise SystemExit(run(main))
