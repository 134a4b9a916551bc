"""Measures where the time of `read_topic` goes: its stages one after another, beside the whole, where they overlap.

python3 scripts/bench.py stages --events 1000000 --codec zstd --json stages.json

The stages run on the code that `read_topic` runs on, but in one thread and each to its end, so that each has a time of
its own. "copy" is what a reader pays that takes the batches out of the answer first; `read_topic` decodes them where
they are.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

from benchmarks import environment
from benchmarks.figures import spread
from benchmarks.peers.measure import ROW, Task
from benchmarks.read import BATCH, add_topic_options, seeded_topic
from streaming_lab.client.connection import Connection, connection_for
from streaming_lab.errors import LabError
from streaming_lab.reader import read_topic
from streaming_lab.reader.decode.batches import scan_batches
from streaming_lab.reader.decode.native import core_available
from streaming_lab.reader.decode.schema import Schema
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource
from streaming_lab.reader.frames import build_frames
from streaming_lab.reader.pipeline import Part, Planner, ResultBuilder, select_decoder

SCHEMA = Schema(dict.fromkeys(ROW, "string") | {"at": "timestamp", "price": "float64", "quantity": "int64"})
USED = ("connect", "fetch", "inflate", "decode", "build", "pandas")  # the stages of `read_topic`


def main(arguments: Sequence[str]) -> int:
    """Seed, run the rounds, compare the frames, then print and write the table."""
    options = _parser().parse_args(arguments)
    decoders = ["native", "python"] if core_available() else ["python"]
    with seeded_topic(options, "bench.py stages", BATCH) as (task, size):
        connection = connection_for(task.bootstrap)
        every = [{name: _round(connection, task, name) for name in decoders} for _ in range(1 + options.rounds)]
    rounds = every[1:]  # the first one imports and warms up
    result: dict[str, Any] = {
        name: {stage: spread([one[name][stage] for one in rounds], 4) for stage in rounds[0][name]} for name in decoders
    }
    setting = {"events": task.events, "codec": options.codec, "bytes_per_event": round(size / task.events)}
    print(_table(result, setting, options.rounds))
    if options.json:
        found = {"stages": result, "setting": setting, "machine": environment.machine()}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="bench.py stages", description=__doc__.splitlines()[0])
    add_topic_options(found)
    return found


def _round(connection: Connection, task: Task, decoder: str) -> dict[str, float]:
    """The seconds of each stage, of all, and of `read_topic` itself; raises a `LabError` where the frames differ."""
    taken: dict[str, float] = {}
    frame = _stages(connection, task, decoder, _clock(taken))
    taken["decode"] -= taken["inflate"]
    taken["pandas"] -= taken["build"]
    taken["one after another"] = sum(taken[stage] for stage in USED)
    with _clock(taken)("read_topic"):
        whole_read = read_topic(connection, task.topic, SCHEMA, decoder=decoder, timeout=600.0)
    if len(frame) != task.events or not frame.equals(whole_read.events):
        raise LabError(f"the stages' frame and read_topic's differ ({decoder})", "One is wrong: no times are given.")
    return taken


Clock = Callable[[str], Any]


def _clock(taken: dict[str, float]) -> Clock:
    """A clock whose blocks add their seconds to the named stage."""

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        taken[name] = taken.get(name, 0.0) + time.perf_counter() - began

    return stage


def _stages(connection: Connection, task: Task, decoder: str, clock: Clock) -> pd.DataFrame:
    """The topic's events, read one stage after another."""
    chosen, planner, gathered = select_decoder(decoder), Planner.of(SCHEMA, None), ResultBuilder()
    with clock("connect"):
        source = RecordSource(ReadRequest(connection, task.topic, timeout=600.0))
    with source:
        responses = source.responses(source.ranges, answer=chosen.answer)
        while True:
            with clock("fetch"):
                response = next(responses, None)
            if response is None:
                break
            for chunk in getattr(response, "chunks", ()):
                with clock("copy"):
                    bytes(chunk.data)
                segments = [segment for segment in scan_batches(chunk).segments if segment.codec]
                with clock("inflate"):
                    for segment in segments:
                        segment.inflated()
            with clock("decode"):  # and what was inflated, once more
                for partition, decoded in response.decoded(planner.plan, chosen.decode):
                    gathered.add(Part(partition, planner.plan, decoded))
                response.done()
    with clock("build"):
        gathered.table(planner.plan)
    with clock("pandas"):  # and the table, once more
        return build_frames(gathered, planner.plan, source.ranges, chosen.name, None).events


def _table(result: dict[str, Any], setting: dict[str, Any], rounds: int) -> str:
    """A row for each stage, a column for each decoder: seconds, and the share of what they take one after another."""
    lines = [
        f"{setting['events']} events of {setting['bytes_per_event']} bytes, {setting['codec']}; medians of {rounds} "
        "rounds",
        "every frame held the same",
        "",
        f"| stage | {' | '.join(f'{name}, s | share' for name in result)} |",
        f"|---|{'---|---|' * len(result)}",
    ]
    for stage in (*USED, "one after another", "read_topic", "copy"):
        cells = [stage]
        for found in result.values():
            seconds, all_stages = found[stage]["seconds"], found["one after another"]["seconds"]
            cells += [f"{seconds:.3f}", f"{seconds / all_stages:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
