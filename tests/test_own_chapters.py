"""Chapters 03 and 04 on a game of one's own, and the pytest plug-in in a project of one's own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_notebooks
from test_notebooks import papermill

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster import Cluster
from streaming_lab.faults.load import Load
from streaming_lab.faults.plan import GAMES_STOPPED
from streaming_lab.own_game import ordeal
from streaming_lab.own_game.choices import choose_game
from streaming_lab.report.chapter import find_chapters, replace_chapters

PROJECT = Path(__file__).parent.parent
GAMES = Path(__file__).parent / "games"
OWN = PROJECT / "notebooks" / "own-game"
RULES = [name for name in vars(test_notebooks) if re.match("test_(is|has|begins|machinery|nothing)_", name)]


def test_own_chapters_take_the_place_of_the_lab_s() -> None:
    """By their numbers, and with the same meaning for each parameter that others have as well."""
    chapters = replace_chapters(find_chapters(PROJECT / "notebooks"), find_chapters(OWN))
    assert [one.name for one in chapters][2:4] == ["03-your-game", "04-your-game-under-faults"]
    page = (PROJECT / "docs" / "own-game.md").read_text(encoding="utf8")
    for name in ("game", "routes", "player", "load"):
        [declared] = {one.parameters[name] for one in chapters if name in one.parameters}
        assert f"| `{name}` | {declared.type} | `` | {declared.meaning} |" in page


@pytest.mark.slow
def test_chapter_03_reads_a_game_of_one_s_own(kafka: Connection, tmp_path: Path) -> None:
    """By plain papermill on a broker that runs: the ledger closes, and no output holds an error or a secret."""
    given = {"game": GAMES / "shop" / "app", "requests": 60, "players": 5, "cluster": addresses(kafka)}
    parameters = [word for name, value in given.items() for word in ("-p", name, str(value))]
    executed = papermill(OWN / "03-your-game.ipynb", tmp_path / "out.ipynb", *parameters)
    shown = json.dumps([cell.get("outputs") for cell in executed["cells"]])
    assert "joined with its rows" in shown
    assert "What each route did" in shown
    assert '"output_type": "error"' not in shown


@pytest.mark.slow
def test_chapter_04_names_the_line_that_loses(breakable: Cluster) -> None:
    """The same fault on a game that waits for nothing and on one that waits for the result."""
    load = Load(requests=150, players=6)
    [hopeful] = ordeal.undergo(choose_game(str(GAMES / "course_game.py")), breakable, [GAMES_STOPPED], load)
    [patient] = ordeal.undergo(choose_game(str(GAMES / "patient_game.py")), breakable, [GAMES_STOPPED], load)
    assert hopeful.lost > 0
    assert patient.lost == 0
    found = ordeal.outcomes([hopeful])
    said = f"your game, as it is: {hopeful.lost:,} of {hopeful.answered} answers of 2xx w"
    assert ordeal.verdict_of(found).startswith(said)
    advice = repr(ordeal.advice_table([hopeful]))
    assert "course_game.py:15" in advice
    assert "call `.get(timeout=5)` on what it returns" in advice
    assert ordeal.losses_of(found)["variants"] == [
        {"variant": "your game, as it is", "answered": hopeful.answered, "lost": hopeful.lost, "safe": False}
    ]


@pytest.mark.slow
def test_the_plug_in_serves_tests_of_another_project(own_home: Path, tmp_path: Path) -> None:
    """The page's own example, and a Flask app in the test's process whose producer is made late."""
    shutil.copy(GAMES / "course_game.py", tmp_path / "game_api.py")
    page = (PROJECT / "docs" / "own-game.md").read_text(encoding="utf8")
    [example] = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "test_example.py").write_text(example)
    (tmp_path / "test_factory.py").write_text(FACTORY.format(shop=str(GAMES / "shop")))
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(PROJECT / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "streaming_lab.own_game.pytest_plugin"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert "3 passed" in ran.stdout, ran.stdout[-3000:] + ran.stderr[-2000:]


FACTORY = """\
import sys

sys.path.insert(0, {shop!r})

from app import create_app


def test_a_factory_in_this_process(game):
    with game(create_app) as played:
        assert played.get("/buy/gold").text == "bought\\n"
    assert played.events["price"].tolist() == [30]
    assert played.lost == []
"""


def test_the_plug_in_is_an_entry_point() -> None:
    """pytest finds it in the environment: group pytest11."""
    import tomllib

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    assert project["entry-points"]["pytest11"] == {"streaming_lab": "streaming_lab.own_game.pytest_plugin"}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("notebook", sorted(OWN.glob("*.ipynb")), ids=lambda path: path.stem[:2])
def test_own_chapters_follow_the_rules_of_chapters(notebook: Path, rule: str) -> None:
    """What holds for each chapter of the lab holds for these."""
    getattr(test_notebooks, rule)(notebook)
