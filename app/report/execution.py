"""One chapter while it runs: its limits of time, and what its cells did so far."""

import time
from dataclasses import dataclass, field
from typing import Any

from streaming_lab.report import chapter as chapters
from streaming_lab.report import record
from streaming_lab.report.kernel import Kernels
from streaming_lab.report.progress import Progress


@dataclass(frozen=True)
class Limits:
    """When to stop waiting, in seconds: for one cell, and (as a time of `time.monotonic`) for the run."""

    cell: float
    deadline: float
    run: float

    def of_cell(self) -> tuple[float, str]:
        """How long the next cell may take, and what to say when it took longer."""
        left = self.deadline - time.monotonic()
        if left < self.cell:
            return max(left, 0.05), f"was still running when the run reached its limit of {self.run:g} s (--timeout)"
        return self.cell, f"was still running after {self.cell:g} s (--cell-timeout)"


@dataclass
class Execution:
    """One chapter while it runs: what its cells did so far."""

    chapter: chapters.Chapter
    kernels: Kernels
    progress: Progress
    limits: Limits
    following: chapters.Chapter | None = None
    gave_up: bool = False
    notebook: Any = None
    ids: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    seconds: dict[int, float] = field(default_factory=dict)
    current: int | None = None
    failed: int | None = None
    overdue: str = ""
    began: float = 0.0

    def open(self, notebook: Any) -> None:
        """papermill has put the parameters in: now the cells are known."""
        self.notebook = notebook
        for cell in notebook.cells:
            if chapters.INJECTED in chapters.tags(cell):
                cell["id"] = chapters.INJECTED
        self.ids = [cell.get("id", "") for cell in notebook.cells]  # papermill adds cells to a failed notebook
        self.numbers = chapters.numbers(self.chapter.number, notebook.cells)

    def start(self, index: int) -> None:
        """Cell `index` starts."""
        self.current, self.began = index, time.monotonic()
        if self.numbers[index]:
            self.progress.begin(f"  {self.numbers[index]:<6} {self.ids[index]}")

    def finish(self, index: int) -> None:
        """Cell `index` is over, one way or the other."""
        self.seconds[index] = round(time.monotonic() - self.began, 3)
        if self.numbers[index]:
            self.progress.end("failed" if index == self.failed else "")

    def cells(self) -> tuple[record.Cell, ...]:
        """The code cells as the record has them."""
        return tuple(self.cell(index) for index, number in enumerate(self.numbers) if number)

    def cell(self, index: int) -> record.Cell:
        """One code cell as the record has it."""
        done = index in self.seconds
        status: Any = "failed" if index == self.failed else "passed" if done else "pending"
        return record.Cell(self.ids[index], self.numbers[index], status, self.seconds.get(index))

    def failure(self, kind: Any, problem: str) -> record.Failure:
        """A failure in the current cell."""
        if self.current is None:
            return record.Failure(kind, problem)
        return record.Failure(kind, problem, self.ids[self.current], self.numbers[self.current])
