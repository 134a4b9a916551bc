"""The benchmark of reading: a tiny real run, and the rules that make its figures worth something."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from peers import needs
from waiting import eventually

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.delivery.event_log import OVERHEAD
from streaming_lab.errors import LabError
from streaming_lab.reader.decode import native

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT / "scripts"))
from benchmarks import bombs, figures, memory, report, request  # noqa: E402 - the scripts' own folder is no package of the project


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/bench.py", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)


def run(seconds: float, **others: object) -> dict[str, object]:
    """One run of one way, as its process reports it."""
    return {"seconds": seconds, "cpu_seconds": 1.0, "import_seconds": 0.5, "peak_rss_mb": 100 * seconds, **others}


OWN = ("ours", "ours_pure", "batches", "naive")
PEERS = ("confluent_arrow", "kafkarrow", "roof", "bare_roof")


@pytest.mark.slow
@pytest.mark.parametrize("ways", [OWN, pytest.param((*OWN, *PEERS), marks=pytest.mark.long)], ids=["own", "peers"])
def test_tiny_run(kafka: Connection, tmp_path: Path, ways: tuple[str, ...]) -> None:
    """Ours and the naive loop, in the long check two C-client peers and the roof: equal frames, all figures shown."""
    file = tmp_path / "read.json"
    options = ["--events", "2000", "--rounds", "1", "--ways", ",".join(ways), "--json", str(file)]
    ran = bench("read", "--cluster", addresses(kafka), *options)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(file.read_text())
    absent = set() if native.core_available() else {"ours"}  # asks for the native core by name
    assert (set(found["read"]), set(found["failed"])) == (set(ways) - absent, absent)
    assert found["read"]["naive"]["x_naive"] == 1.0
    assert all(each["seconds"] > 0 and each["peak_rss_mb"] > 0 for each in found["read"].values())
    assert "every frame held the same" in ran.stdout


@pytest.mark.slow
def test_the_stages_of_a_read(kafka: Connection, tmp_path: Path) -> None:
    """A tiny compressed topic: every stage has a time, and together they are the whole."""
    file = tmp_path / "stages.json"
    options = ["--events", "20000", "--rounds", "1", "--codec", "zstd", "--json", str(file)]
    ran = bench("stages", "--cluster", addresses(kafka), *options)
    assert ran.returncode == 0, ran.stderr
    for decoder, found in json.loads(file.read_text())["stages"].items():
        seconds = {stage: one["seconds"] for stage, one in found.items()}
        assert all(seconds[stage] > 0 for stage in ("connect", "fetch", "inflate", "decode", "pandas")), decoder
        stages = ("connect", "fetch", "inflate", "decode", "build", "pandas")
        assert seconds["one after another"] == pytest.approx(sum(seconds[stage] for stage in stages), abs=0.001)


@pytest.mark.long
def test_an_outage_stays_within_the_memory_that_was_stated(tmp_path: Path) -> None:
    """Ten thousand events for 4 MB: every way refuses what does not fit, the outbox takes all; reads hold."""
    file = tmp_path / "memory.json"
    ran = bench("memory", "--events", "10000", "--memory", "4", "--json", str(file))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(file.read_text())
    found = result["memory"]
    reads = {"read_topic": "0 rows, 1 reject", "read_batches": f"{bombs.SMALL * bombs.COUNT} rows"}
    assert {name: one["result"] for name, one in result["reads"].items()} == reads
    fits = (4 << 20) // (OVERHEAD + memory.SIZE)
    answers = {way: (one["accepted"], one["unknown"], one["refused"]) for way, one in found.items()}
    accepted, unknown, refused = answers.pop("outbox")  # unknown: a disk that took longer than a request's patience
    assert (accepted + unknown, refused) == (10_000, 0)
    assert answers == {
        "fire-and-forget": (fits, 0, 10_000 - fits),
        "buffered": (fits, 0, 10_000 - fits),
        "confirmed": (0, fits, 10_000 - fits),
    }
    assert all(one["grown"] > 0 for one in found.values())


def test_a_stopped_benchmark_leaves_nothing(kafka: Connection, tmp_path: Path) -> None:
    """Its games, its load and its files go with it."""
    needs("wrk")
    command = [sys.executable, "scripts/bench.py", "request", "--cluster", addresses(kafka)]
    command += ["--only", "none", "confirmed", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            started = psutil.Process(process.pid)
            assert eventually(lambda: len(started.children()) >= 2, 120)
            family = started.children(recursive=True)
            process.send_signal(signal.SIGTERM)
            output = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, output
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outgrown", ["grown", "file"])
def test_an_exceeded_bound_is_reported(outgrown: str) -> None:
    """One byte more than stated, in memory or on disk, and the verdict is NO."""
    counts = {"accepted": 1, "unknown": 0, "refused": 0, "waiting": 1, "seconds": 1.0}
    kept = {**counts, "grown": 8, "stated": 8, "file": 4, "stated_file": 4}
    broken = {**kept, outgrown: 9}
    assert (memory.holds(kept), memory.holds(broken)) == (True, False)
    read = {"inflated": 1, "stated": 8, "grown": 8, "seconds": 1.0, "result": "r"}
    assert (bombs.holds(read), bombs.holds({**read, "grown": 9})) == (True, False)
    assert [line.split()[-1] for line in memory.table({"a": kept, "b": broken}, 1, 1).splitlines()[2:]] == ["yes", "NO"]


def test_unequal_frames_give_no_times() -> None:
    """One wrong column in one round, and nothing is printed but its name."""
    ours, naive = ({"rows": "2", "price": price} for price in ("aa", "ab"))
    runs = {"ours": [run(1, content=ours)], "naive": [run(9, content=ours), run(9, content=naive)]}
    with pytest.raises(LabError, match="naive and ours do not agree in price"):
        figures.check_equal(runs)


def test_ratios() -> None:
    """Ratios are of medians; the best peer is the fastest of the C client's pipelines, whoever else is faster."""
    seconds = {"ours": 0.5, "naive": 20.0, "aiokafka": 1.0, "confluent_json": 8.0, "kafkarrow": 2.0, "roof": 0.25}
    found = figures.figures({name: [run(each - 0.1), run(each), run(each + 9)] for name, each in seconds.items()})
    ours = found["ours"]
    assert (ours["seconds"], ours["range"], ours["x_naive"], ours["x_best_peer"]) == (0.5, [0.4, 9.5], 40.0, 4.0)
    assert (ours["of_roof"], ours["memory_of_naive"], found["kafkarrow"]["best_peer"]) == (0.5, 0.025, True)


def test_a_price_is_of_its_own_round() -> None:
    """A round in which the machine was half as fast, for both, moves neither the difference nor the share."""

    def load(name: str, number: int, p50: float, answers: int) -> dict[str, object]:
        return {
            "name": name,
            "round": number,
            "clients": 1,
            "requests": answers,
            "seconds": 1.0,
            "p50_ms": p50,
            "p99_ms": 9.0,
        }

    rounds = [("none", 1.0, 1000), ("none", 3.0, 500), ("none", 1.1, 900)]
    others = [("confirmed", 1.4, 500), ("confirmed", 3.4, 250), ("confirmed", 3.0, 300)]
    runs = [
        load(name, number, p50, answers) for way in (rounds, others) for number, (name, p50, answers) in enumerate(way)
    ]
    found = request._summary(runs, ["none", "confirmed"], 1)
    assert found["none"]["over_ms"] == 0.0
    assert found["confirmed"]["over_ms"] == pytest.approx(0.4)
    assert found["confirmed"]["share"] == 0.5


def test_a_peer_that_fails_is_named() -> None:
    """Its last words stand below the table; the others' figures stay."""
    machine = {"processor": "x", "cores": 2, "system": "y", "python": "3.11"}
    setting = {"events": 1, "bytes_per_event": 1, "partitions": 1, "codec": "none", "batch_bytes": 1, "rounds": 1}
    failed = {"kcat_arrow": "kcat is not installed"}
    text = figures.table({"read": {}, "failed": failed, "setting": setting, "machine": machine})
    assert "not run: kcat pipe + pyarrow: kcat is not installed" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("reed",),
            "there is no benchmark 'reed'\nUse one of: read, stages, request, lag",
        ),
        (("read", "--ways", "ours,pandas"), "unknown: pandas; use ours, ours_pure"),
        (("read", "--events", "many"), "'many' is not a whole number of at least 1"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], message: str) -> None:
    """Wrong arguments end the benchmark before anything starts, with the possible values."""
    ran = bench(*arguments)
    assert ran.returncode == 2
    assert message in ran.stderr


def test_the_phases_of_a_report_add_up() -> None:
    """Lines of progress and the record give each phase; what lies between a chapter's cells is its kernel's."""
    lines = [
        (1.0, "  the cluster: embedded                         0.9 s  running\n"),
        (2.5, "  the cluster: embedded                         1.5 s\n"),
        (9.0, "  the page                                      0.5 s\n"),
    ]
    cells = [{"seconds": seconds} for seconds in (0.2, 1.0, 2.0)]
    found = dict(report.phases(lines, {"chapters": [{"number": 3, "seconds": 5.0, "cells": cells}]}, 9.2))
    assert {phase: round(seconds, 3) for phase, seconds in found.items()} == {
        "set-up": 1.0,
        "cluster": 1.5,
        "3 kernel": 1.8,
        "3 imports": 0.2,
        "3 work": 3.0,
        "page": 0.5,
        "end": 0.2,
        "all": 9.2,
    }
