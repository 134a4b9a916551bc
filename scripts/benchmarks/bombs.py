"""Memory of a read whose record batches inflate by thousands: a bound for each batch, and `read_batches`' budget.

Each read in a process of its own. Stated: `batch_limit` or `memory`, and ROOM for what does not grow
with the topic. Run as a program, it is one such process: bombs.py READ SERVERS TOPIC WARM_UP_TOPIC
"""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer

from benchmarks import environment
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses, connection_for, librdkafka_settings
from streaming_lab.errors import LabError
from streaming_lab.reader import read_batches, read_topic

MB = 1 << 20
ROOM = 32 * MB  # the allocator's slack, thread stacks, and the first use of each library function
LOOK = 0.005  # seconds between two looks at the memory
LIMIT = 64  # MB that a batch may inflate to
BUDGET = 64  # MB of `read_batches`
LARGE, SMALL, COUNT = 300, 4, 80  # MB of the one large batch; MB and number of the small ones


def _limited(connection: Connection, topic: str) -> str:
    """`read_topic` of a batch beyond its limit."""
    found = read_topic(connection, topic, batch_limit=LIMIT * MB, oversized="reject")
    return f"{len(found.events)} rows, {len(found.rejects)} reject"


def _pieces(connection: Connection, topic: str) -> str:
    """`read_batches` of an answer that holds many compressed batches."""
    rows = sum(len(table) for table in read_batches(connection, topic, memory=BUDGET * MB))
    return f"{rows} rows"


READS: dict[str, tuple[str, Callable[[Connection, str], str], int]] = {  # topic, read, MB stated
    "read_topic": ("large", _limited, LIMIT),
    "read_batches": ("small", _pieces, BUDGET),
}


def measure(connection: Connection) -> dict[str, dict[str, Any]]:
    """Name of the read -> result, bytes inflated, seconds, bytes grown and stated."""
    names = {kind: f"bombs-{kind}-{uuid.uuid4().hex[:8]}" for kind in ("large", "small", "warm")}
    _seed(connection, names["large"], LARGE, 1)
    _seed(connection, names["small"], SMALL, COUNT)
    _seed(connection, names["warm"], 1, 1)
    inflated = {"large": LARGE * MB, "small": SMALL * COUNT * MB}
    found = {}
    for name, (kind, _, stated) in READS.items():
        command = [sys.executable, __file__, name, addresses(connection), names[kind], names["warm"]]
        ran = subprocess.run(command, env=environment.importing(), capture_output=True, text=True, check=False)
        if ran.returncode:
            raise LabError(f"{name} failed: {ran.stderr.strip()[-300:]}", "Read the topic by hand to see more.")
        found[name] = json.loads(ran.stdout) | {"inflated": inflated[kind]}
        found[name]["stated"] = stated * MB + ROOM
    topics.delete_topics(connection, names.values())
    return found


def holds(one: dict[str, Any]) -> bool:
    """Did the read stay within the stated memory?"""
    return bool(one["grown"] <= one["stated"])


def table(found: dict[str, dict[str, Any]]) -> str:
    """The figures as text, with the verdict of each."""
    lines = [f"{'read':18}{'inflated':>10}{'stated':>8}{'grown':>8}{'s':>7} | held | result"]
    for name, one in found.items():
        held = "yes" if holds(one) else "NO"
        lines.append(
            f"{name:18}{one['inflated'] / MB:10.0f}{one['stated'] / MB:8.0f}"
            f"{one['grown'] / MB:8.1f}{one['seconds']:7.1f} | {held:4} | {one['result']}"
        )
    return "\n".join(lines)


def _seed(connection: Connection, topic: str, size: int, batches: int) -> None:
    """Fill a topic with zstd batches that inflate to `size` MB each: some 50 bytes a megabyte on the broker."""
    topics.create_topic(connection, topic, timeout=30.0)
    whole = {
        "batch.size": 1 << 30,
        "message.max.bytes": 10**9,
        "queue.buffering.max.kbytes": 1 << 20,
        "linger.ms": 5000,
    }
    for _ in range(batches):
        producer = Producer({**librdkafka_settings(connection), **whole, "compression.codec": "zstd"})
        for _ in range(size):
            producer.produce(topic, b'{"pad": "%s"}' % (b"a" * MB), partition=0)
        if producer.flush(60):
            raise LabError("the topic could not be filled", "Is the broker well?")


def _read(name: str, servers: str, topic: str, warm: str) -> int:
    connection = connection_for(servers)
    read = READS[name][1]
    read(connection, warm)
    began = time.monotonic()
    with environment.Peak(LOOK) as peak:
        result = read(connection, topic)
    found = {"result": result, "seconds": round(time.monotonic() - began, 2), "grown": peak.highest - peak.before}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(_read(*sys.argv[1:5]))
