"""A report of one's own: who hands it in, a student's seed, the run's id, and chapters of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from book import Report, code, page, prose, report, write

from streaming_lab.errors import LabError
from streaming_lab.handin.submit import handed_in
from streaming_lab.report import own
from streaming_lab.report.chapter import find_chapters
from streaming_lab.report.new_chapter import write_new_chapter
from streaming_lab.report.parameters import Parameter, ParameterError, read_declarations
from streaming_lab.report.record import Run

SEED = {"seed": Parameter("seed", "int", 2019, "")}
GIVEN = ["-p", "author", "Ada <b>L.</b>", "-p", "student", "ada", "-p", "challenge", "owl", "-p", "title", "My lab"]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report with all that is one's own; its cell prints the seed, the environment's key, and the home folder."""
    folder = tmp_path_factory.mktemp("own") / "nb"
    source = "import os, pathlib\nhome, key = pathlib.Path.home() / 'lab', os.environ.get('LAB_CLASS_KEY')\n"
    source += "print(seed, key, home, os.environ['LAB_RUN'])"
    parameters = code("seed: int = 2019  # of all chance, 0..2147483647", "parameters", "parameters")
    write(folder, "01-first", prose("# First"), parameters, code(source, "shown"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CLASS_KEY", "autumn")
        return report(folder, *GIVEN)


@pytest.mark.slow
def test_what_is_ones_own_is_on_the_page_and_in_the_record(mine: Report) -> None:
    """Title, author, student: in run.json as given, on the page escaped; nothing given, no line."""
    assert mine.exit_code == 0, mine.err
    assert "<h1>My lab</h1>" in mine.page
    assert '<p class="byline">Ada &lt;b&gt;L.&lt;/b&gt;, student ada</p>' in mine.page
    assert mine.record["parameters"]["author"] == "Ada <b>L.</b>"
    assert '<p class="byline">' not in page()
    assert set(mine.record["parameters"]) == {"author", "student", "challenge", "title", "seed"}


def test_a_student_has_a_seed_of_their_own(mine: Report) -> None:
    """31 bits of HMAC-SHA256 of the id by the class's key: the same each time, another for each student and class."""
    seed = own.student_seed("ada", "autumn")
    assert mine.record["parameters"]["seed"] == seed
    assert mine.cells("01-first")["shown"].outputs[0].text.startswith(f"{seed} None ")
    others = {own.student_seed(*one) for one in (("ada", ""), ("ada", "spring"), ("alan", "autumn"))}
    assert len(others | {seed}) == 4
    assert own.student_seed("ada", "") == 2055768093


def test_the_class_key_stays_out_of_everything(mine: Report) -> None:
    """Neither kernels nor files have the class's key."""
    assert [path.name for path in mine.build.rglob("*") if path.is_file() and b"autumn" in path.read_bytes()] == []


def test_nobodys_home_folder_is_kept(mine: Report) -> None:
    """Record, notebooks and page say ~ where a cell named the person's home."""
    text = mine.cells("01-first")["shown"].outputs[0].text
    assert " ~/lab " in text
    home = f"{Path.home()}/lab".encode()
    assert [path.name for path in mine.build.rglob("*") if path.is_file() and home in path.read_bytes()] == []


def test_a_challenge_is_mixed_into_the_runs_id(mine: Report) -> None:
    """The id is checked by the challenge alone, and is the one that the kernels had."""
    run_id = mine.record["run_id"]
    assert run_id == own.challenged_id(run_id[:8], "owl") != own.challenged_id(run_id[:8], "cat")
    assert mine.cells("01-first")["shown"].outputs[0].text.split()[-1] == run_id
    assert len(own.new_run_id()) == 8


@pytest.mark.parametrize(
    ("given", "problem"),
    [({"student": "ada", "seed": 7}, "both given"), ({"author": "a" * 201}, "201 characters")],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], problem: str) -> None:
    """A seed beside a student, and a text without end."""
    with pytest.raises(ParameterError, match=problem):
        own.own_values(given, SEED)


def test_an_empty_text_is_not_given() -> None:
    """`-p author ""` leaves no line; spaces are tidied."""
    assert own.own_values({"author": " ", "title": "a  b"}, {}) == {"title": "a b"}


def test_a_new_chapter_is_the_next_one(tmp_path: Path) -> None:
    """Its number, its title, its parameters; a title of other letters has a file all the same."""
    write(tmp_path, "01-first", prose("# First"))
    first = write_new_chapter(tmp_path, "What I  found: 50% \u00fcber <b>")
    second = write_new_chapter(tmp_path, "\u5b66")
    assert [first.name, second.name] == ["02-what-i-found-50-uber-b.ipynb", "03-chapter.ipynb"]
    assert [one.title for one in find_chapters(tmp_path)][1:] == ["What I found: 50% \u00fcber <b>", "\u5b66"]
    assert list(read_declarations(first)) == ["rows"]
    for title in ("", "a" * 81, "a\x1b"):
        with pytest.raises(LabError, match="is no title"):
            write_new_chapter(tmp_path, title)


@pytest.mark.slow
def test_a_new_chapter_reads_what_chapter_03_kept(tmp_path: Path) -> None:
    """It passes in a run of both, and its table shows the rows; so does a notebook without a number, behind it."""
    folder = tmp_path / "nb"
    keep = (
        "import pandas as pd\nfrom streaming_lab.report.record import save_result\n"
        "rows = {'event_id': ['a'], 'event_type': ['default'], 'player': ['player-1'], 'partition': [0]}\n"
        "rows |= {'offset': [0], 'timestamp': pd.to_datetime(['2026-01-01'], utc=True)}\n"
        "save_result('events', pd.DataFrame(rows))\n"
        "save_result('requests', pd.DataFrame({'player': ['player-1', 'player-1']}))"
    )
    write(folder, "03-keep", prose("# Keep"), code(keep, "keep"))
    path = write_new_chapter(folder, "Mine")
    write(folder, "my notes", prose("# Notes"), code("print('noted')", "noted"))
    ran = report(folder)
    assert ran.exit_code == 0, ran.out + ran.err
    cells = ran.cells(path.stem)
    assert "player-1" in cells["my-rows"].outputs[0].data["text/html"]
    assert "**2 requests** became 1 event of 1 player." in cells["my-reading"].outputs[0].data["text/markdown"]
    assert [f">{part}" in ran.page for part in ("4</span> Mine", "5</span> Notes")] == [True, True]
    assert {path.name, "my notes.ipynb"} <= {*handed_in(ran.build, Run.from_json((ran.build / "run.json").read_text()))}
    assert json.loads((folder.parent / "build" / "run.json").read_text())["chapters"][1]["title"] == "Mine"
