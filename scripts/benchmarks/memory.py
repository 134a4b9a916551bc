"""Memory during an outage: each way to deliver takes events while the broker is down, until all were tried.

python3 scripts/bench.py memory [--events 1000000] [--memory 32] [--json FILE]

Each way in a process of its own: it connects and delivers one event, the broker is killed, eight threads append the
rest (SIZE bytes each). Stated: the log's `memory` and ROOM for what does not grow with it; the outbox's file its
quota and its write-ahead log. Then two reads of batches that
inflate by thousands (see `bombs`). Exit code 1 when a process or the file grew beyond what is stated. `confirmed` waits
milliseconds here, not seconds: how long an append waits changes nothing of what is kept. Run as a program, it is one
such process: memory.py WAY SERVERS TOPIC FOLDER EVENTS MEMORY

The game's own memory beside it, under requests at their longest: its access log and the answers that it remembers, each
in a process of its own (memory.py NAME).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks import bombs, environment
from streaming_lab.cli import whole
from streaming_lab.client import topics
from streaming_lab.client.connection import addresses, connection_for
from streaming_lab.cluster import Cluster, attach
from streaming_lab.delivery.event_log import MEMORY_LIMIT, EventLog
from streaming_lab.delivery.outcome import Refused, Undecided
from streaming_lab.delivery.ways import DELIVERING, log_class, open_log
from streaming_lab.errors import LabError
from streaming_lab.game.capture import BoundedLines
from streaming_lab.game.game import ANSWERS_BYTES, ANSWERS_REMEMBERED, Answer, IdempotencyCache
from streaming_lab.game.rules import LONGEST_NAME, NAME_RULE
from streaming_lab.game.server import ACCESS_LINES_KEPT, LOG_BYTES, LONGEST_TARGET, access_line
from streaming_lab.game.web import LONGEST_ID

MB = 1 << 20
ROOM = 8 * MB  # eight threads, SQLite's page caches, the allocator's slack; not a byte of it for each event
LOG_ROOM = 5 * MB  # SQLite's write-ahead log, which is begun anew every 1000 pages
THREADS = 8
SIZE = 250  # bytes of an event's value
WAIT = 0.005  # seconds that an append of `confirmed` waits
LOOK = 0.02  # seconds between two looks at the memory


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each way to deliver and two reads, print tables; returns 1 when one outgrew what it states."""
    options = _options(argv)
    with (
        attach("embedded", instance="memory", user="bench memory") as cluster,
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        reads = bombs.measure(cluster.connection)
        found = {way: _measure_outage(cluster, way, Path(folder) / way, options) for way in DELIVERING}
    print(table(found, options.events, options.memory))
    print(f"\nReads of batches that inflate by thousands. Sizes in MB.\n{bombs.table(reads)}")
    kept = {name: _in_a_process(name) for name in FLOODS}
    print(kept_table(kept))
    if options.json:
        options.json.write_text(json.dumps({"memory": found, "reads": reads, "kept": kept}, indent=1) + "\n")
    return 0 if all(map(holds, [*found.values(), *kept.values()])) and all(map(bombs.holds, reads.values())) else 1


def holds(one: dict[str, Any]) -> bool:
    """Did process and file stay within what was stated?"""
    return bool(one["grown"] <= one["stated"] and one["file"] <= one["stated_file"])


def table(found: dict[str, dict[str, Any]], events: int, memory: int) -> str:
    """The figures as text, with the verdict of each."""
    lines = [
        f"{events} events while the broker was down, memory={memory} MB. Sizes in MB; grown: peak minus before.",
        f"{'way':18}{'accepted':>10}{'unknown':>9}{'refused':>10}{'s':>7} |"
        f"{'stated':>8}{'grown':>8}{'per waiting':>13} |{'file':>8}{'stated':>8} | held",
    ]
    for way, one in found.items():
        each = f"{one['grown'] / one['waiting']:.0f} B" if one["waiting"] else "-"
        lines.append(
            f"{way:18}{one['accepted']:10}{one['unknown']:9}{one['refused']:10}{one['seconds']:7.1f} |"
            f"{one['stated'] / MB:8.1f}{one['grown'] / MB:8.1f}{each:>13} |"
            f"{one['file'] / MB:8.1f}{one['stated_file'] / MB:8.1f} | {'yes' if holds(one) else 'NO'}"
        )
    return "\n".join(lines)


def kept_table(kept: dict[str, dict[str, Any]]) -> str:
    """What the game itself keeps, as text."""
    lines = [f"\n{'kept by the game':18}{'filled with':>12}{'kept':>9} |{'stated':>8}{'grown':>8} | held   (MB)"]
    for name, one in kept.items():
        sizes = f"{one['stated'] / MB:8.1f}{one['grown'] / MB:8.1f}"
        lines.append(f"{name:18}{one['filled']:12}{one['kept']:9} |{sizes} | {'yes' if holds(one) else 'NO'}")
    return "\n".join(lines)


def _in_a_process(name: str) -> dict[str, Any]:
    command = [sys.executable, __file__, name]
    ran = subprocess.run(command, env=environment.importing(), stdout=subprocess.PIPE, text=True, timeout=600)
    if ran.returncode:
        raise LabError(f"the process that fills the {name} ended with {ran.returncode}", "Its last words are above.")
    return dict(json.loads(ran.stdout))


def _fill_access_log() -> tuple[int, int, int]:
    """(lines written, lines kept, bytes stated): targets of 250 KB, then of the longest that are not cut."""
    lines = BoundedLines(ACCESS_LINES_KEPT, LOG_BYTES)
    for number in range(ACCESS_LINES_KEPT // 2):
        target = "/" + "\\" * (250_000 if number < 500 else LONGEST_TARGET)
        environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_URI": target}
        lines.append(access_line(environ, "404 NOT FOUND", datetime.now(UTC)))
    return number + 1, len(list(lines)), LOG_BYTES


def _fill_answers() -> tuple[int, int, int]:
    """(answers given, answers kept, bytes stated): refusals with names and ids of the largest size."""
    answers = IdempotencyCache()
    for number in range(2 * ANSWERS_REMEMBERED):
        name = f"{number:06}" + "\U0001f600" * (LONGEST_NAME - 6)
        answer = Answer(409, {"field": "player", "value": name, "rule": NAME_RULE})
        answers.remember(f"{number:0{LONGEST_ID}}", (name, "sell_a_sword", None), answer)
    return number + 1, len(answers), ANSWERS_BYTES


FLOODS: dict[str, Callable[[], tuple[int, int, int]]] = {"access log": _fill_access_log, "answers": _fill_answers}


def _flood(name: str) -> int:
    with environment.Peak(0.02) as peak:
        filled, kept, stated = FLOODS[name]()
    found = {"filled": filled, "kept": kept, "grown": peak.highest - peak.before, "stated": stated + ROOM}
    print(json.dumps({**found, "file": 0, "stated_file": 0}))
    return 0


def _measure_outage(cluster: Cluster, way: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One way's figures; the broker runs before and after."""
    folder.mkdir()
    topic = f"memory-{uuid.uuid4().hex[:8]}"
    topics.create_topic(cluster.connection, topic, timeout=30.0)
    command = [sys.executable, __file__, way, addresses(cluster.connection), topic, str(folder)]
    command += [str(options.events), str(options.memory * MB)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment.importing(), **pipes) as process:
        assert process.stdin is not None
        try:
            if environment.next_line(process, 60) != "connected\n":
                raise LabError(f"the process that logs with {way} did not connect", "Its last words are above.")
            cluster.kill()
            process.stdin.write("broker down\n")
            process.stdin.flush()
            line = environment.next_line(process, 600 + options.events / 500)
        finally:
            process.kill()
            process.wait()
            cluster.restart()
    if not line:
        raise LabError(f"the process that logs with {way} ended on its own", "Its last words are above.")
    return dict(json.loads(line))


def _append(log: EventLog, numbers: "count[int]", events: int, answers: "Counter[str]") -> None:
    while (number := next(numbers)) < events:  # next() of a count is one step: no number comes twice
        event_id = f"{number:032d}"
        value = b'{"event_id": "%b"}' % event_id.encode()
        try:
            log.append(f"player-{number % 1000}", value.ljust(SIZE), event_id)
            answer = "accepted"
        except Undecided:
            answer = "unknown"
        except Refused:
            answer = "refused"
        answers[answer] += 1


def _fill_log(way: str, servers: str, topic: str, folder: str, events: int, memory: int) -> int:
    log = open_log(way, connection_for(servers), topic, memory=memory, **log_class(way).settings_in(Path(folder)))
    log.append("player-0", b'{"event_id": "first"}', "first")
    while log.queued:
        time.sleep(LOOK)
    print("connected", flush=True)
    sys.stdin.readline()
    if log.awaits_broker:
        log.timeout = WAIT
    answers = [Counter[str]() for _ in range(THREADS)]
    numbers, began = count(), time.monotonic()
    with environment.Peak(LOOK) as peak:
        threads = [threading.Thread(target=_append, args=(log, numbers, events, mine)) for mine in answers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    total = sum(answers, Counter())
    found = {name: total[name] for name in ("accepted", "unknown", "refused")}
    found |= {"seconds": round(time.monotonic() - began, 2), "waiting": len(log.in_flight), "queued": log.queued}
    found |= {"before": peak.before, "grown": peak.highest - peak.before, "stated": memory + ROOM}
    found |= {"file": sum(file.stat().st_size for file in Path(folder).iterdir()), "stated_file": 0}
    if log.disk:
        found["stated_file"] = log.disk + LOG_ROOM
    print(json.dumps(found), flush=True)
    sys.stdin.readline()
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.py memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=whole(1), default=1_000_000, help="of each way (default: %(default)s)")
    parser.add_argument(
        "--memory", type=whole(1), default=MEMORY_LIMIT // MB, help="of each log, in MB (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        raise SystemExit(_flood(sys.argv[1]))
    raise SystemExit(_fill_log(*sys.argv[1:5], *map(int, sys.argv[5:])))  # type: ignore[call-arg]
