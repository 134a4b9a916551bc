"""Decides how each cell appears on the page: anchor, number, folded, hidden or as prose; joins neighbouring streams."""

import ast
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from streaming_lab.report import exercises, record
from streaming_lab.report.chapter import INJECTED, cell_tags, chapter_numbers
from streaming_lab.report.render import glossary
from streaming_lab.wording import counted

MOST_UNSPLIT_LINES = 16  # of code; a longer cell may be split between two printed pages
GLOSSARY_ANCHORS = {glossary.ANCHOR, *(term.anchor for term in glossary.GLOSSARY)}
BOXES = ("recap", "question", exercises.ANSWER)  # tags of prose that stands in a box of its own


@dataclass
class Anchors:
    """Keeps the ids of the page unique."""

    taken: set[str] = field(
        default_factory=lambda: {"verdict", "provenance", "theme-auto", "theme-light", "theme-dark", *GLOSSARY_ANCHORS}
    )

    def take(self, wanted: str) -> str:
        """Reserve `wanted`, with a number appended when the page already has that id."""
        name, count = wanted, 2
        while name in self.taken or f"{name}-title" in self.taken:
            name, count = f"{wanted}-{count}", count + 1
        self.taken |= {name}
        return name


def prepare_cells(notebook: Any, chapter: record.ChapterRecord, anchors: Anchors) -> Any:
    """Copy an executed notebook and attach to each cell the values that the template reads, as `cell.page`."""
    notebook = deepcopy(notebook)
    failed = chapter.failure.cell if chapter.failure else ""
    stopped = False
    for cell, number in zip(notebook.cells, chapter_numbers(chapter.number, notebook.cells), strict=True):
        page: dict[str, Any] = {"number": number, "hidden": False}
        if cell.cell_type == "code":
            is_failed = bool(failed) and cell.get("id") == failed
            cell.outputs = merge_outputs(cell.outputs)
            page |= cell_appearance(cell, is_failed)
            page["anchor"] = anchors.take(cell.get("id") or f"cell-{number}")
            page["failure"] = (
                chapter.failure.problem if is_failed and not has_error_output(cell) and chapter.failure else ""
            )
            stopped = stopped or is_failed
        elif cell.cell_type == "markdown":
            page |= prose_appearance(cell)
        cell["page"] = page
    if stopped:
        note_pending(notebook, failed)
    return notebook


def prose_appearance(cell: Any) -> dict[str, Any]:
    """Choose the box of a cell of prose; an answer cell shows what a person wrote into it, or that nobody has."""
    tags = set(cell_tags(cell))
    box = next((name for name in BOXES if name in tags), "")
    if box != exercises.ANSWER:
        return {"box": box}
    cell.source = exercises.own_answer(cell.source)
    return {"box": box, "empty": not cell.source}


def cell_appearance(cell: Any, failed: bool) -> dict[str, Any]:
    """Choose how a code cell appears; a failed cell always appears in full."""
    tags = set(cell_tags(cell))
    lines = len(cell.source.splitlines())
    return {
        "hidden": not failed and ("test" in tags or not cell.source.strip()),
        "fold": "" if failed else cell_label(cell, tags, lines),
        "reading": not failed and is_computed_prose(cell, tags),
        "writes": f"The code that writes this, {counted(lines, 'line')}",
        "own": exercises.EXERCISE in tags,
        "long": lines > MOST_UNSPLIT_LINES,
    }


def cell_label(cell: Any, tags: set[str], lines: int) -> str:
    """Return the summary line of a folded cell; empty when the code is shown."""
    size = counted(lines, "line")
    title = cell.metadata.get("lab", {}).get("title") or cell.metadata.get("title")
    if title:
        return f"{title}, {size}"
    if INJECTED in tags:
        return f"Parameters as given, {size}"
    if "parameters" in tags:
        return f"Parameters, {size}"
    if "machinery" in tags:
        return f"{'Imports' if only_imports(cell.source) else 'Code'}, {size}"
    return ""


def only_imports(source: str) -> bool:
    """Tell whether a cell consists of imports only."""
    try:
        return all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in ast.parse(source).body)
    except SyntaxError:
        return False


def is_computed_prose(cell: Any, tags: set[str]) -> bool:
    """Tell whether a cell shows computed prose: machinery or one `Markdown(...)` call, with only Markdown outputs."""
    if not cell.outputs or not all("text/markdown" in output.get("data", {}) for output in cell.outputs):
        return False
    return "machinery" in tags or is_markdown_call(cell.source)


def is_markdown_call(source: str) -> bool:
    """Tell whether a cell's whole source is one call of `Markdown`."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "Markdown"


def has_error_output(cell: Any) -> bool:
    """Tell whether a cell's outputs include an exception."""
    return any(output.output_type == "error" for output in cell.outputs)


def merge_outputs(outputs: Iterable[Any]) -> list[Any]:
    """Join neighbouring pieces of a stream."""
    result: list[Any] = []
    for output in outputs:
        last = result[-1] if result else None
        if last and last.output_type == output.output_type == "stream" and last.name == output.name:
            last["pieces"].append(output.text)
        else:
            if output.output_type == "stream":
                output["pieces"] = [output.text]
            result.append(output)
    for output in result:
        if output.output_type == "stream":
            output["text"] = "".join(output.pop("pieces"))
    return result


def note_pending(notebook: Any, failed: str) -> None:
    """Attach the number of cells that did not run to the first of these."""
    position = next(index for index, cell in enumerate(notebook.cells) if cell.get("id") == failed)
    rest = [cell for cell in notebook.cells[position + 1 :] if cell.cell_type == "code" and not cell.page["hidden"]]
    if rest:
        count = "The cell below" if len(rest) == 1 else f"The {len(rest)} cells below"
        notebook.cells[position + 1].page["pending_note"] = f"{count} did not run."
