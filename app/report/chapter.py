"""A chapter before it runs: its notebook, number, title, imports and parameters, and the numbers of its cells."""

import ast
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from streaming_lab.errors import LabError
from streaming_lab.report import parameters
from streaming_lab.report.parameters import Parameter
from streaming_lab.wording import did_you_mean


def imported_by(sources: Iterable[str]) -> list[str]:
    """The modules that these cells import on their top level, in order."""
    found: dict[str, None] = {}
    for source in sources:
        for statement in statements(source):
            if isinstance(statement, ast.Import):
                found |= dict.fromkeys(alias.name for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                found[statement.module] = None
                found |= dict.fromkeys(f"{statement.module}.{alias.name}" for alias in statement.names)
    return list(found)


def statements(source: str) -> list[ast.stmt]:
    """A cell's statements; none if only IPython can parse the cell."""
    try:
        return ast.parse(source).body
    except SyntaxError:
        return []


INJECTED = "injected-parameters"  # papermill's tag, and the lab's id of that cell: papermill's own is random


@dataclass(frozen=True)
class Chapter:
    """One notebook of the report; `place` is its number where its name begins with none."""

    path: Path
    place: int = 0

    @property
    def name(self) -> str:
        """The file's name without its ending, such as 03-read-the-events."""
        return self.path.stem

    @property
    def number(self) -> int:
        """The number that the name begins with; for any other name its place behind all numbered ones."""
        return int(self.name.split("-")[0]) if is_numbered(self.name) else self.place

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters that its parameters cell declares."""
        return parameters.read_declarations(self.path)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The notebook as plain JSON."""
        document: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return document

    @property
    def title(self) -> str:
        """The first heading; the name if there is none."""
        for cell in self.document["cells"]:
            if cell["cell_type"] == "markdown" and (match := re.search(r"^# +(.+)$", "".join(cell["source"]), re.M)):
                return match.group(1).strip()
        return self.name

    @property
    def imports(self) -> list[str]:
        """The modules that its cells import."""
        return imported_by("".join(cell["source"]) for cell in self.document["cells"] if cell["cell_type"] == "code")

    @property
    def needs(self) -> list[str]:
        """Names (or their beginnings) of chapters without which this one can't run: metadata `lab.needs`."""
        return list(self.document["metadata"].get("lab", {}).get("needs", []))

    @property
    def by_name(self) -> bool:
        """Does it run only when it is named, and not with all the others? Metadata `lab.by_name`."""
        try:
            return self.document["metadata"].get("lab", {}).get("by_name") is True
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return False  # a notebook that cannot be read is an error where it runs

    @property
    def results(self) -> list[str]:
        """Names of results that the chapter must save before it may pass: metadata `lab.results`."""
        return list(self.document["metadata"].get("lab", {}).get("results", []))


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run: chapters, final and given parameters, build folder, command, limits in seconds."""

    chapters: Sequence[Chapter]
    parameters: dict[str, Any]
    given: dict[str, Any]
    build: Path
    command: str
    cell_timeout: float
    timeout: float


def find_chapters(folder: Path) -> list[Chapter]:
    """All chapters in `folder`: NN-name.ipynb by number and name, then each other notebook by name; no copies."""
    paths = [path for path in notebooks_in(folder) if not is_copy(path.stem)]
    numbered = sorted(
        (Chapter(path) for path in paths if is_numbered(path.stem)), key=lambda one: (one.number, one.name)
    )
    others = [path for path in paths if not is_numbered(path.stem)]
    last = numbered[-1].number if numbered else 0
    return [*numbered, *(Chapter(path, place) for place, path in enumerate(others, last + 1))]


def replace_chapters(chapters: Sequence[Chapter], others: Sequence[Chapter]) -> list[Chapter]:
    """The chapters, with one of `others` in the place of each that has its number."""
    instead = {one.number: one for one in others}
    return [instead.get(one.number, one) for one in chapters]


def name_copies(folder: Path) -> list[str]:
    """A line for each notebook in `folder` that is a copy and so no chapter."""
    return [
        f"{path.name} is called like a copy and does not run: a chapter is called like 06-my-chapter.ipynb"
        for path in notebooks_in(folder)
        if is_copy(path.stem)
    ]


def notebooks_in(folder: Path) -> list[Path]:
    """The notebooks of a folder, without hidden ones."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in files if path.suffix.lower() == ".ipynb" and not path.name.startswith("."))


def is_numbered(stem: str) -> bool:
    """Does a name begin with a number and a hyphen?"""
    return bool(re.match(r"[0-9]{1,6}-", stem))


def is_copy(stem: str) -> bool:
    """Is it the name of a copy that Jupyter or a file manager made?"""
    return bool(re.search(r"(-checkpoint|-Copy[0-9]*|\([^)]*\))$", stem))


def select_chapters(chapters: Sequence[Chapter], wanted: Sequence[str]) -> list[Chapter]:
    """The chapters that the words name (`3`, `03`, `03-read`, a path), in order; without words all but `by_name`."""
    for word in wanted:
        if not any(is_named(chapter, word) for chapter in chapters):
            names = [chapter.name for chapter in chapters]
            raise LabError(f"no chapter {word}{did_you_mean(word, names)}", "chapters: " + (", ".join(names) or "none"))
    if not wanted:
        return [chapter for chapter in chapters if not chapter.by_name] or list(chapters)
    return [chapter for chapter in chapters if any(is_named(chapter, word) for word in wanted)]


def is_named(chapter: Chapter, word: str) -> bool:
    """Does a word name the chapter: by its number, or by the beginning of its name?"""
    name = Path(word).name.removesuffix(".ipynb")
    return chapter.number == int(name) if name.isdecimal() else bool(name) and chapter.name.startswith(name)


def cell_tags(cell: Any) -> list[str]:
    """A cell's tags."""
    return [str(tag) for tag in cell.get("metadata", {}).get("tags", [])]


def chapter_numbers(chapter: int, cells: Sequence[Any]) -> list[str]:
    """The number of each cell, as `chapter.cell`: code cells count; hidden tests and papermill's cell get a letter."""
    found, count, letter = [], 0, 0
    for cell in cells:
        if cell["cell_type"] != "code":
            found.append("")
        elif count and {"test", INJECTED} & set(cell_tags(cell)):
            letter += 1
            found.append(f"{chapter}.{count}{chr(96 + letter)}")
        else:
            count, letter = count + 1, 0
            found.append(f"{chapter}.{count}")
    return found
