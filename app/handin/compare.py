"""Two runs with the same parameters, cell by cell and frame by frame: identical, within measure, different, missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from streaming_lab.analysis.measured import comparable_cell
from streaming_lab.handin.check import Check, Contradiction, cannot_tell, conclude, found
from streaming_lab.handin.remake import first_difference, normalized
from streaming_lab.report.chapter import Chapter
from streaming_lab.report.exercises import is_exercise
from streaming_lab.wording import counted

# Frame -> the columns that two runs with the same parameters share, in an order that both have.
SETTLED: Mapping[str, tuple[list[str], list[str]]] = {
    "requests": (["player", "sequence"], ["player", "sequence", "action", "status", "answer"]),
    "events": (["player", "partition", "offset"], ["player", "event_type", "partition", "key", "guild", "user_agent"]),
    "rejects": (["partition", "offset"], ["partition", "reason", "raw"]),
    "deliveries": (["fault", "variant"], ["fault", "variant", "safe", "requests", "left"]),
    "keys": (["partitions", "keying"], ["partitions", "keying", "events", "players"]),
    "acks": (["fault", "acks"], ["fault", "acks", "kills"]),
    "effects": (["kind", "seen_as"], ["kind", "seen_as", "events"]),
}


@dataclass
class Comparison:
    """The cells of two runs, counted; findings for those that differ or that one of them lacks."""

    identical: int = 0
    within: int = 0
    different: list[Contradiction] = field(default_factory=list)
    missing: list[Contradiction] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.identical:,} identical, {self.within:,} within their declared measure, "
            f"{len(self.different):,} different, {len(self.missing):,} missing"
        )

    def __iadd__(self, other: "Comparison") -> "Comparison":
        self.identical += other.identical
        self.within += other.within
        self.different += other.different
        self.missing += other.missing
        return self


def compare_notebooks(name: str, chapter: Chapter, there: Any, again: Any) -> Comparison:
    """The given cells of one executed chapter in two runs, without its exercises: what fills them is not run again."""
    result = Comparison()
    cells = [{cell["id"]: cell for cell in one["cells"]} for one in (there, again)]
    given = [cell["id"] for cell in chapter.document["cells"] if cell["cell_type"] == "code" and not is_exercise(cell)]
    for cell_id in given:
        place = f"{name}.ipynb, cell {cell_id}"
        left, right = (one.get(cell_id) for one in cells)
        if left is None or right is None or ran(left) != ran(right):
            result.missing.append(found(place, described(left), described(right)))
        elif list(normalized(left["outputs"])) == list(normalized(right["outputs"])):
            result.identical += 1
        elif comparable_cell(left)["outputs"] == comparable_cell(right)["outputs"]:
            result.within += 1
        else:
            pieces = (list(normalized(cell["outputs"])) for cell in (left, right))
            result.different.append(found(place, *first_difference(*pieces)))
    return result


def ran(cell: Mapping[str, Any]) -> bool:
    """Did the cell run?"""
    return cell.get("execution_count") is not None


def described(cell: Mapping[str, Any] | None) -> str:
    """A cell that is there, not there, or did not run."""
    return "not there" if cell is None else "ran" if ran(cell) else "did not run"


def compare_frames(there: Mapping[str, pd.DataFrame], again: Mapping[str, pd.DataFrame]) -> Comparison:
    """The settled columns of the frames of two runs, a frame counted as a cell."""
    result = Comparison()
    for name, (order, columns) in SETTLED.items():
        if name not in there and name not in again:
            continue
        if name not in there or name not in again:
            result.missing.append(found(f"{name}.parquet", str(name in there), str(name in again)))
            continue
        left, right = (sorted_rows(one[name], order, columns) for one in (there, again))
        if left == right:
            whole = there[name].equals(again[name])
            result.identical, result.within = result.identical + whole, result.within + (not whole)
        else:
            result.different.append(found(f"{name}.parquet", *different_row(left, right)))
    return result


def sorted_rows(frame: pd.DataFrame, order: list[str], columns: list[str]) -> list[list[str]]:
    """The rows of some columns as texts, in an order that does not depend on arrival."""
    rows = frame.sort_values(order, kind="stable")[columns]
    return [[str(value) for value in row] for row in rows.itertuples(index=False, name=None)]


def different_row(left: Sequence[list[str]], right: Sequence[list[str]]) -> tuple[str, str]:
    """The first rows that differ, or the numbers of rows."""
    for row, (one, two) in enumerate(zip(left, right, strict=False)):
        if one != two:
            return f"row {row}: {', '.join(one)}", f"row {row}: {', '.join(two)}"
    return counted(len(left), "row"), counted(len(right), "row")


def conclude_comparison(name: str, result: Comparison, doubt: str = "") -> Check:
    """The check of a comparison."""
    if not result.identical and not result.within and not result.different:
        return cannot_tell(name, f"{result}")
    return conclude(name, str(result), [*result.different, *result.missing], doubt=doubt)


def compare_chapters(
    chapters: Mapping[str, Chapter], there: Mapping[str, Any], again: Mapping[str, Any]
) -> dict[str, Comparison]:
    """Each chapter that ran in the first run, beside the second."""
    empty: dict[str, Any] = {"cells": []}
    return {
        name: compare_notebooks(name, chapters[name], notebook, again.get(name, empty))
        for name, notebook in there.items()
        if name in chapters
    }
