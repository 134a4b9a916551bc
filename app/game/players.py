"""A seeded crowd of players: its requests to a game, and every answer as a row."""

import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeAlias

import pandas as pd
import requests as http
from requests.adapters import BaseAdapter
from tqdm import tqdm

from streaming_lab.errors import LabError
from streaming_lab.game.events import ACTIONS, EVENT_TYPES

GUILDS = ("foxes", "owls", "wolves")

_NAMESPACE = uuid.UUID("5c0a6f7e-2019-5205-8000-77323035a9f1")  # fixed once, so that ids repeat


@dataclass(frozen=True, slots=True)
class Move:
    """One request of one player; `sequence` counts the player's own requests from 0."""

    request_id: str
    player: str
    sequence: int
    action: str
    guild: str | None = None

    @property
    def target(self) -> str:
        """Path and query of the request."""
        return f"{ACTIONS[self.action].path}?player={self.player}" + (f"&guild={self.guild}" if self.guild else "")


def seeded_moves(players: int, requests: int, seed: int, run: str) -> Iterator[Move]:
    """The crowd's requests in order. Some players are busier: the k-th as often as 1/sqrt(k).

    A request id is a name-based UUID (RFC 9562, version 5) of seed, run, player and sequence.
    """
    dice = random.Random(f"{seed}/{players}")  # noqa: S311  # a game's dice, not a secret
    kinds = tuple(EVENT_TYPES.values())
    weights = [kind.weight for kind in kinds]
    for player, sequence in seeded_turns(dice, players, requests):
        kind = dice.choices(kinds, weights)[0]
        guild = dice.choice(GUILDS) if "guild" in kind.fields else None
        request_id = str(uuid.uuid5(_NAMESPACE, f"{seed}/{run}/{player}/{sequence}"))
        yield Move(request_id, player, sequence, kind.action, guild)


def seeded_turns(dice: random.Random, players: int, requests: int) -> Iterator[tuple[str, int]]:
    """The player of each request, and its number among the player's own; all players are drawn before the first."""
    width = max(2, len(str(players)))
    names = [f"player-{number:0{width}}" for number in range(1, players + 1)]
    often = [1 / number**0.5 for number in range(1, players + 1)]
    sequences = dict.fromkeys(names, 0)
    for player in dice.choices(names, often, k=requests):
        yield player, sequences[player]
        sequences[player] += 1


USER_AGENT = "lab-player/1.0"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two attempts; the pause doubles, and dice shorten it

# The frame's columns; texts are missing where there is nothing to say.
CHECK_PAUSE = 1.0  # seconds between two looks at the broker while the crowd plays
DTYPES = {
    "request_id": "str",
    "player": "str",
    "sequence": "int64",
    "action": "str",
    "sent_at": "datetime64[ms, UTC]",
    "status": "Int64",
    "latency_ms": "float64",
    "answer": "str",
    "error": "str",
    "attempts": "int64",
}


ScheduledMove: TypeAlias = tuple[float, Move]  # the earliest moment of the move, in seconds after the start


@dataclass(frozen=True, slots=True)
class PlayerReply:
    """The reply to one request: `status` and `answer`, or the `error`; latency is from first send to last answer."""

    request_id: str
    player: str
    sequence: int
    action: str
    sent_at: datetime
    status: int | None
    latency_ms: float
    answer: str | None
    error: str | None
    attempts: int


def run_crowd(
    url: str,
    *,
    players: int = 50,
    requests: int = 2000,
    concurrency: int = 4,
    seed: int = 2019,
    run: str = "",
    retries: int = 0,
    timeout: float = 5.0,
    progress: bool | None = None,
    rate: float = 0.0,
    stopped: threading.Event | None = None,
    check: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """The crowd's requests, `concurrency` at a time, each player's in order; one row each, by player and sequence.

    A dead server becomes rows with an `error`. With `retries`, a request without an answer or with a 503 is repeated
    that many times under the same X-Request-Id, after growing pauses. `timeout` (seconds) bounds each attempt. A
    `progress` bar shows after 5 seconds; by default only where a person watches. A `rate` schedules that many requests
    a second; late workers catch up. Once `stopped` is set, no further request starts.
    `check` is called each second meanwhile; an error that it raises, such as that of a dead broker, ends the crowd.
    Columns: `DTYPES`. The same seed gives the same requests; `run` keeps the ids of two runs apart.
    """
    for name, value in {"players": players, "requests": requests + 1, "concurrency": concurrency}.items():
        if value < 1:
            raise LabError(f"{name}={value} is too few", "Ask for at least one.")
    moves = enumerate(seeded_moves(players, requests, seed, run))
    schedule = [(number / rate if rate else 0.0, move) for number, move in moves]
    schedule.sort(key=lambda scheduled: _worker_of(scheduled[1], concurrency))
    by_worker = groupby(schedule, key=lambda scheduled: _worker_of(scheduled[1], concurrency))
    workers = _Workers(url.rstrip("/"), retries, timeout, stopped or threading.Event(), check)
    replies = workers.fire(
        [list(group) for _, group in by_worker], requests, is_watched() if progress is None else progress
    )
    return frame_of_replies(replies)


def frame_of_replies(replies: Iterable[PlayerReply]) -> pd.DataFrame:
    """One row each, by player and sequence, with the columns `DTYPES`."""
    rows = sorted(replies, key=lambda reply: (reply.player, reply.sequence))
    return pd.DataFrame(map(attrgetter(*DTYPES), rows), columns=list(DTYPES)).astype(DTYPES)


def watch_workers(
    workers: "Sequence[Future[Any]]",
    stopped: threading.Event,
    check: Callable[[], None],
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Wait for a crowd's workers, with `check` each second; after an error (or Ctrl-C) `stopped` is set."""
    checked = time.monotonic()
    try:
        while wait(workers, timeout=0.2).not_done:
            tick()
            if time.monotonic() - checked > CHECK_PAUSE:
                check()
                checked = time.monotonic()
    except BaseException:
        stopped.set()
        raise


def _worker_of(move: Move, concurrency: int) -> int:
    # all requests of a player go to one worker, so that they stay in order
    return int(move.player.rpartition("-")[2]) % concurrency


class _Workers:
    """The threads of the crowd, each with an HTTP session and the requests of its players."""

    def __init__(
        self, url: str, retries: int, timeout: float, stopped: threading.Event, check: Callable[[], None]
    ) -> None:
        self._url = url
        self._retries = retries
        self._timeout = timeout
        self._stopped = stopped
        self._check = check
        self._began = time.perf_counter()
        self._replies: list[PlayerReply] = []  # append is atomic

    def fire(self, shares: Sequence[Sequence[ScheduledMove]], total: int, progress: bool) -> list[PlayerReply]:
        if not shares:
            return []
        with ThreadPoolExecutor(len(shares), "player") as pool, _Bar(total=total, delay=5, disable=not progress) as bar:
            futures = [pool.submit(self._work, share) for share in shares]
            watch_workers(futures, self._stopped, self._check, lambda: bar.update(len(self._replies) - bar.n))
            bar.update(len(self._replies) - bar.n)
        for future in futures:
            future.result()
        return self._replies

    def _work(self, schedule: Sequence[ScheduledMove]) -> None:
        with http.Session() as session:
            session.trust_env = False  # loopback needs no proxy, and looking for one costs a third of the time
            # prepared once: only the target and the id change, and both need no quoting
            request = http.Request("GET", self._url, {"User-Agent": USER_AGENT}).prepare()
            adapter = session.get_adapter(self._url)  # as `session.send`, without redirects and a store of cookies
            for due, move in schedule:
                if self._stopped.wait(max(0.0, self._began + due - time.perf_counter()) if due else 0.0):
                    return
                request.url = self._url + move.target
                request.headers["X-Request-Id"] = move.request_id
                self._replies.append(self._ask(adapter, request, move))

    def _ask(self, adapter: BaseAdapter, request: http.PreparedRequest, move: Move) -> PlayerReply:
        sent_at, started = datetime.now(UTC), time.perf_counter()
        for attempt in range(1, self._retries + 2):
            status, answer, error = self._try(adapter, request)
            if (status is not None and status != 503) or attempt > self._retries:
                break
            if self._stopped.wait(_pause(move, attempt)):
                break
        latency = (time.perf_counter() - started) * 1000
        return PlayerReply(
            move.request_id, move.player, move.sequence, move.action, sent_at, status, latency, answer, error, attempt
        )

    def _try(self, adapter: BaseAdapter, request: http.PreparedRequest) -> tuple[int | None, str | None, str | None]:
        try:
            answered = adapter.send(request, timeout=self._timeout)
            return answered.status_code, answered.content.decode("utf-8", "replace"), None
        except http.RequestException as error:
            return None, None, f"{type(error).__name__}: {_root(error)}"[:200]


def _root(error: BaseException) -> BaseException:
    """The first cause of an error: requests wraps urllib3, which wraps the operating system."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _pause(move: Move, attempt: int) -> float:
    # seeded, so that the crowd repeats; jittered, so that its retries do not all come at once
    dice = random.Random(f"{move.request_id}/{attempt}")  # noqa: S311  # no secret
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (attempt - 1)) * dice.uniform(0.5, 1)


def is_watched() -> bool:
    """Whether a person sees this process's output as it comes: on a terminal, or in JupyterLab.

    nbclient and papermill, which run a notebook for a report, send their cells without "stdin allowed".
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return sys.stderr.isatty() or bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))


class _Bar(tqdm):  # type: ignore[type-arg]
    """tqdm's bar without tqdm's monitor thread, which would outlive the run."""

    monitor_interval = 0
