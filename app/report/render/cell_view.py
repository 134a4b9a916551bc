"""What the page does with each cell: anchor and number; folded, hidden or read as prose; its streams in one piece."""

import ast
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from streaming_lab.report import record
from streaming_lab.report.chapter import INJECTED, cell_tags, chapter_numbers

LONG_CELL = 40  # lines of code after which a cell may be split between two printed pages
OUTPUTS = 60  # of one cell


@dataclass
class Anchors:
    """The ids of the page: each only once."""

    taken: set[str] = field(
        default_factory=lambda: {"verdict", "provenance", "theme-auto", "theme-light", "theme-dark"}
    )

    def take(self, wanted: str) -> str:
        """`wanted`, or with a number when another cell has it already."""
        name, count = wanted, 2
        while name in self.taken or f"{name}-title" in self.taken:
            name, count = f"{wanted}-{count}", count + 1
        self.taken |= {name}
        return name


def prepare_cells(notebook: Any, chapter: record.ChapterRecord, anchors: Anchors) -> Any:
    """A copy of an executed notebook in which every cell carries what the template asks: `cell.page`."""
    notebook = deepcopy(notebook)
    failed = chapter.failure.cell if chapter.failure else ""
    stopped = False
    for cell, number in zip(notebook.cells, chapter_numbers(chapter.number, notebook.cells), strict=True):
        page: dict[str, Any] = {"number": number, "hidden": False}
        if cell.cell_type == "code":
            is_failed = bool(failed) and cell.get("id") == failed
            cell.outputs = merge_outputs(cell.outputs)
            page |= cell_look(cell, is_failed)
            page["anchor"] = anchors.take(cell.get("id") or f"cell-{number}")
            page["failure"] = chapter.failure.problem if is_failed and not raised(cell) and chapter.failure else ""
            stopped = stopped or is_failed
        cell["page"] = page
    if stopped:
        note_pending(notebook, failed)
    return notebook


def cell_look(cell: Any, failed: bool) -> dict[str, Any]:
    """How a code cell appears: a failed one always in full."""
    names = set(cell_tags(cell))
    lines = len(cell.source.splitlines())
    return {
        "hidden": not failed and ("test" in names or not cell.source.strip()),
        "fold": "" if failed else cell_label(cell, names, lines),
        "reading": not failed and is_reading(cell, names),
        "long": lines > LONG_CELL,
    }


def cell_label(cell: Any, names: set[str], lines: int) -> str:
    """The one line that stands for folded code; empty when the code is shown."""
    counted = f"{lines} line{'s' * (lines != 1)}"
    own = cell.metadata.get("lab", {}).get("title") or cell.metadata.get("title")
    if own:
        return f"{own}, {counted}"
    if INJECTED in names:
        return f"Parameters as given, {counted}"
    if "parameters" in names:
        return f"Parameters, {counted}"
    if "machinery" in names:
        return f"{'Imports' if only_imports(cell.source) else 'Code'}, {counted}"
    return ""


def only_imports(source: str) -> bool:
    """Whether a cell does nothing but import."""
    try:
        return all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in ast.parse(source).body)
    except SyntaxError:
        return False


def is_reading(cell: Any, names: set[str]) -> bool:
    """Whether a cell only says computed prose: machinery or one `Markdown(...)`, and only Markdown came out."""
    if not cell.outputs or not all("text/markdown" in output.get("data", {}) for output in cell.outputs):
        return False
    return "machinery" in names or is_markdown_call(cell.source)


def is_markdown_call(source: str) -> bool:
    """Whether a cell's whole source is one call of `Markdown`."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "Markdown"


def raised(cell: Any) -> bool:
    """Whether a cell's outputs tell its error."""
    return any(output.output_type == "error" for output in cell.outputs)


def merge_outputs(outputs: Iterable[Any]) -> list[Any]:
    """Outputs with neighbouring pieces of a stream in one piece; widgets (progress bars) are for the live notebook."""
    result: list[Any] = []
    for output in outputs:
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            continue
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
    """Say before the first cell that was not reached how many were not."""
    position = next(index for index, cell in enumerate(notebook.cells) if cell.get("id") == failed)
    rest = [cell for cell in notebook.cells[position + 1 :] if cell.cell_type == "code" and not cell.page["hidden"]]
    if rest:
        count = "The cell below" if len(rest) == 1 else f"The {len(rest)} cells below"
        notebook.cells[position + 1].page["pending_note"] = f"{count} did not run."
