"""Random fault schedules: what befalls broker, games and their machines at random moments; one seed, one schedule."""

import argparse
import random
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streaming_lab.cli import VERSION, whole
from streaming_lab.cluster import Cluster, attach
from streaming_lab.cluster.embedded.client import EmbeddedCluster
from streaming_lab.delivery.ways import safe_ways
from streaming_lab.errors import LabError
from streaming_lab.faults.experiment import Result, experiment_folder, run_experiment_in
from streaming_lab.faults.load import Load
from streaming_lab.faults.machine import find_compiler
from streaming_lab.faults.plan import MACHINE_MOVES, TARGETS, Fault, Step, Variant
from streaming_lab.faults.results import broken_promises
from streaming_lab.paths import lab_home

# Evidence of a broken promise: copies that outlive the experiment.

REBUILT = shutil.ignore_patterns("*.index", "*.timeindex")  # 10 MB each, and made again from the log
LOG_TAIL = 4 << 20  # bytes of the broker's own log


def evidence_folder(seed: int) -> Path:
    """Where the evidence against a seed is; a later run of the same seed replaces it."""
    return lab_home() / "faults" / f"failed-{seed}"


def keep_evidence(
    seed: int, folder: Path, kafka: Cluster, problems: Iterable[str], results: Sequence[Result] = ()
) -> None:
    """Copy what there is: the problems, each answer, what the games said, their outboxes, broker's log and topics.

    `folder` is the experiment's: a folder for each game, named after its topic.
    """
    there = evidence_folder(seed)
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(folder, there)
    (there / "problems.txt").write_text("".join(f"{problem}\n" for problem in problems), encoding="utf-8")
    for result in results:
        name = result.variant.name.replace(" ", "-")
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
            log.seek(max(0, (broker / "kafka.log").stat().st_size - LOG_TAIL))
            (copy / "kafka.log").write_bytes(log.read())


LONGEST_STEP = 1.2  # seconds between two steps
MOST_STEPS = 7


@dataclass(frozen=True)
class Schedule:
    """What a seed stands for: a fault, the two safe ways with clients who ask again or don't, and their load."""

    seed: int
    fault: Fault
    variants: tuple[Variant, ...]
    load: Load

    def __str__(self) -> str:
        steps = ", ".join(f"{step.action} at {step.at:.2f} s" for step in self.fault.steps)
        names = ", ".join(f"{one.way} {'asked again' if one.retries else 'asked once'}" for one in self.variants)
        return f"seed {self.seed}: {names}: {steps}"


def possible_targets() -> tuple[str, ...]:
    """What a fault can befall here: all of plan's table, or without a machine of the games' own broker and games."""
    return tuple(target for target in TARGETS if target not in MACHINE_MOVES or find_compiler())


def make_schedule(seed: int) -> Schedule:
    """The schedule of a seed on this machine; the experiment itself brings back what its steps leave broken."""
    dice = random.Random(seed)  # noqa: S311  # no secret
    steps, at = [], dice.uniform(0.1, 1.0)
    targets = possible_targets()
    states = dict.fromkeys(targets, "up")
    for _ in range(dice.randint(2, MOST_STEPS)):
        target = dice.choice(targets)
        verb, states[target] = dice.choice(list(TARGETS[target][states[target]].items()))
        steps.append(Step(round(at, 3), f"{verb} {target}"))
        at += dice.uniform(0.0, LONGEST_STEP)
    variants = tuple(Variant(way, way, dice.choice((0, 60))) for way in safe_ways())
    load = Load(requests=120, rate=40.0, players=8, seed=seed)
    return Schedule(seed, Fault(f"schedule {seed}", tuple(steps), drain=dice.choice((0.5, 5.0))), variants, load)


def find_violations(one: Schedule, kafka: Cluster) -> list[str]:
    """Run a schedule; every promise that it broke. Evidence of that, or of an experiment that failed, is kept."""
    with experiment_folder(kafka) as folder:
        try:
            experiment = run_experiment_in(folder, one.fault, kafka, one.variants, one.load)
        except LabError as error:
            keep_evidence(one.seed, folder, kafka, [str(error)])
            raise
        problems = broken_promises(experiment)
        if problems:
            keep_evidence(one.seed, folder, kafka, problems, experiment.results)
        return problems


# The command `scripts/faults.py`: one schedule after the other, a line for each.


def main(argv: Sequence[str] | None = None) -> int:
    """Run the schedules; returns 1 when a promise was broken, and names the seeds.

    Ctrl-C and SIGTERM end the run in the middle (exit code 130): games and folders go at once, the broker soon after.
    """
    options = _options(argv)
    seeds = range(options.first, options.first + options.schedules) if options.seed is None else [options.seed]
    failed = []
    if missing := [target for target in TARGETS if target not in possible_targets()]:
        _say(f"not here, since it needs Linux and a C compiler: faults of {', '.join(missing)}")
    with attach("embedded", instance="schedules") as kafka:
        for seed in seeds:
            one, start = make_schedule(seed), time.monotonic()
            _say(str(one))
            problems = find_violations(one, kafka)
            _say(*(f"  BROKEN: {problem}" for problem in problems))
            if problems and evidence_folder(seed).exists():
                _say(f"  evidence: {evidence_folder(seed)}")
            _say(f"  {'failed' if problems else 'kept'} in {time.monotonic() - start:.1f} s")
            failed += [seed] if problems else []
    _say(f"{len(seeds) - len(failed)} of {len(seeds)} schedules kept every promise")
    if failed:
        _say(f"again: python3 scripts/faults.py --seed {failed[0]}   (failed: {', '.join(map(str, failed))})")
    return 1 if failed else 0


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("faults.py", description="Random fault schedules, each checked for its promises.")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--schedules", type=whole(1), default=10, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=whole(0), default=1, help="the first one's seed (default: %(default)s)")
    parser.add_argument("--seed", type=whole(0), help="this one only")
    return parser.parse_args(argv)
