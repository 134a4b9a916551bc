"""What happens in an experiment, as data: who plays against which game, and what breaks when."""

from dataclasses import dataclass
from typing import Literal

Action = Literal[
    "kill broker",
    "restart broker",
    "freeze broker",
    "resume broker",
    "kill games",
    "freeze games",
    "resume games",
    "stop games",
    "start games",
]

PATIENCE = 3.0  # seconds until fire-and-forget gives an event up (kafka-python's default is 120)
WAIT = 1.0  # seconds that confirmed waits for the broker's word
SAFE = ("confirmed", "outbox")  # the ways whose 200 is for good
DRAIN = 30.0  # seconds that a game may take to its end, when nothing is broken any more
SMALL_DISK = 64 << 10  # bytes; the least that an outbox takes


@dataclass(frozen=True)
class Step:
    """Do `action` as soon as `at` seconds have passed since the crowd's first request."""

    at: float
    action: Action


@dataclass(frozen=True)
class Fault:
    """One fault: its steps in order. They end with everything running again; `drain` is how long a stop may take."""

    name: str
    steps: tuple[Step, ...] = ()
    drain: float = DRAIN

    def does(self, *actions: Action) -> bool:
        """Is any of the actions among the steps?"""
        return any(step.action in actions for step in self.steps)


@dataclass(frozen=True)
class Contender:
    """One game and its crowd: the way it delivers, how often the crowd asks again, further options of the game."""

    name: str
    way: str
    retries: int = 0
    options: tuple[str, ...] = ()


NO_FAULT = Fault("no fault")
BROKER_KILLED = Fault("broker killed, started again after 1 s", (Step(1.0, "kill broker"), Step(2.0, "restart broker")))
BROKER_DOWN = Fault("broker down for 4 s", (Step(1.0, "kill broker"), Step(5.0, "restart broker")))
BROKER_FROZEN = Fault("broker frozen for 3 s", (Step(1.0, "freeze broker"), Step(4.0, "resume broker")))
GAMES_KILLED = Fault("game killed", (Step(2.0, "kill games"), Step(2.0, "start games")))
GAMES_STOPPED = Fault(
    "game stopped, broker down",
    (Step(1.0, "kill broker"), Step(2.5, "stop games"), Step(2.5, "restart broker"), Step(2.5, "start games")),
    drain=1.0,
)
FAULTS = (NO_FAULT, BROKER_KILLED, BROKER_DOWN, BROKER_FROZEN, GAMES_KILLED, GAMES_STOPPED)

LINEUP = (
    Contender("fire-and-forget", "fire-and-forget"),
    Contender("buffered", "buffered"),
    Contender("confirmed", "confirmed"),
    Contender("confirmed, asked again", "confirmed", retries=60),
    Contender("outbox", "outbox"),
)
FULL_DISK = Contender("outbox, full disk", "outbox", options=("--quota", str(SMALL_DISK)))
