"""What is kept of a schedule that broke a promise, so that it can be looked into when all has ended."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from streaming_lab.cluster import Cluster
from streaming_lab.cluster.embedded.client import EmbeddedCluster
from streaming_lab.faults.experiment import Result
from streaming_lab.paths import lab_home

REBUILT = shutil.ignore_patterns("*.index", "*.timeindex")  # 10 MB each, and made again from the log
TAIL = 4 << 20  # bytes of the broker's own log


def place(seed: int) -> Path:
    """Where the evidence against a seed is; a later run of the same seed replaces it."""
    return lab_home() / "faults" / f"failed-{seed}"


def keep(seed: int, folder: Path, kafka: Cluster, problems: Iterable[str], results: Sequence[Result] = ()) -> None:
    """Copy what there is: the problems, each answer, what the games said, their outboxes, broker's log and topics.

    `folder` is the experiment's: a folder for each game, named after its topic.
    """
    there = place(seed)
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(folder, there)
    (there / "problems.txt").write_text("".join(f"{problem}\n" for problem in problems), encoding="utf-8")
    for result in results:
        name = result.contender.name.replace(" ", "-")
        result.asked.to_csv(there / f"asked-{name}.csv", index=False)
        result.topic.events.to_csv(there / f"events-{name}.csv", index=False)
    if isinstance(kafka, EmbeddedCluster):
        _keep_broker(Path(kafka.state.run), [game.name for game in folder.iterdir()], there)


def _keep_broker(run: Path, topics: Sequence[str], there: Path) -> None:
    for broker in run.glob("start-*/broker-*"):
        copy = there / broker.name
        for topic in topics:
            for partition in (broker / "data").glob(f"{topic}-*"):
                shutil.copytree(partition, copy / partition.name, ignore=REBUILT, dirs_exist_ok=True)
        with (broker / "kafka.log").open("rb") as log:
            log.seek(max(0, (broker / "kafka.log").stat().st_size - TAIL))
            (copy / "kafka.log").write_bytes(log.read())
