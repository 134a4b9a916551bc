"""Every mistake in a parameter is answered before anything starts."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import book
import pytest

from streaming_lab.delivery.ways import DELIVERING
from streaming_lab.errors import LabError
from streaming_lab.report import parameters
from streaming_lab.report.chapter import Chapter, find_chapters, select_chapters
from streaming_lab.report.cli import main, parser
from streaming_lab.report.parameters import Parameter, ParameterError, check_parameters, merge_parameters

SOURCE = """\
requests: int = 2000      # requests in all, 1..1000000
ratio: float = 0.5        # share of purchases, 0..1
log: str = "confirmed"    # what a 200 promises: none | fire-and-forget | confirmed
topic: str = "events"     # where the game writes
fast: bool = False        # leave out the pauses
thorough: bool = False    # do it all 20 times
"""
KNOWN = {
    "requests": Parameter("requests", "int", 2000, "requests in all", 1.0, 1e6),
    "ratio": Parameter("ratio", "float", 0.5, "share of purchases", 0.0, 1.0),
    "log": Parameter(
        "log", "str", "confirmed", "what a 200 promises", choices=("none", "fire-and-forget", "confirmed")
    ),
    "topic": Parameter("topic", "str", "events", "where the game writes"),
    "fast": Parameter("fast", "bool", False, "leave out the pauses"),
    "thorough": Parameter("thorough", "bool", False, "do it all 20 times", times=20),
}


def test_a_cell_declares_names_types_defaults_meanings_ranges_and_choices() -> None:
    """Each line of the cell is one parameter with all that its comment says."""
    assert parameters.declared(SOURCE, "x.ipynb") == KNOWN


@pytest.mark.parametrize(
    ("comment", "left"), [("any way", []), ("any way but outbox, buffered", ["outbox", "buffered"])]
)
def test_the_ways_to_deliver_can_be_the_choices(comment: str, left: list[str]) -> None:
    """A chapter need not list the ways: a new one is a choice as soon as it is one."""
    found = parameters.declared(f'way: str = "confirmed"  # how: {comment}\n', "x.ipynb")["way"]
    assert (found.meaning, found.choices) == ("how", tuple(way for way in DELIVERING if way not in left))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("requests", "1e3", 1000),
        ("requests", "1_000", 1000),
        ("requests", "1000.0", 1000),
        ("ratio", "1", 1.0),
        ("log", "none", "none"),
        ("topic", "true", "true"),
        ("fast", "True", True),
    ],
)
def test_values_take_the_type_of_their_default(name: str, text: str, value: Any) -> None:
    """However a value is written, it arrives as its parameter's type."""
    found = check_parameters([(name, text)], KNOWN)
    assert (found, type(found[name])) == ({name: value}, type(value))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("seeed", "7", "no chapter has a parameter seeed\nparameters: fast, log, ratio, requests, thorough, topic"),
        ("request", "7", "no chapter has a parameter request: did you mean requests?"),
        ("requests", "2.5", "requests = 2.5: expected a whole number"),
        ("requests", "true", "requests = true: expected a whole number"),
        ("requests", "1e999999999", "requests = 1e999999999: expected a whole number"),
        ("requests", "0", "requests = 0 is out of range\nrequests takes 1 to 1000000: requests in all"),
        ("ratio", "nan", "ratio = nan: expected a number"),
        ("ratio", "inf", "ratio = inf: expected a number"),
        ("ratio", "1.01", "ratio = 1.01 is out of range"),
        ("log", "confirm", "log = confirm is not a choice: did you mean confirmed?"),
        ("topic", "a\nb", "expected text"),
        ("fast", "1", "fast = 1: expected true or false"),
        ("password", "x", "environment variable (PASSWORD)"),
        ("api_token", "x", "environment variable (API_TOKEN)"),
    ],
)
def test_a_mistake_is_refused_with_its_reason(name: str, text: str, said: str) -> None:
    """The value, what was expected, and the nearest right word are in the message."""
    with pytest.raises(ParameterError, match=re.escape(said)):
        check_parameters([(name, text)], KNOWN)


def test_a_parameter_given_twice_is_refused() -> None:
    """No rule of precedence has to be known."""
    with pytest.raises(ParameterError, match="given twice"):
        check_parameters([("requests", "1"), ("requests", "2")], KNOWN)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("requests = 2000", "not a typed assignment"),
        ("requests: int = 2 * 1000", "derived"),
        ("requests: int = 2000.5", "not of a type"),
        ("requests: int = True", "not of a type"),
        ("names: list = []", "not of a type"),
        ("requests: int = 0  # all, 1..9", "out of range"),
        ('log: str = "x"  # how: a | b', "not a choice"),
        ("requests: int = ", "does not parse"),
        ("a: int = 1\na: int = 2", "declared twice"),
        ('password: str = "hunter2"', "looks like a secret"),
    ],
)
def test_a_declaration_that_cannot_be_checked_is_refused(source: str, said: str) -> None:
    """A parameters cell holds typed literals and nothing else."""
    with pytest.raises(ParameterError, match=said):
        parameters.declared(source, "x.ipynb")


def test_a_notebook_without_a_parameters_cell_has_no_parameters(tmp_path: Path) -> None:
    """A chapter of one's own needs none; two cells are refused, since papermill would take the first."""
    assert parameters.read_declarations(book.write(tmp_path, "01-a", book.code("1", "one"))) == {}
    path = book.write(tmp_path, "02-b", book.parameters(), book.code("1", "one", "parameters"))
    with pytest.raises(ParameterError, match=r"02-b.ipynb has 2 cells tagged parameters"):
        parameters.read_declarations(path)


COPIES = ("02 play the game (copy)", "02-play-Copy1", "02-play-checkpoint", "02-play (2)", "untitled-Copy2")


def test_a_copy_is_no_chapter_and_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copies stop nothing; a broken chapter stops only a run that it belongs to."""
    plans: list[Any] = []
    monkeypatch.setattr(
        "streaming_lab.report.run.run_report",
        lambda plan, _: plans.append(plan) or (Mock(seconds=0.0, exit_code=0, reason="x"), plan.build),
    )
    for name in ("10-late", "02-play", "05-öwn chapter", *COPIES):
        book.write(tmp_path, name, book.code("1", "one"))
    (tmp_path / "07-broken.ipynb").write_text("{")
    (tmp_path / ".hidden.ipynb").write_text("{")
    assert main(["2", "05", "notebooks/10-late.ipynb"], tmp_path) == 0
    assert [one.name for one in plans[0].chapters] == ["02-play", "05-öwn chapter", "10-late"]
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(
        f"{name}.ipynb is called like a copy and does not run: a chapter is called like 06-my-chapter.ipynb"
        for name in COPIES
    )
    with pytest.raises(ParameterError, match=r"07-broken.ipynb is not a notebook"):
        main([], tmp_path)


def test_any_other_notebook_is_a_chapter_behind_the_numbered_ones(tmp_path: Path) -> None:
    """By name, with the next numbers; the word that names it is that number or its name's beginning."""
    for name in ("3D-plots", "untitled", "10-late", "02-play", "What I found"):
        book.write(tmp_path, name, book.code("1", "one"))
    chapters = find_chapters(tmp_path)
    assert {one.name: one.number for one in chapters} == {
        **{"02-play": 2, "10-late": 10, "3D-plots": 11, "What I found": 12, "untitled": 13}
    }
    for words, name in (
        (["12"], "What I found"),
        (["What"], "What I found"),
        (["notebooks/untitled.ipynb"], "untitled"),
    ):
        assert [one.name for one in select_chapters(chapters, words)] == [name]


@pytest.mark.parametrize(
    "word", ["3", "03", "03-read", "03-read-the-events.ipynb", "notebooks/03-read-the-events.ipynb"]
)
def test_a_chapter_is_named_in_many_ways(word: str) -> None:
    """By its number however it is written, the beginning of its name, or its file."""
    found = [Chapter(Path(f"{name}.ipynb")) for name in ("03-read-the-events", "30-later")]
    assert [one.name for one in select_chapters(found, [word])] == ["03-read-the-events"]


def test_one_name_has_one_meaning_in_all_chapters() -> None:
    """Two chapters that differ in a parameter are both named, with both declarations."""
    other = {"requests": Parameter("requests", "int", 9, "requests in all", 1.0, 1e6)}
    with pytest.raises(ParameterError) as caught:
        merge_parameters({"01-a": KNOWN, "02-b": other})
    assert caught.value.problem == (
        "requests differs in 01-a and 02-b: int = 2000, requests in all (1 to 1000000)"
        " and int = 9, requests in all (1 to 1000000)"
    )


def test_a_parameter_of_a_chapter_that_does_not_run_is_named() -> None:
    """`report.py 01 -p seed 7` says where seed belongs."""
    with pytest.raises(ParameterError, match="seed is a parameter of chapter 03-c, which does not run"):
        check_parameters([("seed", "7")], KNOWN, {"seed": "03-c"})


def test_the_help_lists_the_parameters_of_the_notebooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The help has names, types, defaults, meanings and limits as in the cells."""
    book.write(tmp_path, "01-a", book.parameters(SOURCE))
    with pytest.raises(SystemExit, match="0"):
        main(["--help"], tmp_path)
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.startswith("  requests")] == [
        "  requests       int = 2000, requests in all (1 to 1000000)"
    ]
    assert all(f"  {name} " in text for name in KNOWN)


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ([], (600, 1800)),
        (["-p", "fast", "true"], (600, 1800)),
        (["-p", "thorough", "true"], (12_000, 36_000)),
        (["-p", "thorough", "true", "--timeout", "60"], (12_000, 60)),
        (["-p", "thorough", "false", "--cell-timeout", "5"], (5, 1800)),
    ],
)
def test_a_switch_that_multiplies_the_work_moves_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], limits: tuple[float, float]
) -> None:
    """The limits of time grow by the same factor, unless the command line sets them."""
    plans: list[Any] = []
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(
        "streaming_lab.report.run.run_report",
        lambda plan, _: plans.append(plan) or (Mock(seconds=0.0, exit_code=0, reason="x"), plan.build),
    )
    book.write(tmp_path, "01-a", book.parameters(SOURCE))
    assert main(arguments, tmp_path) == 0
    assert [(plan.cell_timeout, plan.timeout) for plan in plans] == [limits]


def test_a_chapter_that_runs_by_name_only_is_left_out_of_a_report_for_all(tmp_path: Path) -> None:
    """It runs when it is named, and when there is no other; the help says which it is."""
    book.write(tmp_path, "01-a")
    book.write(tmp_path, "02-b", by_name=True)
    (tmp_path / "03-c.ipynb").write_text("{no JSON")
    chapters = find_chapters(tmp_path)
    assert [one.name for one in select_chapters(chapters, [])] == ["01-a", "03-c"]
    assert [one.name for one in select_chapters(chapters, ["2"])] == ["02-b"]
    assert [one.name for one in select_chapters(chapters[1:2], [])] == ["02-b"]
    assert "(default: all but 02-b)" in " ".join(parser({}, ["02-b"]).format_help().split())


@pytest.mark.parametrize("arguments", [["04"], ["-p", "requests"], ["--timeout", "0"], ["--no-such"]])
def test_a_wrong_command_line_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    """Unknown chapters and options raise a `LabError` with a cure."""
    book.write(tmp_path, "01-a", book.parameters(SOURCE))
    with pytest.raises(LabError) as caught:
        main(arguments, tmp_path)
    assert caught.value.cure


def test_a_mistyped_name_costs_less_than_a_second_and_starts_nothing(tmp_path: Path) -> None:
    """Exit code 2, two lines, nothing written, nothing heavy imported."""
    book.write(tmp_path / "nb", "01-a", book.parameters("seed: int = 2019  # of all chance, 0..9999"))
    before = os.times()
    result = book.report(tmp_path / "nb", "-p", "seeed", "7")
    after = os.times()
    assert sum(after[2:4]) - sum(before[2:4]) < 1.0  # of the processor, by the process that was started
    assert (result.exit_code, result.out) == (2, "")
    first, second = result.err.splitlines()
    assert first == "no chapter has a parameter seeed: did you mean seed?"
    assert second == "parameters: author, challenge, course, seed, student, title"
    assert not result.build.exists()


def test_the_way_to_a_refusal_imports_nothing_heavy() -> None:
    """papermill, pandas and jupyter are imported after the parameters are checked."""
    heavy = ["papermill", "pandas", "jupyter_client", "nbconvert", "nbformat", "asyncio"]
    script = f"import streaming_lab.report.cli, sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=book.PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_kind_of_limit_is_said_in_words() -> None:
    """Ranges and choices read as a sentence."""
    assert [parameters.describe_parameter(KNOWN[name]) for name in ("ratio", "log", "fast")] == [
        "float = 0.5, share of purchases (0 to 1)",
        "str = confirmed, what a 200 promises (none, fire-and-forget or confirmed)",
        "bool = false, leave out the pauses",
    ]
