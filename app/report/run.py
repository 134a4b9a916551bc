"""The run: chapters in order in one driver process, one cluster for all, a record and a page whatever happens."""

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

# A run under way: what it was asked for, and what became of its chapters so far.


@dataclass
class RunState:
    """The results of a plan, chapter by chapter."""

    plan: RunPlan
    progress: Progress
    results: list[record.ChapterRecord] = field(default_factory=list)
    notebooks: dict[str, Any] = field(default_factory=dict)
    stopped: record.Failure | None = None  # why nothing more can run: interrupt, time limit, no cluster

    def blocked_by(self, chapter: Chapter) -> record.Failure | None:
        """Why `chapter` can't run, or None."""
        if self.stopped:
            return self.stopped
        for result in self.results:
            if result.status != "passed" and any(result.name.startswith(need) for need in chapter.needs):
                what = "failed" if result.status == "failed" else "did not run"
                return record.Failure("set-up", f"chapter {result.number} {what}")
        return None

    def skip(self, chapter: Chapter, why: record.Failure) -> None:
        """Record that `chapter` did not run."""
        self.results.append(record.ChapterRecord(chapter.name, chapter.number, chapter.title, "skipped", 0.0, (), why))
        reason = why.problem.splitlines()[0]
        self.progress.say(f"{chapter.number} {chapter.title}: did not run, because {reason}")

    def cut_off(self, execution: Any) -> None:
        """Ctrl-C in the middle of a chapter: keep what its cells did."""
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
        """Record Ctrl-C: every chapter that has no result yet did not run."""
        self.stopped = record.Failure("interrupt", "the run was interrupted (Ctrl-C)")
        for chapter in self.plan.chapters[len(self.results) :]:
            self.skip(chapter, self.stopped)


FRAMES = ("requests", "events", "rejects", "deliveries")  # what the chapters keep as parquet files


def run_report(plan: RunPlan, progress: Progress) -> record.Run:
    """Run the plan and write everything under its build folder. A failure is a result; only a bug raises."""
    started, began = datetime.now(UTC), time.monotonic()
    prepare_build(plan)
    facts = provenance.gather_facts(plan.chapters)
    course = RunState(plan, progress)
    kernels = Kernels(
        plan.chapters[0].path.parent, kernel_environment(LAB_BUILD=str(plan.build)), plan.build / "kernel.log"
    )
    cluster, warm = None, in_background(import_executor)
    try:
        run_sync(kernels.prepare)(plan.chapters[0].imports)
        cluster = attach_cluster(course)
        warm.join()
        warm = in_background(import_page_maker)
        run_chapters(course, kernels, began + plan.timeout)
    except KeyboardInterrupt:
        course.interrupt()
    finally:
        with suppress(KeyboardInterrupt):
            run_sync(kernels.end)()
        ending = in_background(partial(cluster.close, wait=True, say=progress.say)) if cluster else None
    progress.begin("  the page")
    warm.join()
    result = provenance.assemble_record(plan, course.results, facts, started, time.monotonic() - began, course.stopped)
    result = write_results(plan, result, course.notebooks)
    progress.end()
    if ending:
        ending.join()  # its own waits have deadlines
    return result


def prepare_build(plan: RunPlan) -> None:
    """Take away what an earlier run left, so that nothing old is ever read as new."""
    if any(chapter.path.parent.resolve() == plan.build.resolve() for chapter in plan.chapters):
        raise LabError(f"{plan.build} holds the notebooks themselves", "point LAB_BUILD at another folder")
    plan.build.mkdir(parents=True, exist_ok=True)
    old = ["report.html", "report.pdf", "run.json", "kernel.log", *(f"{name}.parquet" for name in FRAMES)]
    for name in [*old, *(path.name for path in plan.build.glob("[0-9]*-*.ipynb"))]:
        (plan.build / name).unlink(missing_ok=True)
    shutil.rmtree(plan.build / "kept", ignore_errors=True)


def in_background(work: Callable[[], Any]) -> threading.Thread:
    """Do `work` beside the waiting that the start of a run is made of."""
    thread = threading.Thread(target=work, name="warm-up", daemon=True)
    thread.start()
    return thread


def import_executor() -> None:
    """Import what executes the chapters."""
    from streaming_lab.report import execute  # noqa: F401


def import_page_maker() -> None:
    """Import what makes the page, beside a first chapter that mostly waits."""
    from streaming_lab.report.render import page

    page.warm_up_page()


def attach_cluster(course: RunState) -> Any:
    """The cluster that the chapters ask for, started or attached before the first of them; None when none asks."""
    name = course.plan.parameters.get("cluster")
    if name is None:
        return None
    from streaming_lab.cluster import attach

    course.progress.begin(f"  the cluster: {name}")
    try:
        cluster = attach(name)
    except LabError as error:
        course.progress.end("failed")
        course.stopped = record.Failure("set-up", f"there is no cluster: {error}")
        return None
    course.progress.end()
    return cluster


def run_chapters(course: RunState, kernels: Kernels, deadline: float) -> None:
    """All chapters in order; one that fails stops only those that need it."""
    from streaming_lab.report.execute import Execution, Limits, execute

    plan = course.plan
    limits = Limits(plan.cell_timeout, deadline, plan.timeout)
    for position, chapter in enumerate(plan.chapters):
        if why := course.blocked_by(chapter):
            course.skip(chapter, why)
            continue
        course.progress.say(f"{chapter.number} {chapter.title}")
        following = next(iter(plan.chapters[position + 1 :]), None)
        execution = Execution(chapter, kernels, course.progress, limits, following)
        try:
            result, notebook = execute(execution, plan.given, plan.build / chapter.path.name)
        except KeyboardInterrupt:
            course.cut_off(execution)
            raise
        course.results.append(result)
        course.notebooks[chapter.name] = notebook
        if time.monotonic() >= deadline:
            course.stopped = record.Failure("time-out", f"the run reached its limit of {plan.timeout:g} s")


def write_results(plan: RunPlan, result: record.Run, notebooks: dict[str, Any]) -> record.Run:
    """The page, then run.json: it also holds the page's hash."""
    from streaming_lab.report.render import page

    record.write_text(plan.build / "report.html", page.render_page(result, notebooks, plan.chapters[0].path.parent))
    result = provenance.with_outputs(result, plan.build)
    record.write_text(plan.build / "run.json", result.to_json())
    if not (plan.build / "kernel.log").stat().st_size:
        os.unlink(plan.build / "kernel.log")
    return result
