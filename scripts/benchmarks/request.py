"""The price of an answer: each way to deliver beside no delivery, code that people write by hand, and two floors.

python3 scripts/bench.py request [--rounds 10] [--seconds 1] [--json FILE]

Broker, game and load are processes of their own; the rounds interleave, so that a slow moment of the machine meets all.
Load: wrk, 1 and 8 keep-alive connections, each its own player. No time is printed before every row has been counted:
rows in the topic = answers 200.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import environment
from benchmarks.variants import UNLOGGED, VARIANTS, playing
from streaming_lab.cli import whole
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection
from streaming_lab.delivery.outcome import Counts
from streaming_lab.errors import LabError

SCRIPT = Path(__file__).with_name("eight_players.lua")
CLIENTS = (1, 8)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, check, print a table; `--json` writes all rounds."""
    options = _options(argv)
    if shutil.which("wrk") is None:
        raise LabError("wrk is not installed", "Install it (apt install wrk, brew install wrk) and start again.")
    names = options.only or VARIANTS
    cluster = environment.attached(options.cluster, "bench.py request")
    with cluster, tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        fsync = fsync_ms(Path(folder))
        runs = _measure(cluster.connection, names, options, Path(folder))
    result = {"fsync_ms": fsync, "clients": {str(c): _summary(runs, names, c) for c in CLIENTS}}
    print(_table(result, options))
    if options.json:
        options.json.write_text(json.dumps(result | {"rounds": runs}, indent=1) + "\n")
    return 0


def fsync_ms(folder: Path, times: int = 200) -> float:
    """The median time of writing and syncing one page of 4 KB in this folder, in ms: what one commit costs at least."""
    taken = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(times):
            file.write(os.urandom(4096))
            started = time.perf_counter()
            file.flush()
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def wrk(url: str, clients: int, seconds: float) -> dict[str, float]:
    """One load run: requests, seconds, p50 and p99 in ms, and the answers that were not 200."""
    command = ["wrk", f"-t{clients}", f"-c{clients}", f"-d{seconds:g}s", "-s", str(SCRIPT), url]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    return dict(json.loads(next(line for line in out.splitlines() if line.startswith("JSON "))[5:]))


def _measure(connection: Connection, names: Sequence[str], options: Any, folder: Path) -> list[dict[str, Any]]:
    run = uuid.uuid4().hex[:6]
    runs, games = [], {}
    with ExitStack() as stack:
        for number, name in enumerate(names):
            topic = f"bench-{run}-{number}"
            topics.create_topic(connection, topic)
            url, ended = stack.enter_context(playing(name, connection, topic, folder / str(number)))
            games[name] = url, ended, topic
            wrk(url, 8, 1)  # first requests import, connect and compile
        for number in range(options.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                for clients in CLIENTS:
                    load = wrk(games[name][0], clients, options.seconds)
                    runs.append({"name": name, "round": number, "clients": clients, **load})
    for name, (_, ended, topic) in games.items():
        _check(name, ended[0], topics.end_offsets(connection, topic)[0], runs)
    return runs


def _check(name: str, counts: Counts, rows: int, runs: list[dict[str, Any]]) -> None:
    bad = sum(run["bad"] for run in runs if run["name"] == name)
    expected = 0 if name in UNLOGGED else counts.accepted
    if rows != expected or bad:
        raise LabError(
            f"{name}: {counts.accepted} answers 200, {rows} rows in the topic, {bad} other answers",
            "These times would mean nothing: find out where the events are first.",
        )


def _summary(runs: list[dict[str, Any]], names: Sequence[str], clients: int) -> dict[str, dict[str, float]]:
    """Medians over the rounds; `over_ms` and `share` are those of each round's p50 and rate beside its own first way's.

    The first way is no logging, unless --only says another. A machine that is slow for some rounds is so for both.
    """
    found: dict[str, dict[str, float]] = {}
    for name in names:
        mine = [run for run in runs if run["name"] == name and run["clients"] == clients]
        base = [run for run in runs if run["name"] == names[0] and run["clients"] == clients]
        rate = [run["requests"] / run["seconds"] for run in mine]
        shares = [r * b["seconds"] / b["requests"] for r, b in zip(rate, base, strict=True)]
        over = [run["p50_ms"] - b["p50_ms"] for run, b in zip(mine, base, strict=True)]
        found[name] = {
            "p50_ms": statistics.median(run["p50_ms"] for run in mine),
            "over_ms": statistics.median(over),
            "p99_ms": statistics.median(run["p99_ms"] for run in mine),
            "requests_per_s": statistics.median(rate),
            "share": statistics.median(shares),
        }
    return found


def _table(result: dict[str, Any], options: Any) -> str:
    one, eight = (result["clients"][str(clients)] for clients in CLIENTS)
    lines = [
        f"rows in the topic = answers 200, each way. One fsync of 4 KB: {result['fsync_ms']:.2f} ms. "
        f"Medians of {options.rounds} interleaved rounds of {options.seconds:g} s.",
        f"{'':18}|{'1 client':>28} |{'8 clients':>36}",
        f"{'way':18}|{'p50 ms':>8}{'over none':>11}{'p99 ms':>9} |{'p50 ms':>8}{'p99 ms':>9}{'req/s':>9}{'share':>10}",
    ]
    for name in one:
        a, b = one[name], eight[name]
        lines.append(
            f"{name:18}|{a['p50_ms']:8.3f}{a['over_ms']:+11.3f}{a['p99_ms']:9.2f} |"
            f"{b['p50_ms']:8.2f}{b['p99_ms']:9.2f}{b['requests_per_s']:9.0f}{b['share']:10.2f}"
        )
    return "\n".join(lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.py request", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=whole(1), default=10)
    parser.add_argument("--seconds", type=whole(1), default=1, help="of each load run; wrk takes whole ones")
    environment.add_cluster(parser)
    parser.add_argument("--folder", help="where the outbox's file is (its disk is measured); default: temporary files")
    parser.add_argument(
        "--only", nargs="+", choices=VARIANTS, help="these; the first is what all others are compared with"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write medians and all rounds")
    return parser.parse_args(argv)
