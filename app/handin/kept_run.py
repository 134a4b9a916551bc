"""The run as a hand-in kept it: frames in the reader's types, the topic from its batches, the world from the moves."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import pandas as pd

from streaming_lab.errors import LabError
from streaming_lab.faults.experiment import Experiment
from streaming_lab.faults.kept import restored_experiments
from streaming_lab.game.events import ACTIONS, Event
from streaming_lab.game.game import Game
from streaming_lab.game.moves import Move, seeded_moves
from streaming_lab.game.players import DTYPES
from streaming_lab.game.rules import Command, World
from streaming_lab.game.schema import EVENTS
from streaming_lab.handin.load import HandIn
from streaming_lab.reader.frames import TopicFrame
from streaming_lab.reader.kept import decode_record_batches
from streaming_lab.report.parameters import PARAMETER_TYPES, Parameter, ParameterError
from streaming_lab.report.record import Run

NO_BATCHES = pd.DataFrame({"partition": [], "offset": [], "batch": []})
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class Missing(LabError):
    """Something that a check needs and the hand-in does not have."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "Ask for the whole of build/, as scripts/submit.py packs it.")


class KeptRun:
    """A hand-in's data as the chapters had them."""

    def __init__(self, hand_in: HandIn) -> None:
        self.hand_in = hand_in
        self.run: Run = hand_in.run

    @cached_property
    def experiments(self) -> list[Experiment]:
        """Chapter 04's experiments from the kept frames; raises `Missing`."""
        if self.hand_in.experiments is None:
            raise Missing(self.hand_in.unreadable.get("kept/experiments.json", "there is no kept/experiments.json"))
        frames = {name: self.frame(name) for name in ("asked", "appended", "refused")}
        try:
            return restored_experiments(self.hand_in.experiments, frames)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Missing(f"kept/experiments.json is not this lab's: {type(error).__name__}: {error}") from error

    @property
    def topic(self) -> str | None:
        """The name of the crowd's topic; None where chapter 03 did not come so far."""
        return next(iter(self.run.ranges or {}), None)

    @property
    def ranges(self) -> dict[int, tuple[int, int]]:
        """The offsets that the run wrote, by partition."""
        ranges: Mapping[str, Any] = next(iter((self.run.ranges or {}).values()), {})
        return {int(partition): (int(start), int(end)) for partition, (start, end) in ranges.items()}

    @property
    def acknowledged(self) -> int | None:
        """The event log's own count, which only the ledger keeps."""
        return (self.run.ledger or {}).get("acknowledged")

    def parameter(self, name: str) -> Any:
        """A parameter's value in the record; raises `Missing`."""
        if name not in self.run.parameters:
            raise Missing(f"the record has no parameter {name}")
        return self.run.parameters[name]

    def checked_parameters(self, declared: Mapping[str, Parameter]) -> dict[str, Any]:
        """The record's values of these parameters, each of its type and in its range; raises `Missing`."""
        values = {name: self.parameter(name) for name in declared}
        for name, one in declared.items():
            if type(values[name]) is not PARAMETER_TYPES[one.type]:
                raise Missing(f"the record's {name} is {values[name]!r}, which is no {one.type}")
            try:
                one.within(values[name])
            except ParameterError as error:
                raise Missing(f"the record's {error.problem}") from error
        return values

    def frame(self, name: str) -> pd.DataFrame:
        """A kept frame with the types that it had in its chapter; raises `Missing`."""
        if why := self.hand_in.unreadable.get(f"{name}.parquet"):
            raise Missing(f"{name}.parquet can't be read: {why}")
        if name not in self.hand_in.frames:
            raise Missing(f"there is no {name}.parquet")
        frame = self.hand_in.frames[name]
        if name in ("requests", "asked"):
            return frame.astype(DTYPES)
        if name in ("events", "appended", "rejects", "refused"):
            template = self._template.rejects if name in ("rejects", "refused") else self._template.events
            return frame.astype(dict(template.dtypes))
        return frame

    @cached_property
    def _template(self) -> TopicFrame:
        return decode_record_batches(NO_BATCHES, EVENTS, {0: (0, 0)})

    @cached_property
    def topic_frame(self) -> TopicFrame:
        """The topic as the reader gave it: decoded from the batches if they were kept, otherwise the kept frames."""
        if "batches" in self.hand_in.frames and len(self.frame("batches")):
            return decode_record_batches(self.frame("batches"), EVENTS, self.ranges)
        return self.kept_topic

    @cached_property
    def kept_topic(self) -> TopicFrame:
        """The topic as the kept frames `events` and `rejects` have it."""
        return TopicFrame(self.frame("events"), self.frame("rejects"), self._template.tombstones, self.ranges)

    @cached_property
    def moves(self) -> list[Move]:
        """The crowd's requests as seed, sizes and run id decide them."""
        names = ("players", "requests", "seed")
        players, requests, seed = (int(self.parameter(name)) for name in names)
        return list(seeded_moves(players, requests, seed, self.run.run_id))

    @cached_property
    def world(self) -> World:
        """The game's world at the end: the moves that were answered 200 or are in the topic, in each player's order."""
        requests = self.frame("requests")
        done = set(requests["request_id"][requests["status"] == 200]) | set(self.topic_frame.events["event_id"])
        world = World()
        for move in self.moves:
            if move.request_id in done:
                fields = {"guild": move.guild} if move.guild else {}
                name = ACTIONS[move.action].name
                world.move(Event(move.request_id, name, move.player, UNKNOWN_TIME, fields=fields))
        return world

    def expected_answers(self) -> dict[str, tuple[int, Any]]:
        """Status and body for each request of a calm run of the game, by request id."""
        game = Game(_CalmLog(), World())
        found = {}
        for move in self.moves:
            answer = game.answer(Command(move.action, move.player, move.request_id, UNKNOWN_TIME, move.guild))
            found[move.request_id] = (answer.status, answer.body)
        return found


class _CalmLog:
    """An event log that takes everything at once."""

    counts: Any = SimpleNamespace()
    last_reasons: dict[str, str] = {}  # noqa: RUF012  # nobody writes to it

    def append(self, key: str, value: bytes, event_id: str) -> None:
        """Take the event."""

    def ready(self) -> bool:
        """It always is."""
        return True
