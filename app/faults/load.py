"""The crowds of an experiment: one for each game, all at once, in threads of this process."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Self

import pandas as pd

from streaming_lab.errors import LabError
from streaming_lab.faults.plan import Variant
from streaming_lab.game.players import run_crowd

CROWD_TIMEOUT = 15.0  # seconds that a client waits for one answer; longer than any game takes


@dataclass(frozen=True)
class Load:
    """What each crowd does: requests in all, how many a second, by how many players, and the seed of their moves."""

    requests: int = 320
    rate: float = 50.0
    players: int = 20
    seed: int = 2019
    concurrency: int = 4


class Crowds:
    """`begin` lets them play; `result` waits for their answers. Left early, nobody starts another request."""

    def __init__(self, load: Load, run: str) -> None:
        self._load, self._run = load, run
        self._stopped = threading.Event()
        self._pool: ThreadPoolExecutor | None = None
        self._playing: list[Future[pd.DataFrame]] = []

    def begin(self, variants: Sequence[Variant], urls: Sequence[str]) -> None:
        """Start a crowd for each variant's game."""
        self.start([partial(self._play, variant, url) for variant, url in zip(variants, urls, strict=True)])

    def start(self, crowds: Sequence[Callable[[threading.Event], pd.DataFrame]]) -> None:
        """Start crowds; each gets the event after which nobody starts another request."""
        self._pool = ThreadPoolExecutor(len(crowds), "crowd")
        self._playing = [self._pool.submit(crowd, self._stopped) for crowd in crowds]

    def pause(self, seconds: float) -> None:
        """Let them play on; raises what a crowd raised."""
        self._stopped.wait(max(0.0, seconds))
        for crowd in self._playing:
            if crowd.done():
                crowd.result()

    def result(self, timeout: float) -> list[pd.DataFrame]:
        """Every crowd's frame, as `play` gives it; raises when one still plays after `timeout` seconds."""
        late = wait(self._playing, timeout=timeout).not_done
        if late:
            raise LabError(f"{len(late)} crowd(s) still play after {timeout:g} s", "Ask for fewer requests.")
        return [crowd.result() for crowd in self._playing]

    def _play(self, variant: Variant, url: str, stopped: threading.Event) -> pd.DataFrame:
        load = self._load
        return run_crowd(
            url,
            players=load.players,
            requests=load.requests,
            concurrency=load.concurrency,
            seed=load.seed,
            run=f"{self._run}/{variant.name}",
            retries=variant.retries,
            timeout=CROWD_TIMEOUT,
            progress=False,
            rate=load.rate,
            stopped=stopped,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stopped.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True)
