"""Small books of chapters for the tests of the report, and a report of them in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from streaming_lab.report import record
from streaming_lab.report.provenance import with_outputs, without_outputs
from streaming_lab.report.render.page import render_page

PROJECT = Path(__file__).resolve().parent.parent
SOURCE = PROJECT / "src"
COMMAND = "import sys, pathlib; from streaming_lab.cli import run; from streaming_lab.report.cli import main; "
COMMAND += "raise SystemExit(run(lambda: main(sys.argv[2:], pathlib.Path(sys.argv[1]))))"


def prose(text: str) -> Any:
    """A cell of prose."""
    return new_markdown_cell(text)


def code(source: str, id: str, *tags: str, outputs: Sequence[Any] = ()) -> Any:
    """A cell of code."""
    return new_code_cell(source, id=id, metadata={"tags": list(tags)}, outputs=list(outputs))


def parameters(source: str = "") -> Any:
    """A parameters cell."""
    return code(source, "parameters", "parameters")


def write(folder: Path, name: str, *cells: Any, needs: Sequence[str] = (), by_name: bool = False) -> Path:
    """A chapter as a file; its kernel is one that no machine has, as in a notebook saved elsewhere."""
    notebook = new_notebook(cells=list(cells))
    notebook.metadata.kernelspec = {"name": "elsewhere", "display_name": "Elsewhere", "language": "python"}
    if needs or by_name:
        notebook.metadata.lab = {"needs": list(needs), "by_name": by_name}
    path = folder / f"{name}.ipynb"
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@dataclass(frozen=True)
class Report:
    """What a report left behind."""

    exit_code: int
    out: str
    err: str
    build: Path

    @property
    def record(self) -> dict[str, Any]:
        """run.json."""
        record: dict[str, Any] = json.loads((self.build / "run.json").read_text(encoding="utf-8"))
        return record

    @property
    def page(self) -> str:
        """report.html."""
        return (self.build / "report.html").read_text(encoding="utf-8")

    def cells(self, name: str) -> dict[str, Any]:
        """The executed cells of a chapter by id."""
        notebook = nbformat.read(self.build / f"{name}.ipynb", as_version=4)
        return {cell.id: cell for cell in notebook.cells}


def start(folder: Path, build: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A report of the chapters in `folder`, started from a folder that is not the project's."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), *arguments],
        cwd=folder,
        env={**os.environ, "LAB_BUILD": str(build), "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report(folder: Path, *arguments: str) -> Report:
    """The finished report of the chapters in `folder`."""
    build = folder.parent / "build"
    with start(folder, build, *arguments) as process:
        out, err = process.communicate(timeout=300)
    return Report(process.returncode, out, err, build)


# The parameters of the one report of the project's own chapters that many tests look at.
SMALL = {"requests": 300, "players": 20, "each": 100, "author": "Ada L.", "student": "ada", "challenge": "owl"}


def project_report(build: Path, *arguments: str) -> Report:
    """`scripts/report.py` in a lab home of its own."""
    own = {**os.environ, "LAB_BUILD": str(build), "LAB_HOME": str(build.parent / "home")}
    command = [sys.executable, "scripts/report.py", *arguments]
    ran = subprocess.run(command, cwd=PROJECT, env=own, capture_output=True, text=True, check=False)
    return Report(ran.returncode, ran.stdout, ran.stderr, build)


def renew(folder: Path) -> None:
    """What a careful forger does last: the page rendered again from record and notebooks, and all hashes renewed."""
    run = without_outputs(record.Run.from_json((folder / "run.json").read_text()))
    notebooks = {path.stem: nbformat.read(path, 4) for path in folder.glob("*.ipynb")}
    (folder / "report.html").write_text(render_page(run, notebooks))
    (folder / "run.json").write_text(with_outputs(run, folder).to_json())


def stream(text: str, name: str = "stdout") -> Any:
    """What a cell printed."""
    return new_output("stream", name=name, text=text)


def shown(data: dict[str, Any], **metadata: Any) -> Any:
    """What a cell displayed."""
    return new_output("display_data", data=data, metadata=metadata)


def raised(name: str, message: str, *lines: str) -> Any:
    """What a cell raised."""
    return new_output("error", ename=name, evalue=message, traceback=list(lines))


def chapter(
    number: int, title: str, *cells: Any, failure: record.Failure | None = None
) -> tuple[record.ChapterRecord, Any]:
    """A chapter that has run, as record and notebook."""
    name = f"{number:02d}-{title.lower().replace(' ', '-')}"
    notebook = new_notebook(cells=[prose(f"# {title}\n\nOne promise with `code`."), *cells])
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    parts = tuple(record.Cell(cell.id, f"{number}.{index}", "passed", 0.1) for index, cell in enumerate(ran, 1))
    return record.ChapterRecord(name, number, title, "failed" if failure else "passed", 1.5, parts, failure), notebook


def page(*chapters: tuple[record.ChapterRecord, Any], folder: Path | None = None, **more: Any) -> str:
    """The page of a run of these chapters; a chapter without a notebook did not run."""
    failed = next((one.failure for one, _ in chapters if one.failure), None)
    run = record.Run(
        **{
            "status": "failed" if failed else "passed",
            "reason": failed.problem if failed else "Every request is accounted for.",
            "exit_code": 1 if failed else 0,
            "command": "python3 scripts/report.py -p seed 205",
            "started": datetime(2026, 11, 24, 22, 14, 2, tzinfo=UTC),
            "ended": datetime(2026, 11, 24, 22, 14, 17, tzinfo=UTC),
            "seconds": 14.8,
            "chapters": tuple(one for one, _ in chapters),
            "ledger": None,
            "parameters": {"seed": 205, "log": "confirmed"},
            "versions": {"python": "3.11.7", "pandas": "3.1.0"},
            "commit": "9505cacb7c710ed17125fcc6cb3669e8ddca6c8c",
            "dirty": False,
            "hashes": {"requirements.txt": "0c03" * 16},
            **more,
        }
    )
    return render_page(run, {one.name: notebook for one, notebook in chapters if notebook is not None}, folder)
