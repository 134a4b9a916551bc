"""From the HTTP answer to the row being readable by a consumer that waits for it: p50 and p99 of each way.

python3 scripts/bench.py lag [--events 500] [--json FILE]

One player asks, one request after the other; a librdkafka consumer polls in a thread of the same process, so both times
are of one clock. Below zero: the row could be read before the player had the answer.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import Consumer, TopicPartition

from benchmarks import environment
from benchmarks.variants import playing
from streaming_lab.cli import whole
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.delivery.ways import DELIVERING
from streaming_lab.errors import LabError

READ_TIMEOUT = 20.0  # seconds for the last row
WARM = 50  # events before the ones that count, all of them read before those begin


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each way that logs, print a table; every answered event has to be read, else there is no table."""
    parser = argparse.ArgumentParser(prog="bench.py lag", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=whole(2), default=500, help="of each way")
    environment.add_cluster(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    cluster = environment.attached(options.cluster, "bench.py lag")
    with cluster, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result = {way: _lag(cluster.connection, way, options.events, Path(folder)) for way in DELIVERING}
    print(f"{options.events} events each, all of them read. From the answer to the readable row, ms:")
    print(f"{'way':18}{'p50':>9}{'p99':>9}{'longest':>9}")
    for way, lag in result.items():
        print(f"{way:18}{lag['p50_ms']:9.2f}{lag['p99_ms']:9.2f}{lag['longest_ms']:9.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _lag(connection: Connection, way: str, events: int, folder: Path) -> dict[str, float]:
    topic = f"lag-{uuid.uuid4().hex[:8]}"
    topics.create_topic(connection, topic)
    with playing(way, connection, topic, folder / way) as (url, _), _Watcher(connection, topic) as watcher:
        watcher.seen(set(_ask(url, WARM)))  # a producer's first half second goes by until it has its id
        answered = _ask(url, events)
        read = watcher.seen(set(answered))
    lags = sorted((read[event] - at) * 1000 for event, at in answered.items())
    cuts = statistics.quantiles(lags, n=100)
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "longest_ms": lags[-1]}


def _ask(url: str, events: int) -> dict[str, float]:
    """Request id -> when its 200 had arrived (perf_counter, seconds), one keep-alive connection."""
    answered = {}
    where = urlsplit(url)
    client = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    for _ in range(events):
        event = uuid.uuid4().hex
        client.request("GET", "/purchase_a_sword?player=lag", headers={"X-Request-Id": event})
        answer = client.getresponse()
        answer.read()
        answered[event] = time.perf_counter()
        if answer.status != 200:
            raise LabError(f"the game answered {answer.status}", "Look at the broker: nothing else runs here.")
    client.close()
    return answered


class _Watcher:
    """A consumer that notes when each event became readable."""

    def __init__(self, connection: Connection, topic: str) -> None:
        settings: dict[str, Any] = {"group.id": "lag", "enable.auto.commit": False, "socket.nagle.disable": True}
        self._consumer = Consumer({**librdkafka_settings(connection), **settings})
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        self._read: dict[str, float] = {}
        self._arrived = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                at = time.perf_counter()
                with self._arrived:
                    self._read[json.loads(message.value())["event_id"]] = at
                    self._arrived.notify()

    def seen(self, wanted: set[str]) -> dict[str, float]:
        """When each of the wanted events was read; a LabError when some are missing after `READ_TIMEOUT`."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: wanted <= self._read.keys(), READ_TIMEOUT):
                missing = len(wanted - self._read.keys())
                raise LabError(f"{missing} of {len(wanted)} answered events were not read", "They are lost, or late.")
            return dict(self._read)

    def __enter__(self) -> "_Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._consumer.close()
