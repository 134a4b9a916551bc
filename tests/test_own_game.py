"""Games in the shapes of strangers' run unmodified, and each request of theirs is accounted for, or said not to be."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from streaming_lab.analysis import tables
from streaming_lab.client.connection import Connection
from streaming_lab.cluster import attach
from streaming_lab.own_game import game_tables, masks
from streaming_lab.own_game.choices import choose_game
from streaming_lab.own_game.hosted import probe_game
from streaming_lab.own_game.session import GameRun, run_game

pytestmark = pytest.mark.slow

GAMES = Path(__file__).parent / "games"
LOAD: dict[str, Any] = {"players": 5, "requests": 40, "seed": 7, "run": "test"}


@pytest.fixture(scope="module")
def runs(kafka: Connection) -> dict[str, GameRun]:
    """Each game, played by forty requests."""
    found = {}
    with attach("embedded") as cluster:
        for name in (
            "course_game.py",
            "text_game.py",
            "json_game.py",
            "thread_game.py",
            "shop/app",
            "world_game.py",
            "mixed_game.py",
        ):
            game = probe_game(str(GAMES / name))
            headers = {"Authorization": "Basic aHVudGVyMg=="}
            routes = [one if name != "shop/app" else with_headers(one, headers) for one in game.routes]
            found[name] = run_game(game, cluster, routes, **LOAD)
    return found


def with_headers(route: Any, headers: dict[str, str]) -> Any:
    from dataclasses import replace

    return replace(route, headers=headers, fixed={"password": "hunter2"})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("course_game.py", "request id"),
        ("text_game.py", "producer"),
        ("json_game.py", "producer"),
        ("thread_game.py", "counts"),
        ("shop/app", "producer"),
        ("world_game.py", "request id"),
    ],
)
def test_a_calm_run_closes_by_the_surest_join(runs: dict[str, GameRun], name: str, kind: str) -> None:
    """Every record is a row, every promised event is there, and the account says how it knows."""
    run = runs[name]
    account, ledger = run.account, run.account.ledger
    assert account.kind == kind
    assert ledger.problems() == []
    assert ledger.requests == 40
    assert ledger.rows == len(run.records.events) == len(run.story.sends)
    assert ledger.accepted == ledger.promised + ledger.without_event - ledger.further
    assert len(run.records.rejects) == 0
    assert {"2xx", "rows", "first error"} <= set(account.routes.columns)
    assert int(account.routes["requests"].sum()) == 40


def test_what_each_route_did_is_told(runs: dict[str, GameRun]) -> None:
    """A route without events, one that fails, one that redirects, and one that makes two events."""
    text = runs["text_game.py"].account.routes.set_index("route")
    assert text.loc["GET /rules", ["rows", "rows a request", "2xx"]].tolist()[:2] == [0, "0"]
    assert text.loc["GET /broken", "first error"] == "KeyError: 'sword'"
    assert text.loc["GET /broken", "5xx"] == text.loc["GET /broken", "requests"]
    assert text.loc["GET /old", "2xx"] == text.loc["GET /old", "rows"] == text.loc["GET /old", "requests"]
    two = runs["json_game.py"].account.routes.set_index("route")
    assert two.loc["POST /guilds/<name>", "rows"] == 2 * two.loc["POST /guilds/<name>", "2xx"]
    assert runs["thread_game.py"].account.routes["rows a request"].tolist() == ["1", "2"]


def test_sends_at_import_in_streams_and_in_pools_are_told_apart(runs: dict[str, GameRun]) -> None:
    """A stream's sends are its request's; what is sent outside any request is there, said, and nobody's gap."""
    run = runs["mixed_game.py"]
    routes = run.account.routes.set_index("route")["rows a request"].to_dict()
    assert routes == {
        "GET /api/guilds/": "0",
        "GET /api/later": "0",
        "GET /api/stream": "2",
        "GET /api/swords/<any(iron,gold):metal>-<int:number>": "1",
        "POST /api/guilds/": "1",
    }
    assert set(run.asked["status"]) == {200, 302}
    assert (run.account.kind, run.account.ledger.problems()) == ("producer", [])
    outside = int((run.asked["action"] == "GET /api/later").sum()) + 1
    assert f"{outside} records were sent outside any request" in run.account.said
    assert len(run.records.events) == len(run.story.sends)
    assert run.records.events["timestamp"].notna().all()
    assert run.records.events.loc[run.records.events["value"].isna(), "key"].dropna().unique().tolist() == ["\\xff\x00"]


def test_text_lists_and_nested_fields_are_rows(runs: dict[str, GameRun]) -> None:
    """Text and JSON that is no object stand in `value`; objects become dotted columns; several topics are one frame."""
    assert set(runs["text_game.py"].records.events["value"]) == {"default", "old"}
    events = runs["json_game.py"].account.events
    assert set(events["topic"]) == {"users", "guilds", "records"}
    assert events["user.name"].dropna().str.startswith("player-").all()
    assert events["value"].dropna().iloc[0].startswith('["joined"')


def test_secrets_are_masked_wherever_they_come(runs: dict[str, GameRun]) -> None:
    """Neither frames nor answers nor prints nor tables hold the password or the header."""
    run = runs["shop/app"]
    kept = [
        run.records.events.to_json(date_format="iso"),
        run.asked.to_json(date_format="iso"),
        run.account.events.to_json(date_format="iso"),
        *run.printed,
        repr(run.story),
    ]
    kept += [repr(tables.first_rows(run.account.events)), repr(game_tables.printed_table(run.printed))]
    assert [text for text in kept if "hunter2" in text or "aHVudGVyMg" in text] == []
    assert masks.MASKED_VALUE in set(run.records.events["headers.Authorization"])
    assert any("login" in line for line in run.printed)


def test_the_line_that_sends_is_named(runs: dict[str, GameRun]) -> None:
    """With the topic, the number of sends, and whether anybody waits for the result."""
    lines = game_tables.send_lines(runs["json_game.py"].story).set_index("topic")
    assert lines["awaited"].to_dict() == {
        "users": "result",
        "guilds": "flush",
        "records": "flush",
    }
    source = (GAMES / "json_game.py").read_text().splitlines()
    [line] = [number for number, text in enumerate(source, 1) if 'send("users"' in text]
    assert lines.loc["users", "line"] == f"json_game.py:{line}"
    [waits] = game_tables.send_lines(runs["course_game.py"].story)["awaited"]
    assert waits == ""


def test_a_lost_row_opens_the_ledger(runs: dict[str, GameRun]) -> None:
    """The same run with a row taken out: it is named, by id where ids are known, and closed is false in every kind."""
    from dataclasses import replace

    from streaming_lab.own_game.account import settle_account

    for name, run in runs.items():
        fewer = replace(run.records, events=run.records.events.iloc[1:])
        learnt = {"GET /buy": 1, "GET /twice": 2}
        account = settle_account(run.asked, fewer, run.story, learnt)
        assert not account.ledger.closed, name
        assert account.ledger.lost >= 1, name


def test_counts_that_are_not_known_never_close(runs: dict[str, GameRun]) -> None:
    """A route whose rows a request vary keeps the ledger open, and is named."""
    from streaming_lab.own_game.account import settle_account

    run = runs["thread_game.py"]
    account = settle_account(run.asked, run.records, run.story, {"GET /buy": 1, "GET /twice": None})
    assert not account.ledger.closed
    assert "GET /twice" in " ".join(account.ledger.problems())


def test_a_game_with_an_evolve_is_replayed(runs: dict[str, GameRun]) -> None:
    """Its topics folded with its own function are its world; a game without one has no replay."""
    replay = runs["world_game.py"].replay
    assert replay is not None
    assert replay.differences == []
    assert sum(replay.held.values()) == replay.records == 40
    assert runs["course_game.py"].replay is None


@pytest.mark.skipif(shutil.which("ab") is None or shutil.which("curl") is None, reason="ab or curl is not installed")
def test_a_load_file_plays_in_place_of_the_crowd(kafka: Connection, tmp_path: Path) -> None:
    """Its lines reach the game with their Host headers, ids are given to them, and the ledger closes."""
    file = tmp_path / "load.sh"
    file.write_text(
        'docker-compose exec mids ab -n 10 -H "Host: user1.comcast.com" http://localhost:5000/purchase_a_sword\n'
        "curl -s -X POST -d name=ann http://localhost:5000/guilds/2/join/\ncurl -s localhost:5000/nowhere\n"
    )
    choice = choose_game(str(GAMES / "course_game.py"), load=str(file))
    with attach("embedded") as cluster:
        run = run_game(choice.game, cluster, choice.routes, load=choice.load)
    assert run.lines is not None
    assert run.lines["exit code"].tolist() == [0, 0, 0]
    assert run.asked["player"].value_counts()["user1.comcast.com"] == 10
    assert run.account.kind == "request id"
    assert run.account.ledger.problems() == []
    assert (run.account.ledger.accepted, run.account.ledger.refused, run.account.ledger.rows) == (11, 1, 11)
