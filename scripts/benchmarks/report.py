"""Where the time of a report goes, phase by phase: what a person waits for who types the command again.

python3 scripts/bench.py report [01 02 03] [--rounds N] [--beside CHECKOUT ...] [--json FILE]

Each round is a whole `scripts/report.py` in a process and a build folder of its own, with everything cached that the
last run left; a round whose report did not pass ends the benchmark. `--beside` names other checkouts of the lab, such
as `git worktree add` makes, and runs them in turn with this one. A chapter's *kernel* is what it waits before its first
cell and after its last, *imports* its first cell, *work* all others.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import spread
from streaming_lab.cli import whole
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT

LONGEST = 600.0  # seconds of one report
STEP = re.compile(r"  the (cluster|page).*?([\d.]+) s(?!.*(?:running|jars))")  # a line of progress of a step that ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the medians and ranges of each phase, a column for each checkout; `--json` writes the same."""
    parser = argparse.ArgumentParser(prog="bench.py report", description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="as for scripts/report.py (default: all)")
    parser.add_argument("--rounds", type=whole(1), default=3)
    parser.add_argument("--beside", type=Path, nargs="+", default=[], metavar="CHECKOUT")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    checkouts = [PROJECT, *(path.resolve() for path in asked.beside)]
    rounds: dict[str, list[dict[str, float]]] = {str(path): [] for path in checkouts}
    for _ in range(asked.rounds):
        for path in checkouts:
            rounds[str(path)].append(run_once(path, asked.chapters))
    result = {path: summary(each) for path, each in rounds.items()}
    print(table(result, asked.rounds))
    if asked.json:
        asked.json.write_text(json.dumps({"report": result}, indent=1))
    return 0


def run_once(checkout: Path, chapters: Sequence[str]) -> dict[str, float]:
    """One report of the checkout: phase -> seconds."""
    with tempfile.TemporaryDirectory() as build:
        command = [sys.executable, str(checkout / "scripts" / "report.py"), *chapters]
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LAB_SAID")}
        began = time.monotonic()
        with subprocess.Popen(
            command, cwd=checkout, env={**environment, "LAB_BUILD": build}, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines = [(time.monotonic() - began, line) for line in process.stdout]
            code = process.wait(LONGEST)
        seconds = time.monotonic() - began
        if code:
            raise LabError(f"{' '.join(command)} ended with exit code {code}", "".join(line for _, line in lines[-3:]))
        return dict(phases(lines, json.loads(Path(build, "run.json").read_text()), seconds))


def phases(lines: Sequence[tuple[float, str]], record: dict[str, Any], seconds: float) -> Iterator[tuple[str, float]]:
    """Each phase of one run with its seconds, from the lines of its progress and its record."""
    steps = {found[1]: (at, float(found[2])) for at, line in lines if (found := STEP.match(line))}
    at, cluster = steps["cluster"]
    yield "set-up", at - cluster
    yield "cluster", cluster
    for chapter in record["chapters"]:
        imports, *work = [cell["seconds"] for cell in chapter["cells"]]
        yield f"{chapter['number']} kernel", chapter["seconds"] - imports - sum(work)
        yield f"{chapter['number']} imports", imports
        yield f"{chapter['number']} work", sum(work)
    at, page = steps["page"]
    yield "page", page
    yield "end", seconds - at
    yield "all", seconds


def summary(rounds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The median and the range of each phase."""
    return {phase: spread([one[phase] for one in rounds], 2) for phase in rounds[0]}


def table(result: dict[str, dict[str, dict[str, float]]], rounds: int) -> str:
    """The phases as a table: seconds (median) and range, a pair of columns for each checkout."""
    names = ["this checkout", *(Path(path).name for path in list(result)[1:])]
    lines = [
        f"medians and ranges of {rounds} rounds in turn, in seconds; {os.cpu_count()} CPUs",
        "",
        f"| phase | {' | '.join(f'{name} | range' for name in names)} |",
        f"|---|{'---|---|' * len(names)}",
    ]
    for phase in next(iter(result.values())):
        cells = [
            f"{found[phase]['seconds']:.2f} | {found[phase]['low']:.2f}-{found[phase]['high']:.2f}"
            for found in result.values()
        ]
        lines.append(f"| {phase} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
