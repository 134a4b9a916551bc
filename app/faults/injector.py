"""The fault injector: it does to the broker and the games what a fault's steps say, and notes when."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Self

from streaming_lab.analysis.deliveries import Mark
from streaming_lab.cluster import Cluster
from streaming_lab.faults.game_process import ServedProcess
from streaming_lab.faults.machine import CLOCK_STEP
from streaming_lab.faults.plan import BROKER_MOVES, DRAIN, MACHINE_MOVES


class FaultInjector:
    """One broker and some games; `apply_action` does to them what a fault's steps say.

    However it is left, no game runs afterwards, and the broker does.
    """

    def __init__(
        self,
        kafka: Cluster,
        games: Sequence[ServedProcess],
        drain: float,
        seed: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.kafka, self.games = kafka, games
        self._say = say  # what it does just now
        self.fault_events: list[Mark] = []
        self._drain = drain
        self._began = time.monotonic()
        self._broker = "up"  # its state in plan's table
        self._disk_full = False
        self._dice = random.Random(seed)  # noqa: S311  # no secret; which sectors survive a power cut

    def begin(self) -> None:
        """Mark the crowd's first request: times count from here, and games that start later take their time to end."""
        self._began, self._drain = time.monotonic(), DRAIN

    def apply_action(self, action: str) -> None:
        """Do the action and wait until it is done; what the broker's state does not allow is passed over."""
        self._say(action)
        begin = time.monotonic() - self._began
        verb, _, target = action.partition(" ")
        if target == "broker":
            self._to_broker(verb)
        elif target in MACHINE_MOVES:
            self._to_machines(action)
        else:
            self._to_games(verb)
        self.fault_events.append(Mark(action, begin, time.monotonic() - self._began))
        self._say("the crowds play")

    def until(self, at: float) -> float:
        """Seconds from now to `at` seconds after `begin`."""
        return self._began + at - time.monotonic()

    def heal(self) -> None:
        """Bring back what is not running."""
        self._bring_broker_back()
        self._to_machines("empty disk")
        self._to_games("resume")
        self._to_games("start")

    def _to_broker(self, verb: str) -> None:
        for known, after in BROKER_MOVES[self._broker].items():
            if known == verb:
                self.kafka.command(known)
                self._broker = after
                return

    def _bring_broker_back(self) -> None:
        for verb, after in BROKER_MOVES[self._broker].items():
            if after == "up":
                self._to_broker(verb)

    def _to_games(self, verb: str) -> None:
        if verb == "start":
            self._start_games()
        elif verb == "stop":
            self._stop_games()
        else:
            for game in self.games:
                if game.running:
                    getattr(game, verb)()

    def _to_machines(self, action: str) -> None:
        if action == "cut power":
            self._cut_power()
            return
        for machine in (game.machine for game in self.games if game.machine is not None):
            if action.endswith(" disk"):
                self._disk_full = action == "fill disk"
                machine.fill_disk(self._disk_full)
            else:
                machine.set_clock(machine.offset + (CLOCK_STEP if action == "advance clock" else -CLOCK_STEP))

    def _cut_power(self) -> None:
        ran = [game for game in self.games if game.running]
        for game in self.games:
            game.kill()
            if game.machine is not None:
                game.machine.lose_power(self._dice)
        if ran:
            self._start(ran)

    def _start_games(self) -> None:
        self._start([game for game in self.games if not game.running])

    def _start(self, games: Sequence[ServedProcess]) -> None:
        for game in games:
            game.launch(self._drain)
        if self._broker == "up" and not self._disk_full:  # else some don't get ready; `heal` waits for them
            for game in self.games:
                game.await_ready()

    def _stop_games(self) -> None:
        running = [game for game in self.games if game.running]
        for game in running:
            game.begin_stop()
        for game in running:
            game.await_end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        with ExitStack() as left:  # each is done, whatever the others raise
            left.callback(self._bring_broker_back)
            for game in self.games:
                left.callback(game.kill)
