"""Random fault schedules: broker and games killed, paused, restarted at random moments; one seed, one schedule."""

import random
from dataclasses import dataclass

from streaming_lab.cluster import Cluster
from streaming_lab.delivery.ways import safe_ways
from streaming_lab.errors import LabError
from streaming_lab.faults import evidence
from streaming_lab.faults.crowds import Load
from streaming_lab.faults.experiment import run_in, workshop
from streaming_lab.faults.plan import TARGETS, Contender, Fault, Step
from streaming_lab.faults.promises import broken

LONGEST_PAUSE = 1.2  # seconds between two steps
MOST_STEPS = 7


@dataclass(frozen=True)
class Schedule:
    """What a seed stands for: a fault, the two safe ways with clients who ask again or don't, and their load."""

    seed: int
    fault: Fault
    contenders: tuple[Contender, ...]
    load: Load

    def __str__(self) -> str:
        steps = ", ".join(f"{step.action} at {step.at:.2f} s" for step in self.fault.steps)
        names = ", ".join(f"{one.way} {'asked again' if one.retries else 'asked once'}" for one in self.contenders)
        return f"seed {self.seed}: {names}: {steps}"


def schedule(seed: int) -> Schedule:
    """The schedule of a seed; the experiment itself brings back what its steps leave broken."""
    dice = random.Random(seed)  # noqa: S311  # no secret
    steps, at = [], dice.uniform(0.1, 1.0)
    states = dict.fromkeys(TARGETS, "up")
    for _ in range(dice.randint(2, MOST_STEPS)):
        target = dice.choice(tuple(TARGETS))
        verb, states[target] = dice.choice(list(TARGETS[target][states[target]].items()))
        steps.append(Step(round(at, 3), f"{verb} {target}"))
        at += dice.uniform(0.0, LONGEST_PAUSE)
    contenders = tuple(Contender(way, way, dice.choice((0, 60))) for way in safe_ways())
    load = Load(requests=120, rate=40.0, players=8, seed=seed)
    return Schedule(seed, Fault(f"schedule {seed}", tuple(steps), drain=dice.choice((0.5, 5.0))), contenders, load)


def violations(one: Schedule, kafka: Cluster) -> list[str]:
    """Run a schedule; every promise that it broke. Evidence of that, or of an experiment that failed, is kept."""
    with workshop(kafka) as folder:
        try:
            experiment = run_in(folder, one.fault, kafka, one.contenders, one.load)
        except LabError as error:
            evidence.keep(one.seed, folder, kafka, [str(error)])
            raise
        problems = broken(experiment)
        if problems:
            evidence.keep(one.seed, folder, kafka, problems, experiment.results)
        return problems
