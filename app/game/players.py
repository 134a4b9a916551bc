"""A seeded crowd of players: its requests to a game, and every answer as a row.

python -m streaming_lab.game.players is a crowd in a process of its own, for `run_crowd(..., apart=True)`: its task, one
line of JSON on stdin, is a `CrowdTask`.
"""

import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import requests as http
from requests.adapters import BaseAdapter
from tqdm import tqdm

from streaming_lab.child import ChildProgram, receive_task, send_report
from streaming_lab.errors import LabError
from streaming_lab.game.moves import Move, seeded_moves
from streaming_lab.waiting import wait_until

if TYPE_CHECKING:
    import pandas as pd

USER_AGENT = "lab-player/1.0"
WATCH_STEP = 0.2  # seconds between two looks at a crowd, whose end is seen sooner
LOOK_PAUSE = 0.02  # seconds between two looks for the end of a crowd in a process of its own
CHECK_PAUSE = 1.0  # seconds between two looks at the broker while the crowd plays
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two attempts; the pause doubles, and dice shorten it

# The frame's columns; texts are missing where there is nothing to say.
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


@dataclass(frozen=True)
class CrowdTask:
    """What a crowd does, as `run_crowd` explains it."""

    url: str
    players: int
    requests: int
    concurrency: int
    seed: int
    run: str
    retries: int
    timeout: float
    rate: float


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
    apart: bool = False,
) -> "pd.DataFrame":
    """The crowd's requests, `concurrency` at a time, each player's in order; one row each, by player and sequence.

    A dead server becomes rows with an `error`. With `retries`, a request without an answer or with a 503 is repeated
    that many times under the same X-Request-Id, after growing pauses. `timeout` (seconds) bounds each attempt. A
    `progress` bar shows after 5 seconds; by default only where a person watches. A `rate` schedules that many requests
    a second; late workers catch up. Once `stopped` is set, no further request starts.
    `check` is called each second meanwhile; an error that it raises, such as that of a dead broker, ends the crowd.
    A crowd `apart` plays in a process of its own: it shares no Python with a game in this one, which answers sooner.
    Columns: `DTYPES`. The same seed gives the same requests; `run` keeps the ids of two runs apart.
    """
    for name, value in {"players": players, "requests": requests + 1, "concurrency": concurrency}.items():
        if value < 1:
            raise LabError(f"{name}={value} is too few", "Ask for at least one.")
    task = CrowdTask(url.rstrip("/"), players, requests, concurrency, seed, run, retries, timeout, rate)
    shown = is_watched() if progress is None else progress
    with _Bar(total=requests, delay=5, disable=not shown) as bar:
        play = _play_apart if apart else _play
        return frame_of_replies(
            play(task, stopped or threading.Event(), check, lambda done: bar.update(len(done) - bar.n))
        )


def _play(
    task: CrowdTask, stopped: threading.Event, check: Callable[[], None], tick: Callable[[Sequence[Any]], object]
) -> list[PlayerReply]:
    """The replies to a crowd in threads of this process; `tick` gets those so far from time to time, and at the end."""
    moves = enumerate(seeded_moves(task.players, task.requests, task.seed, task.run))
    schedule = [(number / task.rate if task.rate else 0.0, move) for number, move in moves]
    schedule.sort(key=lambda scheduled: _worker_of(scheduled[1], task.concurrency))
    by_worker = groupby(schedule, key=lambda scheduled: _worker_of(scheduled[1], task.concurrency))
    shares = [list(group) for _, group in by_worker]
    return _Workers(task, stopped, check).fire(shares, tick)


def _play_apart(
    task: CrowdTask, stopped: threading.Event, check: Callable[[], None], tick: Callable[[Sequence[Any]], object]
) -> list[PlayerReply]:
    """The same in a process of its own, which ends with this one."""

    def ended() -> bool:
        if stopped.is_set():
            crowd.ask_to_end()
        return wait_until(lambda: not crowd.running, WATCH_STEP, step=LOOK_PAUSE)

    with ChildProgram(__name__, asdict(task)) as crowd:
        watch_crowd(ended, stopped, check, lambda: tick(crowd.reports))
        if code := crowd.wait():
            raise LabError(
                f"the crowd's process ended with exit code {code}", "Run it again; its last words are above."
            )
        tick(crowd.reports)
        return [
            PlayerReply(**{**one.values, "sent_at": datetime.fromtimestamp(one.values["sent_at"], UTC)})
            for one in crowd.reports
        ]


def frame_of_replies(replies: Iterable[PlayerReply]) -> "pd.DataFrame":
    """One row each, by player and sequence, with the columns `DTYPES`."""
    import pandas as pd  # here, for the crowd's own process makes no frame

    rows = sorted(replies, key=lambda reply: (reply.player, reply.sequence))
    return pd.DataFrame(map(attrgetter(*DTYPES), rows), columns=list(DTYPES)).astype(DTYPES)


def watch_workers(
    workers: "Sequence[Future[Any]]",
    stopped: threading.Event,
    check: Callable[[], None],
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Wait for a crowd's workers, as `watch_crowd` does."""
    watch_crowd(lambda: not wait(workers, timeout=WATCH_STEP).not_done, stopped, check, tick)


def watch_crowd(
    ended: Callable[[], bool], stopped: threading.Event, check: Callable[[], None], tick: Callable[[], object]
) -> None:
    """Wait until a crowd has `ended`, which waits `WATCH_STEP` for it; `tick` each time, and `check` each second.

    After an error (or Ctrl-C) `stopped` is set.
    """
    checked = time.monotonic()
    try:
        while not ended():
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

    def __init__(self, task: CrowdTask, stopped: threading.Event, check: Callable[[], None]) -> None:
        self._url, self._retries, self._timeout = task.url, task.retries, task.timeout
        self._stopped, self._check = stopped, check
        self._began = time.perf_counter()
        self.replies: list[PlayerReply] = []  # append is atomic

    def fire(
        self, shares: Sequence[Sequence[ScheduledMove]], tick: Callable[[Sequence[Any]], object]
    ) -> list[PlayerReply]:
        """Play all shares side by side; `tick` gets the replies so far."""
        if not shares:
            return []
        with ThreadPoolExecutor(len(shares), "player") as pool:
            futures = [pool.submit(self._work, share) for share in shares]
            watch_workers(futures, self._stopped, self._check, lambda: tick(self.replies))
        tick(self.replies)
        for future in futures:
            future.result()
        return self.replies

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
                self.replies.append(self._ask(adapter, request, move))

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


def main() -> None:
    """Play in this process for whoever started it, and report each reply."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the starter's, who then closes stdin
    stopped, sent = threading.Event(), 0

    def report(replies: Sequence[PlayerReply]) -> None:
        nonlocal sent
        for reply in replies[sent:]:
            send_report(
                "reply", {name: getattr(reply, name) for name in DTYPES} | {"sent_at": reply.sent_at.timestamp()}
            )
            sent += 1

    _play(CrowdTask(**receive_task(stopped.set)), stopped, lambda: None, report)


if __name__ == "__main__":
    main()
