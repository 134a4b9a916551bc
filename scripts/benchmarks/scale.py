"""A topic's tables by pandas, by processes and by Dask: rows per second, and the memory of the largest process.

python3 scripts/bench.py scale --rows 1e5 1e6 1e7      (1e8: 3.3 GB in the log)
"""

import argparse
import json
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from timeit import timeit
from typing import Any

from benchmarks import environment
from streaming_lab.analysis.summary import Summary, merge_summaries, summarize
from streaming_lab.client import topics
from streaming_lab.client.client_properties import connection_named
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.game.events import ACTIONS
from streaming_lab.game.schema import EVENTS
from streaming_lab.reader import read_topic
from streaming_lab.reader.frames import TopicFrame
from streaming_lab.scaling.clients import flush_all, make_producer
from streaming_lab.slices.executors import ENGINES, open_executor
from streaming_lab.slices.plan import memory_budget, plan_slices
from streaming_lab.slices.run import run_slices
from streaming_lab.slices.work import peak_memory

PARTITIONS, PLAYERS = 6, 1000
RUN_TIMEOUT = 3600.0  # seconds for one engine


def main(arguments: Sequence[str]) -> int:
    """Measure each engine on each size, in a process of its own, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="bench.py scale", description=__doc__)
    parser.add_argument("--rows", type=lambda text: int(float(text)), nargs="+", default=[10**5, 10**6, 10**7])
    parser.add_argument("--engines", choices=ENGINES, nargs="+", default=list(ENGINES))
    environment.add_cluster(parser)
    chosen = parser.parse_args(arguments)
    print(json.dumps(environment.machine()))
    print("| rows | engine | seconds | rows per second | largest process (MB) | can it say it read all? |")
    print("|---|---|---|---|---|---|")
    with environment.attached(chosen.cluster, "bench.py scale") as kafka:
        for rows in chosen.rows:
            topic = seed_topic(kafka.connection, rows)
            for engine in chosen.engines:
                print(
                    f"| {rows:,} | {engine} | {in_own_process(addresses(kafka.connection), topic, engine)} |",
                    flush=True,
                )
            topics.delete_topics(kafka.connection, [topic])
    return 0


def seed_topic(connection: Connection, rows: int) -> str:
    """A new topic with so many of the game's events, compressed as by the lab's own game."""
    topic = f"scale-{uuid.uuid4().hex[:8]}"
    topics.create_topic(connection, topic, partitions=PARTITIONS)
    producer = make_producer(connection, settings={"linger.ms": 20, "compression.type": "lz4"})
    for n, (player, value) in enumerate(keyed_events(rows)):
        while True:
            try:
                producer.produce(topic, value, player)
                break
            except BufferError:
                producer.poll(0.1)
        if n % 1000 == 0:
            producer.poll(0)
    flush_all(producer, rows)
    return topic


def keyed_events(rows: int) -> Iterator[tuple[str, str]]:
    """(player, event) as the game writes them; by a template: 10^8 calls of json.dumps take a quarter of an hour."""
    kinds = [(kind.name, kind.name == "joined_guild") for kind in ACTIONS.values()]
    second = ""
    for n in range(rows):
        if n % 1000 == 0:
            second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + n // 1000))
        kind, guild = kinds[n % len(kinds)]
        joined = f', "guild": "guild-{n % 9}"' if guild else ""
        player = f"player-{n * 7919 % PLAYERS:04d}"
        event = (
            f'{{"event_id": "{n:032x}", "event_type": "{kind}", "player": "{player}", '
            f'"at": "{second}.{n % 1000:03d}Z"{joined}, "host": "127.0.0.1:5000", "user_agent": "bench"}}'
        )
        yield player, event


def in_own_process(brokers: str, topic: str, engine: str) -> str:
    """The cells of one engine's row, measured in a process of its own; its last words where it failed."""
    command = [sys.executable, "-m", "benchmarks.scale", brokers, topic, engine]
    ran = subprocess.run(
        command, capture_output=True, text=True, env=environment.importing(), timeout=RUN_TIMEOUT, check=False
    )
    if ran.returncode:
        return f"| | | {' '.join(ran.stderr.split())[-200:]}"
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    said = f"yes: {found['told']:,} of {found['offsets']:,} offsets" if found["told"] == found["offsets"] else "no"
    pace = found["rows"] / found["seconds"]
    sys.stderr.write(found["facts"])
    return f"{found['seconds']:.2f} | {pace:,.0f} | {found['peak'] >> 20:,} | {said}"


def summary_of(frame: TopicFrame) -> Summary:
    """The part of one slice: what tables and charts are made of."""
    return summarize(frame.events)


def measure(brokers: str, topic: str, engine: str) -> dict[str, Any]:
    """One engine's summary of the topic; the workers' start counts, since nobody has them for nothing."""
    began = time.monotonic()
    if engine == "pandas":
        plan = plan_slices(brokers, topic, EVENTS)
        plan.refuse_beyond(memory_budget())
        frame = read_topic(connection_named(brokers), topic, EVENTS, ranges=plan.ranges, timeout=RUN_TIMEOUT)
        facts = ""
        rows, told = len(summary_of(frame)), len(frame.events) + len(frame.rejects) + len(frame.tombstones)
        took, peak = time.monotonic() - began, peak_memory()
    else:
        with open_executor(engine) as executor:
            plan = plan_slices(brokers, topic, EVENTS, workers=executor.workers)
            run = run_slices(brokers, plan.slices, summary_of, merge_summaries, executor)
        rows, told = len(run.part), run.rows + run.rejects + run.tombstones
        took, peak = time.monotonic() - began, max(run.peak, peak_memory())
        facts = (
            f"an event: {plan.stored / plan.offsets:.1f} bytes in the log, "
            f"{plan.decoded / plan.offsets:.1f} as columns; "
            f"{len(plan.slices)} slices of {len(pickle.dumps(plan.slices[0]))} bytes; merged part: "
            f"{len(pickle.dumps(run.part))} bytes for {PLAYERS} players, "
            f"{100 * timeit(lambda: merge_summaries(run.part, run.part), number=10):.1f} ms to merge two\n"
        )
    return {"rows": rows, "told": told, "offsets": plan.offsets, "seconds": took, "peak": peak, "facts": facts}


if __name__ == "__main__":
    from benchmarks import scale  # by its name, under which workers find `summary_of`

    print(json.dumps(scale.measure(*sys.argv[1:])))
