"""The chapters as notebooks: clean when committed, readable by rule, and each runs alone as papermill runs it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
import pytest

from streaming_lab.analysis.measured import comparable
from streaming_lab.report.chapter import Chapter

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
LONGEST = 15  # lines of a code cell
GOALS = r"\n\nAfter this chapter you can say:\n(\n- [^\n]+){2,4}"


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf8"))["cells"]
    return found


def tagged(cell: dict[str, Any], tag: str) -> bool:
    return tag in cell["metadata"].get("tags", [])


def lesson(path: Path) -> list[dict[str, Any]]:
    """The cells a reader sees: without imports, parameters, readings and hidden guards."""
    return [cell for cell in cells(path) if not any(tagged(cell, tag) for tag in ("machinery", "parameters", "test"))]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem[:2])
def notebook(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_is_committed_without_outputs(notebook: Path) -> None:
    """No outputs, no counts: what a chapter shows is computed when it runs."""
    assert [
        c["id"] for c in cells(notebook) if c["cell_type"] == "code" and (c["outputs"] or c["execution_count"])
    ] == []


def test_is_written_as_jupyterlab_writes_it(notebook: Path) -> None:
    """Saved without an edit it is the same file, and its metadata name no machine's kernel."""
    text = notebook.read_text(encoding="utf8")
    assert nbformat.writes(nbformat.reads(text, 4)) + "\n" == text
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert {**json.loads(text)["metadata"], "lab": None} == {
        "kernelspec": kernel,
        "language_info": {"name": "python"},
        "lab": None,  # a chapter's own: the results that it must save
    }


def test_machinery_is_folded_in_jupyterlab_as_on_the_page(notebook: Path) -> None:
    """The cells that the page folds or leaves out, and no other."""
    hidden = [cell["id"] for cell in cells(notebook) if cell["metadata"].get("jupyter", {}).get("source_hidden")]
    assert hidden == [cell["id"] for cell in cells(notebook) if tagged(cell, "machinery") or tagged(cell, "test")]
    assert hidden


def test_has_hand_written_ids(notebook: Path) -> None:
    """Cell ids are words: they become anchors of the page, and are unique in the chapter."""
    ids = [cell["id"] for cell in cells(notebook)]
    assert [
        one for one in ids if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one) or re.fullmatch(r"[0-9a-f]{8}", one)
    ] == []
    assert len(set(ids)) == len(ids)


def test_begins_as_every_chapter_does(notebook: Path) -> None:
    """H1, a one-line promise and what one can say afterwards, then the imports, then the parameters."""
    title, imports, parameters = cells(notebook)[:3]
    assert re.fullmatch(rf"# [^\n]+\n\n[^\n]+({GOALS})?", "".join(title["source"]))
    assert all(re.match(r"(from|import) |\s*$", line) for line in imports["source"])
    assert tagged(parameters, "parameters")


def test_is_read_in_small_steps(notebook: Path) -> None:
    """Short code cells, never more than two in a row, and prose that leads into code ends in a colon or a full stop."""
    code = [cell for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code if len(cell["source"]) > LONGEST] == []
    runs = [
        len(list(run)) for kind, run in groupby(lesson(notebook), key=lambda cell: cell["cell_type"]) if kind == "code"
    ]
    assert max(runs) <= 2
    steps = zip(lesson(notebook), lesson(notebook)[1:], strict=False)
    leads = {one["id"]: "".join(one["source"]).rstrip() for one, two in steps if leads_into(one, two)}
    assert leads
    assert [name for name, text in leads.items() if not text.endswith((":", "."))] == []


def leads_into(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Is this prose, and what follows code?"""
    return (one["cell_type"], two["cell_type"]) == ("markdown", "code")


def test_nothing_is_installed_or_asked(notebook: Path) -> None:
    """No !pip, no input(): a chapter runs unattended."""
    source = "\n".join("".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code")
    assert not re.search(r"^\s*[!%]|\binput\(", source, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["01", "02"])
def test_imports_nothing_that_it_does_not_use(number: str) -> None:
    """A chapter without a frame does not wait for pandas: half of its kernel's start."""
    (path,) = (one for one in NOTEBOOKS if one.stem.startswith(number))
    program = "import importlib, sys\nfor name in sys.argv[1:]:\n try: importlib.import_module(name)\n"
    program += " except ImportError: pass\nprint('pandas' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program, *Chapter(path).imports], capture_output=True, text=True, cwd=PROJECT, check=True
    )
    assert ran.stdout == "False\n"


def papermill(path: Path, out: Path, *parameters: str) -> dict[str, Any]:
    """Run a chapter with papermill's own command line, outside the report; returns the executed notebook."""
    environment = {name: value for name, value in os.environ.items() if name != "LAB_BUILD"}
    command = [sys.executable, "-m", "papermill", str(path), str(out), "--kernel", "python3", "--no-progress-bar"]
    ran = subprocess.run(
        [*command, *parameters], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    executed: dict[str, Any] = json.loads(out.read_text(encoding="utf8"))
    return executed


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Chapter 03 by the README's papermill line, typed where files of one's own have the names of libraries."""
    (line,) = re.findall(r"`(papermill [^`]*)`", (PROJECT / "README.md").read_text(encoding="utf8"))
    folder = tmp_path_factory.mktemp("typed")
    (folder / "notebooks").symlink_to(PROJECT / "notebooks")
    for name in ("kafka", "select", "requests"):
        (folder / f"{name}.py").write_text("raise RuntimeError('this file hides a library')")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(line.split(), cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    executed: dict[str, Any] = json.loads((folder / "out.ipynb").read_text(encoding="utf8"))
    return executed


@pytest.mark.slow
def test_the_readmes_papermill_line_runs(typed: dict[str, Any]) -> None:
    """With the parameter that it gives."""
    assert "**500 requests**" in json.dumps(typed["cells"])


@pytest.mark.slow
@pytest.mark.parametrize("number", ["01", "02"])
def test_each_cell_can_run_twice(number: str, tmp_path: Path) -> None:
    """As a person does in JupyterLab, in a chapter by itself: the second run of a cell gives what the first gave, and
    the later ones hold.
    """
    (path,) = (one for one in NOTEBOOKS if one.stem.startswith(number))
    notebook = json.loads(path.read_text(encoding="utf8"))
    twice = []
    for cell in notebook["cells"]:
        again = cell["cell_type"] == "code" and not tagged(cell, "parameters")
        twice += [cell, {**cell, "id": f"{cell['id']}-again"}] if again else [cell]
    changed = tmp_path / path.name
    changed.write_text(json.dumps({**notebook, "cells": twice}), encoding="utf8")
    papermill(changed, tmp_path / "out.ipynb")


@pytest.fixture
def again(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Chapter 03 played once more as the README's line plays it, by papermill's own command line, as it compares."""
    (path,) = (one for one in NOTEBOOKS if one.stem.startswith("03"))
    return lambda *more: comparable(papermill(path, tmp_path / "out.ipynb", "-p", "requests", "500", *more))


@pytest.mark.slow
def test_two_runs_agree_in_all_that_is_not_measured(
    typed: dict[str, Any], again: Callable[..., list[dict[str, Any]]]
) -> None:
    """Chapter 03 twice with the same parameters, the second on the used topic: equal but for times, ports and ids."""
    first, second = comparable(typed), again()
    assert [a["id"] for a, b in zip(first, second, strict=True) if a != b and "id" in a] == []
    assert first == second


@pytest.mark.slow
def test_two_other_crowds_differ(typed: dict[str, Any], again: Callable[..., list[dict[str, Any]]]) -> None:
    """The comparison can fail: another seed is another report."""
    one, other = comparable(typed), again("-p", "seed", "2")
    changed = {a["id"] for a, b in zip(one, other, strict=True) if a != b and "id" in a}
    assert {"events-by-type", "top-players", "replay-equals-world"} <= changed
