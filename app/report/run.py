"""The run: chapters in order in one driver process, one cluster for all, a record and a page in every case."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jupyter_core.utils import run_sync

from streaming_lab.errors import LabError
from streaming_lab.report import provenance, record
from streaming_lab.report.chapter import Chapter, RunPlan
from streaming_lab.report.kernels import Kernels, kernel_environment
from streaming_lab.report.progress import Progress


@dataclass
class RunState:
    """A run under way: its plan, and the results of its chapters so far."""

    plan: RunPlan
    progress: Progress
    results: list[record.ChapterRecord] = field(default_factory=list)
    notebooks: dict[str, Any] = field(default_factory=dict)
    stopped: record.Failure | None = None  # why no further chapter can run: interrupt, time limit, no cluster

    def blocked_by(self, chapter: Chapter) -> record.Failure | None:
        """The reason that keeps `chapter` from running, or None."""
        if self.stopped:
            return self.stopped
        for result in self.results:
            if result.status != "passed" and any(result.name.startswith(need) for need in chapter.needs):
                what = "failed" if result.status == "failed" else "did not run"
                return record.Failure("set-up", f"chapter {result.number} {what}")
        return None

    def skip(self, chapter: Chapter, why: record.Failure) -> None:
        """Record that `chapter` did not run, and why."""
        self.results.append(record.ChapterRecord(chapter.name, chapter.number, chapter.title, "skipped", 0.0, (), why))
        reason = why.problem.splitlines()[0]
        self.progress.say(f"{chapter.number} {chapter.title}: did not run, because {reason}")

    def cut_off(self, execution: Any) -> None:
        """Record a chapter that Ctrl-C ended, with the cells that ran."""
        chapter = execution.chapter
        execution.failed = execution.current
        failure = execution.failure("interrupt", "interrupted (Ctrl-C)")
        seconds = round(sum(execution.seconds.values()), 3)
        self.results.append(
            record.ChapterRecord(
                chapter.name, chapter.number, chapter.title, "failed", seconds, execution.cells(), failure
            )
        )
        self.notebooks[chapter.name] = execution.notebook

    def interrupt(self) -> None:
        """Record Ctrl-C: no chapter without a result ran."""
        self.stopped = record.Failure("interrupt", "the run was interrupted (Ctrl-C)")
        for chapter in self.plan.chapters[len(self.results) :]:
            self.skip(chapter, self.stopped)


FRAMES = ("requests", "events", "rejects", "deliveries")  # the frames that chapters save as parquet files


def run_report(plan: RunPlan, progress: Progress) -> record.Run:
    """Run the plan and write page, record and notebooks. A failed chapter is a result; only a bug raises."""
    started, began = datetime.now(UTC), time.monotonic()
    prepare_build(plan)
    facts = provenance.gather_facts(plan.chapters)
    state = RunState(plan, progress)
    kernels = Kernels(
        plan.chapters[0].path.parent, kernel_environment(LAB_BUILD=str(plan.build)), plan.build / "kernel.log"
    )
    cluster, warm = None, start_thread(import_engine)
    try:
        run_sync(kernels.prepare)(plan.chapters[0].imports)
        cluster = attach_cluster(state)
        warm.join()
        warm = start_thread(import_renderer)
        run_chapters(state, kernels, began + plan.timeout)
    except KeyboardInterrupt:
        state.interrupt()
    finally:
        with suppress(KeyboardInterrupt):
            run_sync(kernels.end)()
        ending = start_thread(partial(cluster.close, wait=True, say=progress.say)) if cluster else None
    progress.begin("  the page")
    warm.join()
    result = provenance.assemble_record(plan, state.results, facts, started, time.monotonic() - began, state.stopped)
    result = write_results(plan, result, state.notebooks)
    progress.end()
    if ending:
        ending.join()  # each wait of a closing cluster has a deadline
    return result


def prepare_build(plan: RunPlan) -> None:
    """Remove the files of an earlier run: none of them may be read as a result of this one."""
    if any(chapter.path.parent.resolve() == plan.build.resolve() for chapter in plan.chapters):
        raise LabError(f"{plan.build} holds the notebooks themselves", "point LAB_BUILD at another folder")
    plan.build.mkdir(parents=True, exist_ok=True)
    old = ["report.html", "report.pdf", "run.json", "kernel.log", *(f"{name}.parquet" for name in FRAMES)]
    for name in [*old, *(path.name for path in plan.build.glob("[0-9]*-*.ipynb"))]:
        (plan.build / name).unlink(missing_ok=True)
    shutil.rmtree(plan.build / "kept", ignore_errors=True)


def start_thread(work: Callable[[], Any]) -> threading.Thread:
    """Start `work` in a thread: the start of a run mostly waits."""
    thread = threading.Thread(target=work, name="warm-up", daemon=True)
    thread.start()
    return thread


def import_engine() -> None:
    """Import the engine that executes chapters."""
    from streaming_lab.report import execute  # noqa: F401


def import_renderer() -> None:
    """Import the renderer while the first chapter runs, which mostly waits."""
    from streaming_lab.report.render import page

    page.warm_up_page()


def attach_cluster(state: RunState) -> Any:
    """Start or attach the cluster that the parameters name; None if no chapter has a parameter `cluster`."""
    name = state.plan.parameters.get("cluster")
    if name is None:
        return None
    from streaming_lab.cluster import attach

    state.progress.begin(f"  the cluster: {name}")
    try:
        cluster = attach(name)
    except LabError as error:
        state.progress.end("failed")
        state.stopped = record.Failure("set-up", f"there is no cluster: {error}")
        return None
    state.progress.end()
    return cluster


def run_chapters(state: RunState, kernels: Kernels, deadline: float) -> None:
    """Run all chapters in order; a failed chapter stops only those that need it."""
    from streaming_lab.report.execute import Execution, Limits, execute

    plan = state.plan
    limits = Limits(plan.cell_timeout, deadline, plan.timeout)
    for position, chapter in enumerate(plan.chapters):
        if why := state.blocked_by(chapter):
            state.skip(chapter, why)
            continue
        state.progress.say(f"{chapter.number} {chapter.title}")
        following = next(iter(plan.chapters[position + 1 :]), None)
        execution = Execution(chapter, kernels, state.progress, limits, following)
        try:
            result, notebook = execute(execution, plan.given, plan.build / chapter.path.name)
        except KeyboardInterrupt:
            state.cut_off(execution)
            raise
        state.results.append(result)
        state.notebooks[chapter.name] = notebook
        if time.monotonic() >= deadline:
            state.stopped = record.Failure("time-out", f"the run reached its limit of {plan.timeout:g} s")


def write_results(plan: RunPlan, result: record.Run, notebooks: dict[str, Any]) -> record.Run:
    """Write the page, then run.json, which holds the page's hash."""
    from streaming_lab.report.render import page

    record.write_text(plan.build / "report.html", page.render_page(result, notebooks, plan.chapters[0].path.parent))
    result = provenance.with_outputs(result, plan.build)
    record.write_text(plan.build / "run.json", result.to_json())
    if not (plan.build / "kernel.log").stat().st_size:
        os.unlink(plan.build / "kernel.log")
    return result
