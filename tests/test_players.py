"""The crowd: the same seed plays the same, every request becomes a row, and a good client asks again."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
from fakes import FakeLog
from flask import Flask, request
from waiting import within

from streaming_lab.errors import LabError
from streaming_lab.game.events import Event
from streaming_lab.game.moves import seeded_moves
from streaming_lab.game.players import DTYPES, is_watched, run_crowd
from streaming_lab.game.server import GameServer
from streaming_lab.game.web import create_app


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def game(log: FakeLog) -> Iterator[GameServer]:
    with GameServer(create_app(log)) as server:
        yield server


@pytest.fixture(params=[False, True], ids=["here", "apart"])
def apart(request: pytest.FixtureRequest) -> bool:
    """A crowd in threads of this process, and one in a process of its own."""
    return bool(request.param)


def crowds() -> list[psutil.Process]:
    """The crowds in processes of their own that this process has started, and that are there."""
    found = []
    for one in psutil.Process().children():
        with suppress(psutil.Error):  # another test's, which ends just now
            if "streaming_lab.game.players" in one.cmdline():
                found.append(one)
    return found


def test_every_request_becomes_a_row(game: GameServer, log: FakeLog, apart: bool) -> None:
    """Columns and types as promised; ids distinct; each accepted request is one event under its id."""
    frame = run_crowd(game.url, players=7, requests=200, concurrency=3, progress=False, apart=apart)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert (len(frame), frame["request_id"].nunique(), frame["error"].isna().all()) == (200, 200, True)
    accepted = frame.loc[frame["status"] == 200, "request_id"]
    assert sorted(accepted) == sorted(Event.from_bytes(value).event_id for value in log.values)


def test_each_players_requests_arrive_in_order(game: GameServer, log: FakeLog) -> None:
    """The log holds each player's events in the order of the player's own sequence."""
    frame = run_crowd(game.url, players=7, requests=200, concurrency=3, progress=False)
    sequence = frame.set_index("request_id")["sequence"]
    arrived: dict[str, list[int]] = {}
    for event in map(Event.from_bytes, log.values):
        arrived.setdefault(event.player, []).append(int(sequence[event.event_id]))
    assert arrived == {player: sorted(numbers) for player, numbers in arrived.items()}


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_seed_decides_everything_but_the_times(concurrency: int) -> None:
    """Two runs with the same seed: equal ids, actions, statuses and answers, on any threads, in any process."""
    same = ["request_id", "player", "sequence", "action", "status", "answer"]
    frames = []
    for threads, apart in ((concurrency, False), (3, True)):
        with GameServer(create_app(FakeLog())) as server:
            load = {"players": 9, "requests": 150, "concurrency": threads}
            frames.append(run_crowd(server.url, **load, progress=False, apart=apart)[same])
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.parametrize(("seed", "run"), [(2020, ""), (2019, "second")])
def test_another_seed_or_run_has_other_ids(seed: int, run: str) -> None:
    """No id in common; another run of the same seed asks the same things."""
    first, second = list(seeded_moves(5, 100, 2019, "")), list(seeded_moves(5, 100, seed, run))
    assert {move.request_id for move in first} & {move.request_id for move in second} == set()
    assert ([move.target for move in first] == [move.target for move in second]) == (seed == 2019)


def test_the_crowd_of_a_seed_stays_as_it_is() -> None:
    """A report of last year can be played again: neither a new event type nor another order may change the moves."""
    assert [move.target.replace("?player=player-", " ") for move in seeded_moves(50, 8, 2019, "")] == [
        "/purchase_a_sword 36", "/purchase_a_sword 42", "/sell_a_sword 01", "/purchase_a_sword 04",
        "/purchase_a_sword 19", "/purchase_a_sword 03", "/sell_a_sword 27", "/ 20",
    ]  # fmt: skip


def test_a_dead_server_becomes_rows(apart: bool) -> None:
    """No exception: no status, and an error that names the cause."""
    server = GameServer(create_app(FakeLog()))
    server.stop()
    frame = run_crowd(server.url, players=2, requests=4, retries=1, progress=False, apart=apart)
    assert list(frame["attempts"]) == [2, 2, 2, 2]
    assert frame["status"].isna().all()
    assert frame["error"].str.contains("ConnectionError: .*refused").all()


def test_a_server_that_does_not_answer_becomes_rows() -> None:
    """Each attempt is bounded by `timeout`."""
    app, over = Flask("mute"), threading.Event()
    app.add_url_rule("/<path:path>", view_func=lambda path: str(over.wait(10)))
    app.add_url_rule("/", "root", view_func=lambda: str(over.wait(10)))
    with GameServer(app) as server:
        frame = run_crowd(server.url, players=1, requests=2, timeout=0.1, progress=False)
        over.set()
    assert frame["error"].str.startswith("ReadTimeout").all()


def test_a_good_client_asks_again_under_the_same_id() -> None:
    """503 twice, then an answer: three attempts, one id, one row; a 409 is an answer and is not asked again."""
    app = Flask("moody")
    seen: Counter[str] = Counter()

    @app.route("/", defaults={"path": ""})
    @app.route("/<path:path>")
    def moody(path: str) -> tuple[str, int]:
        seen[request.headers["X-Request-Id"]] += 1
        if path == "sell_a_sword":
            return "no", 409
        return ("ok", 200) if seen[request.headers["X-Request-Id"]] == 3 else ("later", 503)

    with GameServer(app) as server:
        frame = run_crowd(server.url, players=4, requests=12, concurrency=4, retries=5, progress=False)
    rows = frame[["action", "status", "attempts"]].drop_duplicates().sort_values("status")
    assert set(rows[rows["status"] == 200]["attempts"]) == {3}
    assert set(rows[rows["action"] == "sell_a_sword"]["attempts"]) <= {1}
    assert dict(seen) == dict(zip(frame["request_id"], frame["attempts"], strict=True))


@pytest.mark.parametrize("settings", [{"players": 0}, {"requests": -1}, {"concurrency": 0}])
def test_too_few_of_anything_is_refused(settings: dict[str, int]) -> None:
    """The error names the setting and its value."""
    with pytest.raises(LabError, match=r"=(0|-1|0) is too few"):
        run_crowd("http://127.0.0.1:1", **settings)  # type: ignore[arg-type]


def test_no_requests_are_an_empty_frame() -> None:
    """Same columns, same types."""
    frame = run_crowd("http://127.0.0.1:1", requests=0)
    assert (len(frame), {name: str(dtype) for name, dtype in frame.dtypes.items()}) == (0, DTYPES)


def test_a_rate_is_not_exceeded(game: GameServer) -> None:
    """No request is sent before its turn: 40 at 100 a second take at least 0.39 s."""
    sent = run_crowd(game.url, players=7, requests=40, concurrency=4, rate=100.0, progress=False)["sent_at"]
    assert (sent.max() - sent.min()).total_seconds() >= 0.35


def test_a_crowd_can_be_stopped(game: GameServer) -> None:
    """Once `stopped` is set, nobody starts another request: those who had not begun have no row."""
    stopped = threading.Event()
    stopped.set()
    assert len(run_crowd(game.url, players=7, requests=40, stopped=stopped, progress=False)) == 0


def test_a_crowd_is_stopped_while_it_plays(game: GameServer, apart: bool) -> None:
    """In mid-run, wherever it plays: what was answered by then has a row, and nobody waits for the rest."""
    stopped = threading.Event()
    load = {"players": 7, "requests": 1000, "rate": 20.0}  # 50 s
    with within(20):
        asked = run_crowd(game.url, **load, stopped=stopped, progress=False, check=stopped.set, apart=apart)
    assert 0 < len(asked) < 500
    assert asked["error"].isna().all()
    assert crowds() == []


def test_a_crowds_process_that_dies_is_an_error(game: GameServer) -> None:
    """And no frame with fewer rows."""

    def kill() -> None:
        (crowd,) = crowds()
        crowd.kill()

    with within(20), pytest.raises(LabError, match="the crowd's process ended with exit code -9"):
        run_crowd(game.url, requests=1000, rate=20.0, progress=False, check=kill, apart=True)


@pytest.mark.parametrize(
    ("terminal", "stdin_allowed", "watched"),
    [(True, None, True), (False, None, False), (False, True, True), (False, False, False)],
)
def test_progress_is_shown_where_a_person_watches(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, stdin_allowed: bool | None, watched: bool
) -> None:
    """On a terminal and in JupyterLab; not in a report, whose cells are sent without "stdin allowed"."""
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: terminal))
    kernel = SimpleNamespace(_allow_stdin=stdin_allowed)
    shell = None if stdin_allowed is None else SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_watched() is watched


def test_a_broker_that_dies_while_the_crowd_plays_ends_it_with_its_reason(apart: bool) -> None:
    """The check is made each second; its error is the crowd's, long before the last request would have timed out."""

    def check() -> None:
        raise LabError("Kafka's broker 1 died: the disk of /lab was full (0.0 MB are free now).", "Free some space.")

    with (
        GameServer(create_app(FakeLog())) as game,
        within(20),
        pytest.raises(LabError, match=r"the disk of /lab was full"),
    ):
        run_crowd(game.url, players=2, requests=400, concurrency=2, rate=10.0, progress=False, check=check, apart=apart)
    assert crowds() == []
