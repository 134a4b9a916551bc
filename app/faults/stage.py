"""Where an experiment happens: the broker and the games that faults befall, and what happened when."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Self

from app.analysis.deliveries import Mark
from app.cluster import Cluster
from app.faults.plan import DRAIN, Action
from app.faults.process import GameProcess


class Stage:
    """One broker and some games; `perform` does to them what a fault's steps say.

    However it is left, no game runs afterwards, and the broker does.
    """

    def __init__(self, kafka: Cluster, games: Sequence[GameProcess], drain: float) -> None:
        self.kafka, self.games = kafka, games
        self.marks: list[Mark] = []
        self._drain = drain
        self._began = time.monotonic()
        self._broker = "up"  # or "down", or "frozen"
        self._actions: Mapping[Action, Callable[[], None]] = {
            "kill broker": self._kill_broker,
            "restart broker": self._restart_broker,
            "freeze broker": self._freeze_broker,
            "resume broker": self._resume_broker,
            "kill games": lambda: self._each(GameProcess.kill),
            "freeze games": lambda: self._each(GameProcess.freeze),
            "resume games": lambda: self._each(GameProcess.resume),
            "stop games": self._stop_games,
            "start games": self._start_games,
        }

    def begin(self) -> None:
        """Now the crowd begins: times count from here, and games that start later take their time to end."""
        self._began, self._drain = time.monotonic(), DRAIN

    def perform(self, action: Action) -> None:
        """Do it, and wait until it is done."""
        begin = time.monotonic() - self._began
        self._actions[action]()
        self.marks.append(Mark(action, begin, time.monotonic() - self._began))

    def until(self, at: float) -> float:
        """Seconds from now to `at` seconds after `begin`."""
        return self._began + at - time.monotonic()

    def recover(self) -> None:
        """Bring back what is not running."""
        self._resume_broker()
        self._restart_broker()
        self._each(GameProcess.resume)
        self._start_games()

    def _start_games(self) -> None:
        for game in self.games:
            if not game.running:
                game.launch(self._drain)
        if self._broker == "up":  # else none gets ready; `recover` waits for them
            for game in self.games:
                game.await_ready()

    def _stop_games(self) -> None:
        running = [game for game in self.games if game.running]
        for game in running:
            game.begin_stop()
        for game in running:
            game.await_end()

    def _each(self, act: Callable[[GameProcess], None]) -> None:
        for game in self.games:
            if game.running:
                act(game)

    def _kill_broker(self) -> None:
        self.kafka.kill()
        self._broker = "down"

    def _restart_broker(self) -> None:
        if self._broker == "down":
            self.kafka.restart()
            self._broker = "up"

    def _freeze_broker(self) -> None:
        if self._broker == "up":
            self.kafka.pause()
            self._broker = "frozen"

    def _resume_broker(self) -> None:
        if self._broker == "frozen":
            self.kafka.resume()
            self._broker = "up"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        with ExitStack() as left:  # each is done, whatever the others raise
            left.callback(self._restart_broker)
            left.callback(self._resume_broker)
            for game in self.games:
                left.callback(game.kill)
