"""The README is held to the code: its tables, its commands, its picture."""

import re
import shlex
from pathlib import Path

import pytest

from app.game.events import COLUMNS, EVENT_TYPES, OWN_FIELDS
from app.report import chapter
from app.report.run import FRAMES
from app.stream.ways import DELIVERING, log_class

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf8")
CHAPTERS = chapter.find(PROJECT / "notebooks")


def table(*heads: str) -> list[list[str]]:
    """The rows of the README's table with these column heads."""
    start = README.index(f"| {' | '.join(heads)} |\n")
    lines = README[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").replace(r"\|", "¦").split("|")] for line in lines]


def promise(document: dict[str, list[dict[str, list[str]]]]) -> str:
    """The line below a chapter's H1."""
    return "".join(document["cells"][0]["source"]).split("\n\n")[1].strip()


def test_the_chapters_are_the_notebooks() -> None:
    """The table of chapters: every notebook, in order, with its own promise."""
    expected = [[f"[{one.name}](notebooks/{one.name}.ipynb)", promise(one.document)] for one in CHAPTERS]
    assert table("notebook", "what the reader sees") == expected


def test_the_parameters_are_those_of_the_notebooks() -> None:
    """The table of parameters: each that a notebook declares, with its type, default, meaning and limits."""
    declared = {name: one for found in CHAPTERS for name, one in found.parameters.items()}
    expected = []
    for name, one in declared.items():
        limits = f" ({one.limits()})" if one.limits() else ""
        expected.append(
            [
                f"`{name}`",
                one.type,
                f"`{str(one.default).lower() if one.type == 'bool' else one.default}`",
                one.meaning + limits,
            ]
        )
    assert table("parameter", "type", "default", "meaning") == expected


def test_the_events_are_those_of_the_game() -> None:
    """The table of events: every type with its fields in wire order."""
    expected = [
        [f"`{one.name}`", ", ".join(f"`{name}`" for name in COLUMNS if name not in OWN_FIELDS or name in one.fields)]
        for one in EVENT_TYPES.values()
    ]
    assert table("event type", "its fields") == expected


def test_the_ways_promise_what_the_code_says() -> None:
    """The table of ways: each way to deliver with the guarantee of its class."""
    expected = [[way, log_class(way).guarantee] for way in DELIVERING]
    assert table("way", "what an answer of 200 promises") == expected


def test_the_house_is_as_described() -> None:
    """The table of folders: each exists, and every room of app/ is in it."""
    named = [row[0].strip("`") for row in table("folder", "what it is")]
    assert [name for name in named if not (PROJECT / name).exists()] == []
    rooms = {f"app/{path.name}/" for path in (PROJECT / "app").iterdir() if (path / "__init__.py").exists()}
    assert rooms - set(named) == set()


def scripts() -> list[str]:
    """Every `python3 scripts/...` command in the README, once."""
    return sorted(set(re.findall(r"python3 scripts/[^`\n#|]+", README)))


@pytest.mark.parametrize("command", scripts())
def test_each_command_names_a_script_that_exists(command: str) -> None:
    """What the README tells people to type is there to be typed."""
    assert (PROJECT / shlex.split(command)[1]).is_file()


def test_the_picture_is_there() -> None:
    """The README's pictures are files of the project, each with alt text."""
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
    assert pictures
    assert [path for alt, path in pictures if not alt or not (PROJECT / path).is_file()] == []


def test_every_frame_that_is_written_is_taken_away_by_the_next_run() -> None:
    """A frame that is told of here and forgotten there would be an old one in a new report's folder."""
    assert set(re.findall(r"`build/(\w+)\.parquet`", README)) == set(FRAMES)
