"""What a person chose for a game of their own is checked before anything starts: the game, routes, load, masks."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from peers import needs

from streaming_lab.errors import LabError
from streaming_lab.own_game.choices import choose_game
from streaming_lab.own_game.hosted import probe_game
from streaming_lab.own_game.load_file import read_load
from streaming_lab.own_game.masks import MASKED_VALUE, masked_text
from streaming_lab.own_game.play import seeded_asks
from streaming_lab.own_game.records import masked_frame
from streaming_lab.own_game.route_file import choose_routes
from streaming_lab.own_game.routes import Route
from streaming_lab.own_game.source import find_source
from streaming_lab.report import cli

GAMES = Path(__file__).parent / "games"

BAD = {
    "import nosuchpackage\n": "needs the package nosuchpackage, which is not installed here, line 1",
    "import time\ntime.sleep(60)\n": "is not imported after 3 s: it waits at game.py:2",
    "raise SystemExit(4)\n": "ends itself while it is imported (exit code 4), line 1",
    "import os\nos._exit(7)\n": "ended its process while it was imported (exit code 7)",
    "x = 1\n": "has no Flask app",
    "print 'hello'\n": "can't be read",
    "input('name? ')\n": "fails while it is imported: EOFError",
    "from kafka import KafkaConsumer\nKafkaConsumer('events')\n": "talks to Kafka while it is imported, line 2",
    "from flask import Flask\none, two = Flask('a'), Flask('b')\n": "has several Flask apps",
}


@pytest.mark.parametrize("source", BAD)
def test_what_is_no_game_is_told_before_any_cluster(source: str, tmp_path: Path) -> None:
    """The reason, with the line in the game's own file, and what to do."""
    (tmp_path / "game.py").write_text(source)
    with pytest.raises(LabError) as raised:
        probe_game(str(tmp_path / "game.py"), timeout=3)
    assert BAD[source] in raised.value.problem
    assert raised.value.cure


def test_routes_are_found_with_arguments_and_fields() -> None:
    """Each rule and method, with the line of its view, and what the view's source reads."""
    found = probe_game(str(GAMES / "course_game.py")).routes
    assert [(one.name, dict(one.arguments), dict(one.fields)) for one in found] == [
        ("GET /", {}, {}),
        ("GET /purchase_a_sword", {}, {"query": ("metal",)}),
        ("GET /guilds/<int:number>/join/", {"number": "Integer"}, {"form": ("name",)}),
        ("POST /guilds/<int:number>/join/", {"number": "Integer"}, {"form": ("name",)}),
    ]
    assert [one.where for one in found][:2] == ["course_game.py:18", "course_game.py:24"]
    json_fields = {one.name: dict(one.fields) for one in probe_game(str(GAMES / "json_game.py")).routes}
    assert json_fields == {"POST /users": {"json": ("username",)}, "POST /guilds/<name>": {"json": ("username",)}}


@pytest.mark.parametrize("text", ["shop/app", "shop/app/__init__.py", "shop/app:create_app"])
def test_a_package_called_app_gets_its_own(text: str) -> None:
    """A file, a folder or a dotted name; its `from app.items import` finds its own package."""
    assert find_source(text, GAMES).module == "app"
    assert find_source("app:create_app", GAMES / "shop").attribute == "create_app"
    assert [one.rule for one in probe_game(str(GAMES / text)).routes] == ["/login", "/buy/<item>"]


def test_a_game_that_is_not_there_is_named() -> None:
    """With the nearest name, and the two forms."""
    with pytest.raises(LabError, match=r"there is no .*cours_game.py: did you mean course_game.py\?"):
        find_source("cours_game.py", GAMES)
    with pytest.raises(LabError, match="is no Python file"):
        find_source(str(GAMES.parent.parent / "README.md"))


FOUND = (
    Route("/", "GET"),
    Route("/guilds/<name>", "POST", arguments={"name": "Unicode"}, fields={"json": ("username", "level")}),
    Route("/buy", "GET", fields={"query": ("n",)}),
)


def test_a_file_of_routes_overrides(tmp_path: Path) -> None:
    """Weights, arguments and headers; a weight of 0 leaves a route out."""
    file = tmp_path / "routes.toml"
    file.write_text(
        '[[route]]\nrule = "/"\nweight = 0\n[[route]]\nrule = "/buy"\nweight = 3\n'
        'arguments = { n = 7, colour = "red" }\nheaders = { X-Team = "owls" }\n'
    )
    guilds, buy = choose_routes(FOUND, str(file))
    assert (guilds.name, guilds.weight, buy.weight) == ("POST /guilds/<name>", 1.0, 3.0)
    [ask] = seeded_asks([buy], players=1, requests=1, seed=1, run="x")
    assert ask.target == "/buy?n=7&colour=red"
    assert (ask.headers["X-Team"], ask.headers["Host"]) == ("owls", "player-01")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[route", "is no TOML"),
        ('[[route]]\nrule = "/guild/<name>"', "the game has no route /guild/<name>: did you mean /guilds/<name>?"),
        ('[[route]]\nrule = "/buy"\nmethod = "POST"', "the game has no route POST /buy"),
        ('[[route]]\nrule = "/buy"\nwieght = 2', "wieght = 2 of /buy: did you mean weight?"),
        ('[[route]]\nrule = "/buy"\nweight = -1', "is below 0"),
        ("only = true", "every route has weight 0"),
        ("routes = 1", "routes is unknown: did you mean route?"),
    ],
)
def test_a_wrong_file_of_routes_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    """With the file, the value, and what would be right."""
    file = tmp_path / "routes.toml"
    file.write_text(text)
    with pytest.raises(LabError) as raised:
        choose_routes(FOUND, str(file))
    assert problem in raised.value.problem
    assert raised.value.cure


@pytest.mark.parametrize(
    ("player", "where"),
    [
        ("", lambda ask: ask.body["username"]),
        ("header:X-Player", lambda ask: ask.headers["X-Player"]),
        ("json:who", lambda ask: ask.body["who"]),
        ("path:name", lambda ask: ask.target.rpartition("/")[2]),
        ("query:p", lambda ask: ask.target.rpartition("p=")[2]),
    ],
)
def test_the_player_goes_where_the_option_says(player: str, where: Any) -> None:
    """One option: a header, a query, form or JSON field, a part of the path."""
    [ask] = seeded_asks(FOUND[1:2], players=1, requests=1, seed=1, run="x", player=player)
    assert where(ask) == "player-01"


def test_load_lines_are_those_of_ab_and_curl(tmp_path: Path) -> None:
    """As they stand in courses, with the game's address in place of theirs; nothing goes through a shell."""
    needs("ab")
    needs("curl")
    file = tmp_path / "load.sh"
    file.write_text(
        "#!/bin/sh\n# eleven swords\n"
        'docker-compose exec mids ab -n 10 -H "Host: user1.comcast.com" \\\n http://localhost:5000/purchase_a_sword\n'
        "curl -s -X POST -d name=x localhost:5000/guilds/1/join/?a=b\n"
    )
    first, second = read_load(str(file))
    assert first.against("http://127.0.0.1:9")[-1] == "http://127.0.0.1:9/purchase_a_sword"
    assert first.words[:5] == ("ab", "-n", "10", "-H", "Host: user1.comcast.com")
    assert second.against("http://127.0.0.1:9")[-1] == "http://127.0.0.1:9/guilds/1/join/?a=b"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("while true; do", "needs a shell"),
        ("rm -rf /", "rm is neither ab nor curl"),
        ("curl http://localhost:5000/ | sh", "| needs a shell"),
        ("curl http://localhost:5000/$(id)", "needs a shell"),
        ("curl -s", "no address of the game"),
        ("", "no line with ab or curl"),
    ],
)
def test_a_line_that_is_neither_is_refused(line: str, problem: str, tmp_path: Path) -> None:
    """With its number and the reason, before anything starts."""
    file = tmp_path / "load.sh"
    file.write_text(f"{line}\n")
    with pytest.raises(LabError, match=problem.replace("|", r"\|")):
        read_load(str(file))


def test_secrets_are_masked_in_headers_forms_and_json() -> None:
    """By the names of columns and fields, and inside texts; what only sounds alike stays."""
    frame = pd.DataFrame(
        {
            "Authorization": ["Basic eA==", None],
            "user.password": ["x1y2z3", "x1y2z3"],
            "value": ['{"token": "x1y2z3", "n": 1}', "name=a&passwd=x1y2z3"],
            "passenger": ["ann", "bob"],
            "raw": [b'{"api_key": "x1y2z3"}', b"Cookie: sid=x1y2z3"],
        }
    )
    masked = masked_frame(frame)
    assert "x1y2z3" not in repr(masked.to_dict())
    assert masked["Authorization"].tolist()[0] == MASKED_VALUE
    assert masked["Authorization"].isna().tolist() == [False, True]
    assert masked["passenger"].tolist() == ["ann", "bob"]
    assert masked["value"].tolist() == [f'{{"token": "{MASKED_VALUE}", "n": 1}}', f"name=a&passwd={MASKED_VALUE}"]
    assert masked_text("KeyError: 'password'") == "KeyError: 'password'"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["-p", "game", "nowhere.py"], "there is no"),
        (["-p", "routes", "r.toml"], "routes goes with a game of your own"),
        (["-p", "game", "GAME", "-p", "player", "somewhere"], "says no place of a request"),
        (["-p", "game", "GAME", "-p", "load", "nowhere.sh"], "No such file"),
        (["01", "-p", "game", "GAME"], "game is a parameter of chapter"),
    ],
)
def test_the_report_refuses_before_it_starts(given: list[str], problem: str) -> None:
    """A game that is not there, an option without a game, a chapter that takes none."""
    here = [str(GAMES / "course_game.py") if word == "GAME" else word for word in given]
    with pytest.raises(LabError) as raised:
        cli.main(here)
    assert problem in str(raised.value)


def test_a_choice_is_whole() -> None:
    """The game, its routes, and a player's place that a route has."""
    choice = choose_game(str(GAMES / "course_game.py"), player="path:number")
    assert len(choice.routes) == 4
    with pytest.raises(LabError, match="no route has that argument"):
        choose_game(str(GAMES / "course_game.py"), player="path:nobody")


def test_counts_that_agree_are_not_called_an_account() -> None:
    """Where only sums are compared, the report's verdict says so."""
    from streaming_lab.report.provenance import run_verdict

    ledger = {"requests": 3, "joined_by": "counts"}
    assert run_verdict([], ledger, []) == (
        "passed",
        "The counts of requests and rows agree; which row is whose can't be told.",
    )
