"""An experiment as data: who plays against which game, and what breaks when."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streaming_lab.cluster.base import BrokerVerb
from streaming_lab.delivery.event_log import EventLog
from streaming_lab.delivery.ways import DELIVERING, log_class
from streaming_lab.errors import LabError

# For each state of the broker and of the games: the actions that are possible, and the state after each.
BROKER_MOVES: Mapping[str, Mapping[BrokerVerb, str]] = {
    "up": {"kill": "down", "pause": "paused"},
    "down": {"restart": "up"},
    "paused": {"resume": "up", "kill": "down"},
}
GAME_MOVES: Mapping[str, Mapping[str, str]] = {
    "up": {"kill": "down", "pause": "paused", "stop": "down"},
    "down": {"start": "up"},
    "paused": {"resume": "up", "kill": "down"},
}
# The same of the machine that the games are on, where the lab can make one for them (`faults.machine`).
MACHINE_MOVES: Mapping[str, Mapping[str, Mapping[Any, str]]] = {
    "clock": {"up": {"rewind": "up", "advance": "up"}},
    "disk": {"up": {"fill": "full"}, "full": {"empty": "up"}},
    "power": {"up": {"cut": "up"}},  # back at once, and with it the games that ran
}
TARGETS: Mapping[str, Mapping[str, Mapping[Any, str]]] = {
    "broker": BROKER_MOVES,
    "games": GAME_MOVES,
    **MACHINE_MOVES,
}
FAULT_ACTIONS = frozenset(
    f"{verb} {name}" for name, states in TARGETS.items() for verbs in states.values() for verb in verbs
)

GIVE_UP_AFTER = 3.0  # seconds until fire-and-forget gives an event up (kafka-python's default is 120)
ANSWER_TIMEOUT = 1.0  # seconds that confirmed waits for the broker's word
DRAIN = 30.0  # seconds that a game may take to its end, when nothing is broken any more
SMALL_DISK = 64 << 10  # bytes; the least that an outbox takes


@dataclass(frozen=True)
class Step:
    """One action (a verb and its target: one of `FAULT_ACTIONS`), `at` seconds after the first request."""

    at: float
    action: str

    def __post_init__(self) -> None:
        if self.action not in FAULT_ACTIONS:
            raise LabError(
                f"no fault has an action {self.action!r}", f"Use one of: {', '.join(sorted(FAULT_ACTIONS))}."
            )


@dataclass(frozen=True)
class Fault:
    """One fault: its steps in order. They end with everything running again; `drain` is how long a stop may take."""

    name: str
    steps: tuple[Step, ...] = ()
    drain: float = DRAIN

    def does(self, *actions: str) -> bool:
        """Is any of the actions among the steps?"""
        return any(step.action in actions for step in self.steps)

    @property
    def needs_machines(self) -> bool:
        """Does anything befall the machine that the games are on?"""
        return any(step.action.partition(" ")[2] in MACHINE_MOVES for step in self.steps)


@dataclass(frozen=True)
class Variant:
    """One game and its crowd: the way it delivers, how often the crowd asks again, further options of the game."""

    name: str
    way: str
    retries: int = 0
    options: tuple[str, ...] = ()

    @property
    def log(self) -> type[EventLog]:
        """The class that delivers for its game."""
        return log_class(self.way)


NO_FAULT = Fault("no fault")
BROKER_KILLED = Fault("broker killed, started again after 1 s", (Step(1.0, "kill broker"), Step(2.0, "restart broker")))
BROKER_DOWN = Fault("broker down for 4 s", (Step(1.0, "kill broker"), Step(5.0, "restart broker")))
BROKER_PAUSED = Fault("broker paused for 3 s", (Step(1.0, "pause broker"), Step(4.0, "resume broker")))
GAMES_KILLED = Fault("game killed", (Step(2.0, "kill games"), Step(2.0, "start games")))
GAMES_STOPPED = Fault(
    "game stopped, broker down",
    (Step(1.0, "kill broker"), Step(2.5, "stop games"), Step(2.5, "restart broker"), Step(2.5, "start games")),
    drain=1.0,
)
FAULTS = (NO_FAULT, BROKER_KILLED, BROKER_DOWN, BROKER_PAUSED, GAMES_KILLED, GAMES_STOPPED)

GOOD_CLIENT = Variant("confirmed, asked again", "confirmed", retries=60)
DEFAULT_VARIANTS = tuple(one for way in DELIVERING for one in (Variant(way, way), GOOD_CLIENT) if one.way == way)
FULL_DISK = Variant("outbox, full disk", "outbox", options=("--quota", str(SMALL_DISK)))
VARIANTS = {BROKER_DOWN: (*DEFAULT_VARIANTS, FULL_DISK)}  # of a fault that has others than the default ones

# Faults that run side by side, each lane on a broker of its own; their order is that in which the chapter shows them.
LANES = ((NO_FAULT, BROKER_DOWN, GAMES_KILLED), (BROKER_KILLED, BROKER_PAUSED, GAMES_STOPPED))
