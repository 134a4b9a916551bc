"""Measures reading a topic into a DataFrame: ours beside its peers and the roof, each in a process of its own.

python3 scripts/bench.py read --events 1000000 --partitions 4 --codec none --json read.json
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.cli import whole
from app.cluster import attach
from app.errors import LabError
from app.home import PROJECT
from app.stream.connection import addresses
from benchmarks import environment
from benchmarks.peers.measure import Task

FOLDER = Path(__file__).with_name("peers")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ROUNDS = 3  # the least that has a median


@dataclass(frozen=True)
class Way:
    """One way from topic to DataFrame: its script, its variant, and how it is called in the table."""

    script: str
    way: str
    title: str
    c_client: bool = False  # librdkafka underneath: among these is the best peer


WAYS = {
    "ours": Way("ours", "native", "read_topic, native core"),
    "ours_pure": Way("ours", "python", "read_topic, pure Python"),
    "batches": Way("ours_batches", "", "read_batches, 64 MB"),
    "naive": Way("naive", "", "kafka-python loop + json.loads"),
    "kafka_python": Way("kafka_python", "", "kafka-python poll + pyarrow"),
    "aiokafka": Way("aiokafka_arrow", "", "aiokafka + pyarrow"),
    "confluent_json": Way("confluent", "json", "confluent-kafka + json", True),
    "confluent_orjson": Way("confluent", "orjson", "confluent-kafka + orjson", True),
    "confluent_arrow": Way("confluent", "arrow", "confluent-kafka + pyarrow", True),
    "kafkarrow": Way("kafkarrow_arrow", "", "kafkarrow + pyarrow", True),
    "kcat_arrow": Way("kcat", "arrow", "kcat pipe + pyarrow"),
    "kcat_polars": Way("kcat", "polars", "kcat pipe + polars"),
    "kcat_duckdb": Way("kcat", "duckdb", "kcat pipe + duckdb"),
    "roof": Way("roof", "kafka-python", "the roof: fetch only"),
    "bare_roof": Way("roof", "in-place", "fetch only, batches not copied"),
}
OURS = ("ours", "ours_pure", "batches")


def main(arguments: Sequence[str]) -> int:
    """Seed, run the rounds, check the frames, then print and write the figures."""
    options = parser().parse_args(arguments)
    with ExitStack() as stack:
        own = options.cluster == "embedded"
        cluster = stack.enter_context(attach(options.cluster, throughput=own, user="bench.py read"))
        task = Task(addresses(cluster.connection), f"bench-{uuid.uuid4().hex[:8]}", options.events, options.partitions)
        peers, python = _peers(options.ways)
        size = _seed(python, task, options.codec, options.batch)
        stack.callback(_delete, task)
        _touch(task)
        runs, failed = rounds(peers, task, python, options.rounds)
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
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="bench.py read", description="A topic to a DataFrame, beside the peers.")
    found.add_argument("--events", type=whole(1), default=1_000_000, help="events in the topic (default 1000000)")
    found.add_argument("--partitions", type=whole(1), default=4, help="partitions (default 4)")
    found.add_argument("--codec", choices=CODECS, default="none", help="how the producer compresses (default none)")
    found.add_argument("--batch", type=whole(1), default=1_000_000, help="bytes of a record batch (default 1000000)")
    found.add_argument("--rounds", type=whole(1), default=ROUNDS, help=f"interleaved rounds (default {ROUNDS})")
    found.add_argument("--ways", type=_ways, default=list(WAYS), help=f"comma-separated, of: {', '.join(WAYS)}")
    found.add_argument("--cluster", default="embedded", help="embedded, or host:port of brokers that run already")
    found.add_argument("--json", metavar="FILE", help="write the figures there, too")
    return found


def _ways(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(WAYS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; use {', '.join(WAYS)}")
    return names


def _peers(names: Iterable[str]) -> tuple[dict[str, Way], Path]:
    """The ways that were asked for, and the interpreter of the peers."""
    return {name: WAYS[name] for name in WAYS if name in set(names)}, environment.peers_python()


def _seed(python: Path, task: Task, codec: str, batch: int) -> int:
    """Fill the topic, in a process of its own: this one stays small, its children's peak memory begins with its own."""
    command = [str(python), str(FOLDER / "seed.py"), json.dumps(asdict(task)), codec, str(batch)]
    sys.stderr.write(f"Seeding {task.events} events.\n")
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode or json.loads(ran.stdout)["left"]:
        raise LabError(f"the topic could not be filled: {ran.stderr.strip()[-300:]}", "Is the broker well?")
    return int(json.loads(ran.stdout)["bytes"])


def _delete(task: Task) -> None:
    """In a process of its own, as the seeding was."""
    program = "import sys, kafka; kafka.KafkaAdminClient(bootstrap_servers=sys.argv[1]).delete_topics([sys.argv[2]])"
    subprocess.run([sys.executable, "-c", program, task.bootstrap, task.topic], capture_output=True, check=False)


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
    patience = 120 + task.events / 2_000  # ten times what the slowest peer takes on a calm machine
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False, cwd=PROJECT)
    except subprocess.TimeoutExpired:
        return None, f"not done after {patience:.0f} s"
    if ran.returncode or not ran.stdout.strip():
        return None, (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1][:300]
    return json.loads(ran.stdout.splitlines()[-1]), ""


def check_equal(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Every frame of every round must hold the same, column by column, before any time means anything."""
    contents = [(name, found["content"]) for name, each in runs.items() for found in each if "content" in found]
    for name, content in contents[1:]:
        first, expected = contents[0]
        wrong = [column for column in expected if content[column] != expected[column]]
        if wrong:
            raise LabError(
                f"{name} and {first} do not agree in {', '.join(wrong)}", "One of them is wrong: no times are given."
            )


def figures(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Medians, ranges and ratios; a ratio whose other side did not run is null."""
    median = {name: statistics.median(found["seconds"] for found in each) for name, each in runs.items()}
    memory = {name: statistics.median(found["peak_rss_mb"] for found in each) for name, each in runs.items()}
    c_clients = [name for name in median if WAYS[name].c_client]
    best = min(c_clients, key=lambda name: median[name], default=None)

    def ratio(over: str | None, under: str, values: dict[str, float]) -> float | None:
        return None if over not in values else round(values[over] / values[under], 3)

    def of_roof(name: str) -> float | None:
        return None if "roof" not in median else round(median["roof"] / median[name], 3)

    found = {}
    for name, each in runs.items():
        seconds = [one["seconds"] for one in each]
        found[name] = {
            "seconds": round(median[name], 4),
            "range": [round(min(seconds), 4), round(max(seconds), 4)],
            "x_naive": ratio("naive", name, median),
            "x_best_peer": ratio(best, name, median),
            "of_roof": of_roof(name),
            "import_seconds": round(statistics.median(one["import_seconds"] for one in each), 3),
            "cpu_seconds": round(statistics.median(one["cpu_seconds"] for one in each), 3),
            "peak_rss_mb": round(memory[name]),
            "memory_of_naive": None if "naive" not in memory else round(memory[name] / memory["naive"], 3),
            "best_peer": name == best,
        }
    return found


def table(result: dict[str, Any]) -> str:
    """The figures as a table for the terminal; the README's is this one."""
    setting, machine = result["setting"], result["machine"]
    lines = [
        f"{setting['events']} events of {setting['bytes_per_event']} bytes, {setting['partitions']} partitions, "
        f"{setting['codec']}, batches of up to {setting['batch_bytes']} bytes; {setting['rounds']} interleaved rounds",
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        "every frame held the same",
        "",
        "| way | s (median) | range | x naive | x best C-client peer | of the roof | import s | peak MB | of naive's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in sorted(result["read"].items(), key=lambda each: -each[1]["seconds"]):
        low, high = found["range"]
        title = WAYS[name].title + (" (the best peer)" if found["best_peer"] else "")
        cells = [
            title,
            f"{found['seconds']:.3f}",
            f"{low:.3f}-{high:.3f}",
            _figure(found["x_naive"], "{:.1f}"),
            _figure(found["x_best_peer"], "{:.2f}"),
            _figure(found["of_roof"], "{:.0%}"),
            f"{found['import_seconds']:.2f}",
            f"{found['peak_rss_mb']}",
            _figure(found["memory_of_naive"], "{:.2f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"not run: {WAYS[name].title}: {reason}" for name, reason in result["failed"].items()]
    return "\n".join(lines)


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
