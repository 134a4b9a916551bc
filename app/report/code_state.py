"""The code behind a run: its tree hashes, and its changes since the commit; a student's own cells are not code."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streaming_lab.paths import PROJECT, tree_hash
from streaming_lab.report.chapter import cell_tags
from streaming_lab.report.exercises import STUDENTS

CODE_FOLDERS = ("app", "scripts")


def tree_hashes(project: Path = PROJECT) -> dict[str, str]:
    """The SHA-256 of each folder of code: of the names and bytes of its files, whatever their times and owners."""
    return {name: tree_hash(project / name) for name in CODE_FOLDERS if (project / name).is_dir()}


def changed_code() -> list[str]:
    """The files of code, and the chapters with given cells, that differ from the commit."""
    lines = (git_facts("status", "--porcelain", "--untracked-files=all", "--", *CODE_FOLDERS) or "").splitlines()
    changed = [line.split(maxsplit=1)[1].split(" -> ")[-1].strip('"') for line in lines]
    edited = git_facts("diff", "--name-only", "--relative", "HEAD", "--", ":(glob)notebooks/*.ipynb") or ""
    return changed + [name for name in edited.splitlines() if changes_given_cells(PROJECT / name, name)]


def changes_given_cells(path: Path, name: str) -> bool:
    """Does the notebook at `path` lack, change or reorder a cell that the commit gives it? More cells are no change."""
    text = git_facts("show", f"HEAD:./{name}")
    if text is None:
        return False  # it was added since the commit
    try:
        there = given_cells(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return True
    given = given_cells(json.loads(text))
    return [cell for cell in there if cell[0] in {one[0] for one in given}] != given


def given_cells(notebook: Mapping[str, Any]) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """A notebook's cells as a chapter gives them: id, kind, source, tags; without those that a student fills."""
    return [
        (
            str(cell.get("id")),
            str(cell["cell_type"]),
            "".join(cell["source"]),
            tuple(sorted(cell_tags(cell))),
        )
        for cell in notebook["cells"]
        if STUDENTS.isdisjoint(cell_tags(cell))
    ]


def git_facts(*arguments: str) -> str | None:
    """The output of a git command in this project; None without git or outside a repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.rstrip("\n")
