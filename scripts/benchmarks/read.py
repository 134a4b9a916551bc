"""Measures reading a topic into a DataFrame: ours beside its peers and the roof, each in a process of its own.

python3 scripts/bench.py read --events 1000000 --partitions 4 --codec none --json read.json
"""

import argparse
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import environment
from benchmarks.figures import check_equal, figures, table
from benchmarks.peers.measure import Task
from benchmarks.ways import WAYS, Way
from streaming_lab.cli import whole
from streaming_lab.client import topics
from streaming_lab.client.connection import addresses, connection_for
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT

FOLDER = Path(__file__).with_name("peers")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ROUNDS = 3  # the least that has a median
BATCH = 1_000_000  # bytes


OURS = ("ours", "ours_pure", "batches")


def main(arguments: Sequence[str]) -> int:
    """Seed, run the rounds, check the frames, then print and write the figures."""
    options = parser().parse_args(arguments)
    peers = {name: way for name, way in WAYS.items() if name in set(options.ways)}
    with seeded_topic(options, "bench.py read", options.batch) as (task, size):
        _touch(task)
        runs, failed = rounds(peers, task, environment.peers_python(), options.rounds)
    check_equal(runs)
    result = {
        "read": figures(runs),
        "failed": failed,
        "setting": {
            "events": task.events,
            "partitions": task.partitions,
            "codec": options.codec,
            "batch_bytes": options.batch,
            "bytes_per_event": round(size / task.events),
            "rounds": options.rounds,
        },
        "machine": environment.machine(),
    }
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="bench.py read", description="A topic to a DataFrame, beside the peers.")
    add_topic_options(found)
    found.add_argument("--batch", type=whole(1), default=BATCH, help=f"bytes of a record batch (default {BATCH})")
    found.add_argument("--ways", type=_ways, default=list(WAYS), help=f"comma-separated, of: {', '.join(WAYS)}")
    return found


def add_topic_options(parser: argparse.ArgumentParser) -> None:
    """The options of a topic that is read in rounds, and of the file for its figures."""
    parser.add_argument("--events", type=whole(1), default=1_000_000, help="events in the topic (default 1000000)")
    parser.add_argument("--partitions", type=whole(1), default=4, help="partitions (default 4)")
    parser.add_argument("--codec", choices=CODECS, default="none", help="how the producer compresses (default none)")
    parser.add_argument("--rounds", type=whole(1), default=ROUNDS, help=f"interleaved rounds (default {ROUNDS})")
    environment.add_cluster(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")


def _ways(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(WAYS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; use {', '.join(WAYS)}")
    return names


@contextmanager
def seeded_topic(options: argparse.Namespace, user: str, batch: int) -> Iterator[tuple[Task, int]]:
    """A topic as `add_topic_options` asks for it, and its bytes; `batch` is the largest size of a record batch."""
    with environment.attached(options.cluster, user) as cluster:
        task = Task(addresses(cluster.connection), f"bench-{uuid.uuid4().hex[:8]}", options.events, options.partitions)
        size = _seed(task, options.codec, batch)
        try:
            yield task, size
        finally:
            _delete(task)


def _seed(task: Task, codec: str, batch: int) -> int:
    """Fill the topic, in a process of its own: this one stays small, its children's peak memory begins with its own."""
    command = [str(environment.peers_python()), str(FOLDER / "seed.py"), json.dumps(asdict(task)), codec, str(batch)]
    sys.stderr.write(f"Seeding {task.events} events.\n")
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode or json.loads(ran.stdout)["left"]:
        raise LabError(f"the topic could not be filled: {ran.stderr.strip()[-300:]}", "Is the broker well?")
    return int(json.loads(ran.stdout)["bytes"])


def _delete(task: Task) -> None:
    with suppress(LabError):  # the figures stand, whatever becomes of the topic
        topics.delete_topics(connection_for(task.bootstrap), [task.topic])


def _touch(task: Task) -> None:
    """Touch as much memory as the hungriest peer will want, so that the first one does not pay for all."""
    wanted = min(1024 + task.events * 3 // 1000, environment.free_mb() // 2)
    subprocess.run([sys.executable, str(FOLDER / "touch.py"), str(wanted)], check=True)


def rounds(
    ways: dict[str, Way], task: Task, python: Path, count: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Run every way once a round, one after another; a way that fails is named with its last words and left out."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    failed: dict[str, str] = {}
    for number in range(count):
        for name, way in ways.items():
            if name in failed:
                continue
            sys.stderr.write(f"\rround {number + 1} of {count}: {name:20}")
            found, trouble = _run(name, way, task, python)
            if found is None:
                failed[name] = trouble
            else:
                runs[name].append(found)
    sys.stderr.write(f"\r{'':40}\r")
    return {name: found for name, found in runs.items() if name not in failed}, failed


def _run(name: str, way: Way, task: Task, python: Path) -> tuple[dict[str, Any] | None, str]:
    if way.script == "kcat" and not shutil.which("kcat"):
        return None, "kcat is not installed"
    interpreter = sys.executable if name in OURS or way.script == "roof" else str(python)
    given = json.dumps({**asdict(task), "way": way.way})
    command = [interpreter, str(FOLDER / f"{way.script}.py"), given]
    timeout = 120 + task.events / 2_000  # ten times what the slowest peer takes on a calm machine
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=PROJECT)
    except subprocess.TimeoutExpired:
        return None, f"not done after {timeout:.0f} s"
    if ran.returncode or not ran.stdout.strip():
        return None, (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1][:300]
    return json.loads(ran.stdout.splitlines()[-1]), ""
