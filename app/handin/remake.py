"""Chapters made again: the reference's own cells run on what a hand-in kept, and their outputs are compared with its.

Only cells of this checkout run, never one of the hand-in. Kafka, servers and clocks are stand-ins; a cell that asks
for more than was kept is a cell of which nothing can be told.
"""

import ast
import builtins
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from IPython.core.formatters import DisplayFormatter

from streaming_lab.analysis.measured import comparable_output, joined, merge_spans
from streaming_lab.errors import LabError
from streaming_lab.handin.check import Check, Contradiction, cannot_tell, conclude, found
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.handin.stand_ins import NotKept, StandIns
from streaming_lab.paths import PROJECT
from streaming_lab.report.chapter import INJECTED, Chapter, cell_tags, find_chapters
from streaming_lab.report.code_state import given_cells
from streaming_lab.report.exercises import is_exercise, students_cells
from streaming_lab.wording import counted

VOLATILE = {"application/vnd.jupyter.widget-view+json"}


@dataclass(frozen=True)
class Remade:
    """A cell made again: its outputs, its error, why it could not be made, and whether values were guessed."""

    outputs: list[dict[str, Any]]
    error: str = ""
    untold: str = ""
    guessed: bool = False


def reference_chapters() -> dict[str, Chapter]:
    """The chapters of this checkout by name."""
    return {chapter.name: chapter for chapter in find_chapters(PROJECT / "notebooks")}


def remake_chapter(kept: KeptRun, chapter: Chapter) -> tuple[dict[str, Remade], dict[str, Any]]:
    """Run the reference chapter on what was kept: each code cell by id, and the results that it hands to the report.

    Exercises are left out: what their checks showed depends on what a student filled, which is never run.
    """
    stand_ins = StandIns(kept)
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": restricted_builtins(stand_ins)}
    made: dict[str, Remade] = {}
    for cell in chapter.document["cells"]:
        if cell["cell_type"] == "code" and not is_exercise(cell):
            stand_ins.guessed = False
            made[cell["id"]] = remake_cell("".join(cell["source"]), namespace, stand_ins)
            if "parameters" in cell_tags(cell):
                namespace.update(kept.checked_parameters(chapter.parameters))
            if made[cell["id"]].error:
                break
    return made, stand_ins.results


def restricted_builtins(stand_ins: StandIns) -> dict[str, Any]:
    """The builtins of the reference's cells, with imports through the stand-ins."""
    return {**vars(builtins), "__import__": stand_ins.importer()}


def remake_cell(source: str, namespace: dict[str, Any], stand_ins: StandIns) -> Remade:
    """Run one cell of the reference and format its last expression as a kernel does."""
    printed = io.StringIO()
    body = ast.parse(source).body
    last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
    shown: Any = None
    try:
        with redirect_stdout(printed):
            exec(compile(ast.Module(body[:-1] if last else body, []), "<reference>", "exec"), namespace)  # noqa: S102  # this checkout's cell
            if last is not None:
                expression = compile(ast.Expression(last.value), "<reference>", "eval")
                shown = eval(expression, namespace)  # noqa: S307  # this checkout's cell
    except NotKept as missing:
        return Remade([], untold=f"not kept: {missing}")
    except NameError as missing:
        return Remade([], untold=f"it needs a cell that can't be made again ({missing})")
    except LabError as missing:
        return Remade([], untold=missing.problem)
    except AssertionError as error:
        return Remade([], error=f"AssertionError: {error}".strip().rstrip(":"))
    except Exception as error:  # kept data of any shape went through the reference's code
        return Remade([], untold=f"the reference's cell raised {type(error).__name__} on what was kept: {error}"[:300])
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue()})
    if shown is not None:
        data, metadata = DisplayFormatter().format(shown)  # type: ignore[no-untyped-call]
        outputs.append({"output_type": "execute_result", "data": data, "metadata": metadata})
    return Remade(outputs, guessed=stand_ins.guessed)


def compare_chapter(kept: KeptRun, name: str, chapter: Chapter) -> tuple[Check, dict[str, Any]]:
    """The check of one chapter's outputs, and the results that the reference's cells handed to the report."""
    title = f"outputs {chapter.number:02d}"
    notebook = kept.hand_in.notebooks.get(name)
    if notebook is None:
        return cannot_tell(title, kept.hand_in.unreadable.get(f"{name}.ipynb", f"there is no {name}.ipynb")), {}
    try:
        made, results = remake_chapter(kept, chapter)
    except LabError as missing:
        return cannot_tell(title, missing.problem), {}
    findings, equal, untold = [], 0, dict[str, str]()
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code" or cell.get("id") not in made or cell.get("execution_count") is None:
            continue
        again = made[cell["id"]]
        if not cell["outputs"] and not again.outputs and not again.error:
            continue
        difference = compare_cell(f"{name}.ipynb, cell {cell['id']}", cell, again)
        if isinstance(difference, Contradiction):
            findings.append(difference)
        elif difference:
            untold[cell["id"]] = difference
        else:
            equal += 1
    said = f"{counted(equal, 'output')} made again, equal"
    if untold:
        said += f"; of {counted(len(untold), 'output')} nothing can be told: {', '.join(untold)}"
    doubt = kept.hand_in.other_version or own_cells_before(notebook, chapter)
    if not findings and not equal:
        return cannot_tell(title, said), results
    return conclude(title, said, findings, doubt=doubt), results


def compare_cell(place: str, cell: Mapping[str, Any], again: Remade) -> Contradiction | str:
    """A finding, or why nothing can be told; empty if the outputs are equal."""
    if again.untold:
        return again.untold
    raised = next((f"{one['ename']}: {one['evalue']}" for one in cell["outputs"] if one["output_type"] == "error"), "")
    if again.error or raised:
        same = again.error.split(":")[0] == raised.split(":")[0]
        return "" if same else found(place, raised or "no error", again.error or "no error")
    there, here = [list(normalized(outputs)) for outputs in (cell["outputs"], again.outputs)]
    if there == here:
        return ""
    blank = [merge_spans([comparable_output(one) for one in outputs]) for outputs in (cell["outputs"], again.outputs)]
    if again.guessed and blank[0] == blank[1]:
        return "its measured values were not kept"
    return found(place, *first_difference(there, here))


def normalized(outputs: Any) -> Iterator[tuple[str, Any]]:
    """(kind, content) of each piece of the outputs, neighbouring streams joined."""
    stream = ""
    for output in outputs:
        if output["output_type"] == "stream":
            stream += "".join(output["text"])
            continue
        for kind, value in sorted(output.get("data", {}).items()):
            if kind not in VOLATILE:
                yield kind, plain(value)
    if stream:
        yield "stream", stream


def plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    value = joined(value)
    return value if isinstance(value, str) else json.loads(json.dumps(value))


def first_difference(there: list[tuple[str, Any]], here: list[tuple[str, Any]]) -> tuple[str, str]:
    """The two texts around the first place where they differ, of the first piece that differs."""
    for one, two in zip(there, here, strict=False):
        if one != two:
            return excerpts(*[as_text(piece[1]) for piece in (one, two)])
    return f"{len(there)} pieces of output", f"{len(here)} pieces of output"


def as_text(value: Any) -> str:
    """A piece of output as text."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


AROUND = 40  # characters before and after a difference that are shown


def excerpts(one: str, two: str) -> tuple[str, str]:
    """Two texts cut to the neighbourhood of their first difference."""
    at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    part = slice(max(0, at - AROUND), at + AROUND)
    return one[part], two[part]


def own_cells_before(notebook: Mapping[str, Any], chapter: Chapter) -> str:
    """A sentence if cells of the student's own ran in this chapter, which are not run here; empty otherwise."""
    given = {cell[0] for cell in given_cells(chapter.document)} | {cell for cell, _ in students_cells(chapter.document)}
    own = [
        str(cell.get("id"))
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and cell.get("id") not in given and INJECTED not in cell_tags(cell)
    ]
    return f"cells of the student's own ran in it, and are not run here: {', '.join(own[:5])}" if own else ""
