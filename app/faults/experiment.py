"""One experiment: every way to deliver at once against one broker, a fault, and all that is left to be found."""

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from streaming_lab.analysis.deliveries import Mark
from streaming_lab.analysis.ledger import Ledger, close_ledger
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection
from streaming_lab.cluster import Cluster
from streaming_lab.delivery.ways import arguments, open_log
from streaming_lab.faults.crowds import Crowds, Load
from streaming_lab.faults.plan import LINEUP, WAIT, Contender, Fault
from streaming_lab.faults.plan import PATIENCE as GIVE_UP
from streaming_lab.faults.probe import Sight, look
from streaming_lab.faults.process import Farewell, GameProcess
from streaming_lab.faults.stage import Stage
from streaming_lab.game.history import read_history
from streaming_lab.game.rules import World
from streaming_lab.game.schema import EVENTS
from streaming_lab.game.web import create_app
from streaming_lab.paths import lab_home
from streaming_lab.reader.frames import TopicFrame, read_topic

PARTITIONS = 3
LONGEST = 300.0  # seconds that a crowd may take beyond its own pace


@dataclass(frozen=True, eq=False)
class Result:
    """What one contender's crowd was answered (`asked`), what is in its topic, and how its game ended each time.

    `restarted` is the world of a game that starts on the topic afterwards, `seen` what the one that ran before its end
    showed of its own (for the ways whose 200 is for good); `waiting` are the outbox's rows left.
    """

    contender: Contender
    asked: pd.DataFrame
    topic: TopicFrame
    ledger: Ledger
    farewells: tuple[Farewell, ...]
    restarted: World
    seen: Sight | None
    waiting: int


@dataclass(frozen=True, eq=False)
class Experiment:
    """One fault with all its contenders; `began` is the moment (UTC) from which the marks count their seconds."""

    fault: Fault
    began: datetime
    marks: tuple[Mark, ...]
    results: tuple[Result, ...]

    def of(self, name: str) -> Result:
        """The result of one contender."""
        return next(result for result in self.results if result.contender.name == name)


def run(fault: Fault, kafka: Cluster, contenders: Sequence[Contender] = LINEUP, load: Load | None = None) -> Experiment:
    """Start the games, let the crowds play, do the fault's steps, bring all back, stop the games, and read the topics.

    Every wait has a deadline. However it ends, no game is left, and the broker runs.
    """
    with workshop(kafka) as folder:
        return run_in(folder, fault, kafka, contenders, load or Load())


@contextmanager
def workshop(kafka: Cluster) -> Iterator[Path]:
    """A folder for one experiment in the lab's home; it goes when the block ends, and so do the experiment's topics.

    After an error they stay. With hundreds of topics a killed broker would be long in starting.
    """
    (lab_home() / "faults").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="run-", dir=lab_home() / "faults") as folder:
        yield Path(folder)
        topics.delete_topics(kafka.connection, [game.name for game in Path(folder).iterdir()], timeout=30.0)


def run_in(folder: Path, fault: Fault, kafka: Cluster, contenders: Sequence[Contender], load: Load) -> Experiment:
    """`run`, with what the games say and their outboxes in folders there, each named after the game's topic."""
    name = uuid.uuid4().hex[:8]
    wanted = [f"faults-{name}-{re.sub('[^a-z]+', '-', contender.name)}" for contender in contenders]
    for topic in wanted:
        topics.create_topic(kafka.connection, topic, partitions=PARTITIONS, timeout=30.0)
    games = [
        GameProcess(kafka.connection, topic, one.way, folder / topic, options_of(one))
        for one, topic in zip(contenders, wanted, strict=True)
    ]
    # The stage is left first: a crowd that waits for a paused game has its answer when that is gone.
    with Crowds(load, name) as crowds, Stage(kafka, games, fault.drain) as stage:
        stage.perform("start games")
        began = datetime.now(UTC)
        asked = _played(stage, crowds, fault, contenders, load)
        seen = [_look(*each) for each in zip(contenders, games, asked, strict=True)]
        stage.perform("stop games")
    results = tuple(
        _result(kafka.connection, *each) for each in zip(contenders, wanted, games, asked, seen, strict=True)
    )
    return Experiment(fault, began, tuple(stage.marks[1:-1]), results)


def repeat(
    times: int, fault: Fault, kafka: Cluster, contenders: Sequence[Contender] = LINEUP, load: Load | None = None
) -> list[Experiment]:
    """The same experiment so many times, each with new games on new topics."""
    return [run(fault, kafka, contenders, load) for _ in range(times)]


def options_of(contender: Contender) -> tuple[str, ...]:
    """The game's options: short patience for the ways that have one."""
    return (*arguments(contender.way, {"timeout": WAIT, "patience": GIVE_UP}), *contender.options)


def _played(
    stage: Stage, crowds: Crowds, fault: Fault, contenders: Sequence[Contender], load: Load
) -> list[pd.DataFrame]:
    stage.begin()
    crowds.begin(contenders, [game.url for game in stage.games])
    for step in fault.steps:
        crowds.pause(stage.until(step.at))
        stage.perform(step.action)
    stage.recover()
    return crowds.result(load.requests / load.rate + LONGEST)


def _look(contender: Contender, game: GameProcess, asked: pd.DataFrame) -> Sight | None:
    return look(game.url, sorted(asked["player"].unique())) if contender.log.safe else None


def _result(
    connection: Connection,
    contender: Contender,
    topic: str,
    game: GameProcess,
    asked: pd.DataFrame,
    seen: Sight | None,
) -> Result:
    read = read_topic(connection, topic, EVENTS)
    log = open_log(contender.way, connection, topic, **contender.log.settings_in(game.folder))
    waiting = len(list(log.pending()))
    app = create_app(log, history=read_history(connection, topic, log))
    return Result(
        contender,
        asked,
        read,
        close_ledger(asked, read),
        tuple(game.farewells),
        app.extensions["game"].world,
        seen,
        waiting,
    )
