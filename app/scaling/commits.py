"""A consumer crashes between its work and its commit: how often each event had an effect, by the order of the two."""

import signal
import sqlite3
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from streaming_lab.child import ChildProgram
from streaming_lab.client import topics
from streaming_lab.cluster import Cluster
from streaming_lab.errors import LabError
from streaming_lab.game.schema import EVENTS
from streaming_lab.paths import lab_home
from streaming_lab.reader import read_topic
from streaming_lab.scaling.clients import flush_all, make_producer, task_connection
from streaming_lab.scaling.committing import AFTER, BEFORE, COMMIT_KINDS, TRANSACTION, UPSERT
from streaming_lab.scaling.sender import create_experiment_topic, numbered_events

COMMIT_PARTITIONS = 3
AS_READ = {"read_committed": "read committed", "read_uncommitted": "read uncommitted"}


@dataclass(frozen=True)
class CommitCount:
    """One order of work and commit: of `events` events some had no effect (`lost`) or several (`repeated`)."""

    kind: str
    seen_as: str
    events: int
    effects: int
    lost: int
    repeated: int


def crash_between(kafka: Cluster, *, events: int = 600, batch: int = 40, crash: int = 4) -> pd.DataFrame:
    """Consumers, one for each kind, kill themselves in the batch number `crash`; a second one of each goes on.

    A row for each `CommitCount`: the effects are rows of a table of its own, or records of a topic of its own, which
    is counted as a reader with each isolation sees it.
    """
    name = uuid.uuid4().hex[:8]
    topic = f"commits-{name}"
    create_experiment_topic(kafka, topic, COMMIT_PARTITIONS)
    output = f"{topic}-output"
    create_experiment_topic(kafka, output)
    ids = _write(kafka, topic, events)
    ends = sorted(topics.end_offsets(kafka.connection, topic, 30.0).items())
    (lab_home() / "faults").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="commits-", dir=lab_home() / "faults") as folder:
        tasks: list[dict[str, Any]] = [
            {
                "connection": task_connection(kafka.connection),
                "topic": topic,
                "ends": ends,
                "group": f"commits-{name}-{number}",
                "batch": batch,
                "kind": kind,
                "effects": str(Path(folder, f"{number}.sqlite")),
                "output": output,
            }
            for number, kind in enumerate(COMMIT_KINDS)
        ]
        _run([{**task, "crash": crash} for task in tasks], -signal.SIGKILL)
        _run([{**task, "crash": 0} for task in tasks], 0)
        found = [_count(task["kind"], "", ids, _effects(task["effects"])) for task in tasks if task["kind"] in ONCE]
    read = partial(read_topic, kafka.connection, output, EVENTS)
    found += [
        _count(TRANSACTION, seen_as, ids, read(isolation=isolation).events["event_id"])
        for isolation, seen_as in AS_READ.items()
    ]
    return pd.DataFrame(found)


ONCE = (BEFORE, AFTER, UPSERT)  # the kinds whose effects are in a table


def _write(kafka: Cluster, topic: str, events: int) -> list[str]:
    producer, ids = make_producer(kafka.connection, settings={"linger.ms": 20}), []
    for event, _ in zip(numbered_events("order"), range(events), strict=False):
        producer.produce(topic, event.to_bytes(), event.player.encode())
        ids.append(event.event_id)
    flush_all(producer, events)
    return ids


def _run(tasks: Sequence[dict[str, Any]], code: int) -> None:
    """Run a process for each task, side by side; each must end with this exit code."""
    with ExitStack() as stack:
        children = [stack.enter_context(ChildProgram("streaming_lab.scaling.committing", task)) for task in tasks]
        codes = [child.wait() for child in children]
    wrong = {task["kind"]: found for task, found in zip(tasks, codes, strict=True) if found != code}
    if wrong:
        raise LabError(f"consumers ended with {wrong}, not with {code}", "Its errors are above, or in kernel.log.")


def _effects(file: str) -> "pd.Series[str]":
    with closing(sqlite3.connect(file)) as table:
        return pd.Series([event_id for (event_id,) in table.execute("select event_id from effects")], dtype="str")


def _count(kind: str, seen_as: str, ids: Sequence[str], effects: "pd.Series[str]") -> CommitCount:
    distinct = set(effects)
    return CommitCount(
        kind, seen_as, len(ids), len(effects), len(set(ids) - distinct), len(effects) - len(distinct & set(ids))
    )


def broken_commit_promises(counts: pd.DataFrame) -> list[str]:
    """A sentence for each promise that was broken, or whose other side the crash did not show."""
    found = []
    for row in counts.to_dict("records"):
        kind, lost, repeated = row["kind"], row["lost"], row["repeated"]
        once = kind == UPSERT or row["seen_as"] == AS_READ["read_committed"]
        if lost and kind != BEFORE:
            found.append(f"{kind}: {lost} events had no effect")
        if repeated and (once or kind == BEFORE):
            found.append(f"{kind} {row['seen_as']}: {repeated} effects too many")
        if not lost and kind == BEFORE:
            found.append(f"{kind}: the crash lost nothing")
        if not repeated and not once and kind != BEFORE:
            found.append(f"{kind} {row['seen_as']}: the crash repeated nothing")
    return found
