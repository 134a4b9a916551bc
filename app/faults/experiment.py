"""One experiment: every way to deliver at once against one broker, a fault, and all that is left to be found."""

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pandas as pd

from streaming_lab.analysis.deliveries import Mark
from streaming_lab.analysis.ledger import Ledger, close_ledger
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection
from streaming_lab.cluster import Cluster, run_topics
from streaming_lab.delivery.ways import arguments, log_class, open_log
from streaming_lab.faults.game_process import (
    ExitReport,
    GameProcess,
    GameTemplate,
    PlayerSnapshot,
    snapshot_players,
)
from streaming_lab.faults.injector import FaultInjector
from streaming_lab.faults.load import Crowds, Load
from streaming_lab.faults.machine import Machine, compiled_library
from streaming_lab.faults.plan import ANSWER_TIMEOUT, DEFAULT_VARIANTS, GIVE_UP_AFTER as GIVE_UP, Fault, Variant
from streaming_lab.game.history import read_history
from streaming_lab.game.rules import World
from streaming_lab.game.schema import EVENTS
from streaming_lab.game.web import create_app
from streaming_lab.paths import lab_home
from streaming_lab.reader import TopicFrame, read_topic

FAULT_PARTITIONS = 3
CROWD_LIMIT = 300.0  # seconds that a crowd may take beyond its own pace


@dataclass(frozen=True, eq=False)
class Result:
    """What one variant's crowd was answered (`asked`), what is in its topic, and how its game ended each time.

    `restarted` is the world of a game that starts on the topic afterwards, `seen` what the one that ran before its end
    showed of its own (for the ways whose 200 is for good); `waiting` are the outbox's rows left.
    """

    variant: Variant
    asked: pd.DataFrame
    topic: TopicFrame
    ledger: Ledger
    exit_reports: tuple[ExitReport, ...]
    restarted: World
    seen: PlayerSnapshot | None
    waiting: int


@dataclass(frozen=True, eq=False)
class Experiment:
    """One fault with all its variants; `began` is the moment (UTC) from which the fault events count their seconds."""

    fault: Fault
    began: datetime
    fault_events: tuple[Mark, ...]
    results: tuple[Result, ...]
    run: str = ""  # the run of its crowds' request ids, before the variant's name

    def of(self, name: str) -> Result:
        """The result of one variant."""
        return next(result for result in self.results if result.variant.name == name)


Say: TypeAlias = Callable[[str], None]  # told in words what an experiment does just now


def run_experiment(
    fault: Fault,
    kafka: Cluster,
    variants: Sequence[Variant] = DEFAULT_VARIANTS,
    load: Load | None = None,
    say: Say = lambda _: None,
) -> Experiment:
    """Start the games, let the crowds play, do the fault's steps, bring all back, stop the games, and read the topics.

    Every wait has a deadline. However it ends, no game is left, and the broker runs.
    """
    with experiment_folder(kafka) as folder:
        return run_experiment_in(folder, fault, kafka, variants, load or Load(), say)


@contextmanager
def experiment_folder(kafka: Cluster) -> Iterator[Path]:
    """A folder for one experiment in the lab's home; it goes when the block ends, and so do the experiment's topics.

    After an error they stay. With hundreds of topics a killed broker would be long in starting.
    """
    (lab_home() / "faults").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="run-", dir=lab_home() / "faults") as folder:
        yield Path(folder)
        topics.delete_topics(kafka.connection, [game.name for game in Path(folder).iterdir()], timeout=30.0)


def run_experiment_in(
    folder: Path,
    fault: Fault,
    kafka: Cluster,
    variants: Sequence[Variant],
    load: Load,
    say: Say = lambda _: None,
) -> Experiment:
    """`run`, with what the games say and their outboxes in folders there, each named after the game's topic."""
    name = uuid.uuid4().hex[:8]
    wanted = [f"faults-{name}-{re.sub('[^a-z]+', '-', variant.name)}" for variant in variants]
    with ExitStack() as left:
        library = left.enter_context(compiled_library()) if fault.needs_machines else None
        shared = None if library else left.enter_context(GameTemplate())  # its imports take longest
        for topic in wanted:
            topics.create_topic(kafka.connection, topic, partitions=FAULT_PARTITIONS, timeout=30.0)
        games = []
        for one, topic in zip(variants, wanted, strict=True):
            machine = _machine(library, one.way, folder / topic) if library else None
            template = shared or left.enter_context(GameTemplate(machine.environment if machine else None))
            options = options_of(one)
            games.append(GameProcess(template, kafka.connection, topic, one.way, folder / topic, options, machine))
        run = f"{run_topics.run_id()}/{name}"
        crowds = left.enter_context(Crowds(load, run))
        # The injector ends first: a crowd that waits for a paused game has its answer when that is gone.
        injector = left.enter_context(FaultInjector(kafka, games, fault.drain, load.seed, say))
        injector.apply_action("start games")
        began = datetime.now(UTC)
        asked = _played(injector, crowds, fault, variants, load)
        seen = [_look(*each) for each in zip(variants, games, asked, strict=True)]
        injector.apply_action("stop games")
    say("read topics")
    results = tuple(_result(kafka.connection, *each) for each in zip(variants, wanted, games, asked, seen, strict=True))
    return Experiment(fault, began, tuple(injector.fault_events[1:-1]), results, run)


def _machine(library: Path, way: str, folder: Path) -> Machine:
    """The machine of a game whose outbox, where it has one, is in `folder`."""
    disk = log_class(way).settings_in(folder).get("path", folder / "nothing")
    return Machine(library, Path(disk), folder / "machine")


def options_of(variant: Variant) -> tuple[str, ...]:
    """The game's options: short patience for the ways that have one."""
    return (*arguments(variant.way, {"timeout": ANSWER_TIMEOUT, "patience": GIVE_UP}), *variant.options)


def _played(
    injector: FaultInjector, crowds: Crowds, fault: Fault, variants: Sequence[Variant], load: Load
) -> list[pd.DataFrame]:
    injector.begin()
    crowds.begin(variants, [game.url for game in injector.games])
    return take_steps(injector, crowds, fault, load)


def take_steps(injector: FaultInjector, crowds: Crowds, fault: Fault, load: Load) -> list[pd.DataFrame]:
    """Do the fault's steps while the crowds play, bring all back, and wait for the crowds' answers."""
    for step in fault.steps:
        crowds.pause(injector.until(step.at))
        injector.apply_action(step.action)
    injector.heal()
    return crowds.result(load.requests / load.rate + CROWD_LIMIT)


def _look(variant: Variant, game: GameProcess, asked: pd.DataFrame) -> PlayerSnapshot | None:
    return snapshot_players(game.url, sorted(asked["player"].unique())) if variant.log.safe else None


def _result(
    connection: Connection,
    variant: Variant,
    topic: str,
    game: GameProcess,
    asked: pd.DataFrame,
    seen: PlayerSnapshot | None,
) -> Result:
    read = read_topic(connection, topic, EVENTS)
    log = open_log(variant.way, connection, topic, **variant.log.settings_in(game.folder))
    waiting = len(list(log.pending()))
    app = create_app(log, history=read_history(connection, topic, log))
    return Result(
        variant,
        asked,
        read,
        close_ledger(asked, read),
        tuple(game.exit_reports),
        app.extensions["game"].world,
        seen,
        waiting,
    )
