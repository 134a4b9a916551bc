"""The papermill engine: papermill's client on the lab's own kernels, with a record of each cell and time limits.

papermill alone saves a notebook whose kernel died with `exception: null`, and knows a limit per cell only.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers

from streaming_lab.report import chapter as chapters, record
from streaming_lab.report.exercises import exercise_states
from streaming_lab.report.kernels import KERNEL_NAME, Kernel, Kernels, describe_exit
from streaming_lab.report.progress import Progress
from streaming_lab.report.record import describe_full_disk


@dataclass(frozen=True)
class Limits:
    """The time limits in seconds: of one cell, of the run, and the run's end as a time of `time.monotonic`."""

    cell: float
    deadline: float
    run: float

    def of_cell(self) -> tuple[float, str]:
        """The seconds that the next cell may take, and the sentence for a cell that took longer."""
        left = self.deadline - time.monotonic()
        if left < self.cell:
            return max(left, 0.05), f"was still running when the run reached its limit of {self.run:g} s (--timeout)"
        return self.cell, f"was still running after {self.cell:g} s (--cell-timeout)"


SKIP = "skip-execution"  # nbclient's tag
ENDED_EARLY = "the cell ended its chapter early (sys.exit() or SystemExit)\nLet the cell return, or raise an error."


@dataclass
class Execution:
    """One chapter while it runs, and what its cells did so far."""

    chapter: chapters.Chapter
    kernels: Kernels
    progress: Progress
    limits: Limits
    upcoming: Sequence[chapters.Chapter] = ()
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
        """Take the notebook with its injected parameters, and number its cells."""
        self.notebook = notebook
        for cell in notebook.cells:
            if chapters.INJECTED in chapters.cell_tags(cell):
                cell["id"] = chapters.INJECTED
        self.ids = [cell.get("id", "") for cell in notebook.cells]  # papermill adds cells to a failed notebook
        self.numbers = chapters.chapter_numbers(self.chapter.number, notebook.cells)

    def start(self, index: int) -> None:
        """Note the start of cell `index`."""
        self.current, self.began = index, time.monotonic()
        if self.numbers[index]:
            doing = partial(record.read_progress, self.kernels.work)
            self.progress.begin(f"  {self.numbers[index]:<6} {self.ids[index]}", doing)

    def finish(self, index: int) -> None:
        """Note the end of cell `index`, passed or failed."""
        self.seconds[index] = round(time.monotonic() - self.began, 3)
        (self.kernels.work / record.DOING).unlink(missing_ok=True)
        if self.numbers[index]:
            self.progress.end("failed" if index == self.failed else "")

    def cells(self) -> tuple[record.Cell, ...]:
        """The records of all code cells."""
        return tuple(self.cell(index) for index, number in enumerate(self.numbers) if number)

    def cell(self, index: int) -> record.Cell:
        """The record of one code cell."""
        done = index in self.seconds
        status: Any = "failed" if index == self.failed else "passed" if done else "pending"
        return record.Cell(self.ids[index], self.numbers[index], status, self.seconds.get(index))

    def unfinished(self) -> record.Failure | None:
        """The failure of a chapter that ended without an error and without running each of its cells."""
        for index, number in enumerate(self.numbers):
            if number and SKIP in chapters.cell_tags(self.notebook.cells[index]):
                self.failed = self.current = index
                return self.failure("error", f"a cell did not run: it is tagged {SKIP}\nRemove the tag, or the cell.")
            if number and (index not in self.seconds or index == self.failed):
                self.failed = self.current = index if index == self.failed or not self.seconds else max(self.seconds)
                return self.failure("error", ENDED_EARLY)
        return None

    def failure(self, kind: Any, problem: str) -> record.Failure:
        """A failure in the current cell."""
        if self.current is None:
            return record.Failure(kind, problem)
        return record.Failure(kind, problem, self.ids[self.current], self.numbers[self.current])


LOG_LINES = 8  # of a dead kernel's log
CELL_GRACE = 0.7  # seconds in which an interrupted cell may say where it was
logger = logging.getLogger("papermill")


class Watch(NotebookExecutionManager):  # type: ignore[misc]
    """papermill's book-keeping, which also notes each cell in the execution and leaves unreached cells pending."""

    def __init__(self, notebook: Any, output_path: str | None, execution: Execution) -> None:
        super().__init__(notebook, output_path=output_path, progress_bar=False, autosave_cell_every=0)
        self.execution = execution
        execution.open(notebook)

    def save(self, **_: Any) -> None:
        """Save nothing: a save per cell costs more than most cells, and `execute` saves the notebook in every case."""

    def cell_start(self, cell: Any, cell_index: int | None = None, **_: Any) -> None:
        """Note the start of a cell."""
        super().cell_start(cell, cell_index)
        self.execution.start(cell_index or 0)

    def cell_exception(self, cell: Any, cell_index: int | None = None, **_: Any) -> None:
        """Note the cell that raised."""
        super().cell_exception(cell, cell_index)
        self.execution.failed = cell_index

    def cell_complete(self, cell: Any, cell_index: int | None = None, **_: Any) -> None:
        """Note the end of a cell."""
        super().cell_complete(cell, cell_index)
        self.execution.finish(cell_index or 0)

    def notebook_complete(self, **_: Any) -> None:
        """Note the end; cells that were not reached stay pending."""
        self.end_time = self.now()
        self.nb.metadata.papermill["end_time"] = self.end_time.isoformat()
        self.nb.metadata.papermill["duration"] = (self.end_time - self.start_time).total_seconds()


class Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client with the run's time limits."""

    def __init__(self, watch: Watch, kernel: Kernel, execution: Execution) -> None:
        super().__init__(
            watch,
            km=kernel.manager,
            kernel_name=KERNEL_NAME,
            log=logger,
            record_timing=False,
            timeout_func=self.limit,
        )
        self.kernel, self.execution = kernel, execution
        self.kc = kernel.client

    def _cleanup_kernel(self) -> None:  # nbclient calls it at the end
        """Ask the kernel to end, without waiting: the next chapter may start."""
        run_sync(self.execution.kernels.retire)(self.kernel, now=self.execution.gave_up)
        self.kc = self.km = None

    def limit(self, cell: Any) -> float:
        """The seconds that the next cell may take."""
        seconds, self.execution.overdue = self.execution.limits.of_cell()
        return seconds

    async def _async_handle_timeout(self, timeout: float, cell: Any = None) -> None:
        """Interrupt the cell, so that its traceback says where it was, then give it up."""
        self.execution.gave_up = True
        await self.kernel.manager.interrupt_kernel()
        await asyncio.sleep(CELL_GRACE)
        raise CellTimeoutError.error_from_timeout_and_cell(self.execution.overdue, round(timeout), cell)


class LabEngine(Engine):  # type: ignore[misc]
    """The engine that papermill calls to execute a notebook."""

    @classmethod
    def execute_notebook(
        cls, nb: Any, kernel_name: str, output_path: str | None = None, *, execution: Execution, **_: Any
    ) -> Any:
        """Execute `nb` on one of the lab's kernels."""
        watch = Watch(nb, output_path, execution)
        watch.notebook_start()
        try:
            kernel = run_sync(execution.kernels.take)(execution.chapter.name)
            for chapter in execution.upcoming:
                run_sync(execution.kernels.prepare)(chapter.name, chapter.imports)
            Client(watch, kernel, execution).execute(cleanup_kc=True)
        finally:
            watch.notebook_complete()
        return nb


papermill_engines.register("lab", LabEngine)


def execute(execution: Execution, values: dict[str, Any], output: Path) -> tuple[record.ChapterRecord, Any]:
    """Run one chapter with papermill: its record and its notebook. Raises only for Ctrl-C and for a bug of the lab."""
    chapter, began = execution.chapter, time.monotonic()
    failure = notebook_outcome(execution, lambda: call_papermill(execution, values)) or execution.unfinished()
    notebook = scrub_notebook(remove_error_markers(execution.notebook), output) if execution.notebook else None
    try:
        save_notebook(notebook, output)
    except OSError as error:
        failure = failure or execution.failure(
            "error", f"{output.name} could not be saved: {describe_full_disk(error, output.parent)}"
        )
    cells = execution.cells()
    result = record.ChapterRecord(
        chapter.name,
        chapter.number,
        chapter.title,
        "failed" if failure else "passed",
        round(time.monotonic() - began, 3),
        cells,
        failure,
        exercise_states(notebook) if notebook else {},
    )
    return result, notebook


def save_notebook(notebook: Any, output: Path) -> None:
    """Write an executed notebook, whole or not at all."""
    if notebook is not None:
        record.write_text(output, nbformat.writes(notebook))  # type: ignore[no-untyped-call]


def scrub_notebook(notebook: Any, output: Path) -> Any:
    """An executed notebook with paths that hold in any folder of runs, and without the person's home folder."""
    notebook.metadata.papermill["input_path"] = f"notebooks/{output.name}"
    notebook.metadata.papermill["output_path"] = f"build/{output.name}"
    text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return nbformat.reads(record.without_home(text), 4)  # type: ignore[no-untyped-call]


def call_papermill(execution: Execution, values: dict[str, Any]) -> None:
    """Call papermill's own entry, so that a chapter runs as from papermill's command line."""
    papermill.execute_notebook(
        str(execution.chapter.path),
        None,  # papermill would leave half a notebook on a full disk
        parameters={name: value for name, value in values.items() if name in execution.chapter.parameters},
        engine_name="lab",
        kernel_name=KERNEL_NAME,
        language="python",
        progress_bar=False,
        execution=execution,
    )


def notebook_outcome(execution: Execution, run: Callable[[], None]) -> record.Failure | None:
    """Call `run`, note the failed cell, and return the failure, or None."""
    try:
        run()
    except PapermillExecutionError as error:
        if execution.failed is None:  # a cell tagged raises-exception raised, as intended
            return None
        return execution.failure("error", f"{error.ename}: {error.evalue}".rstrip(": \n"))
    except DeadKernelError:
        return kernel_died(execution)
    except CellTimeoutError:
        execution.failed = execution.current
        return execution.failure("time-out", f"the cell {execution.overdue}")
    except RuntimeError as error:  # jupyter_client: the kernel died before it answered, or did not answer in time
        if execution.seconds or execution.current is not None:
            raise
        problem = "\n".join([f"the kernel did not start: {error}", *kernel_log_tail(execution.kernels.log)])
        return record.Failure("kernel death", problem)
    return None


def kernel_died(execution: Execution) -> record.Failure:
    """The failure of a chapter whose kernel died: its exit status and the end of the kernels' log."""
    execution.failed = execution.current
    end = run_sync(describe_exit)(execution.kernels.last)
    return execution.failure(
        "kernel death", "\n".join([f"the kernel died: {end}", *kernel_log_tail(execution.kernels.log)])
    )


def kernel_log_tail(log: Path) -> list[str]:
    """The last lines of a log, or none."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return ["The end of its log:", *lines[-LOG_LINES:]] if lines else []
