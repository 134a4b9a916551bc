"""The run: chapters in order in one driver process, one cluster for all, a record and a page whatever happens."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jupyter_core.utils import run_sync

from streaming_lab.errors import LabError
from streaming_lab.report import provenance, record
from streaming_lab.report.chapter import Plan
from streaming_lab.report.course import Course
from streaming_lab.report.kernel import Kernels, environment
from streaming_lab.report.progress import Progress

FRAMES = ("requests", "events", "rejects", "deliveries")  # what the chapters keep as parquet files


def run(plan: Plan, progress: Progress) -> record.Run:
    """Run the plan and write everything under its build folder. A failure is a result; only a bug raises."""
    started, began = datetime.now(UTC), time.monotonic()
    prepare(plan)
    facts = provenance.gather(plan.chapters)
    course = Course(plan, progress)
    kernels = Kernels(plan.chapters[0].path.parent, environment(LAB_BUILD=str(plan.build)), plan.build / "kernel.log")
    cluster, warm = None, in_background(warm_up)
    try:
        run_sync(kernels.prepare)(plan.chapters[0].imports)
        cluster = attached(course)
        warm.join()
        warm = in_background(warm_up_page)
        walk(course, kernels, began + plan.timeout)
    except KeyboardInterrupt:
        course.interrupt()
    finally:
        with suppress(KeyboardInterrupt):
            run_sync(kernels.end)()
        ending = in_background(partial(cluster.close, wait=True, say=progress.say)) if cluster else None
    progress.begin("  the page")
    warm.join()
    result = provenance.assemble(plan, course.results, facts, started, time.monotonic() - began, course.stopped)
    result = write(plan, result, course.notebooks)
    progress.end()
    if ending:
        ending.join()  # its own waits have deadlines
    return result


def prepare(plan: Plan) -> None:
    """Take away what an earlier run left, so that nothing old is ever read as new."""
    if any(chapter.path.parent.resolve() == plan.build.resolve() for chapter in plan.chapters):
        raise LabError(f"{plan.build} holds the notebooks themselves", "point LAB_BUILD at another folder")
    plan.build.mkdir(parents=True, exist_ok=True)
    old = ["report.html", "run.json", "kernel.log", *(f"{name}.parquet" for name in FRAMES)]
    for name in [*old, *(path.name for path in plan.build.glob("[0-9]*-*.ipynb"))]:
        (plan.build / name).unlink(missing_ok=True)
    shutil.rmtree(plan.build / "kept", ignore_errors=True)


def in_background(work: Callable[[], Any]) -> threading.Thread:
    """Do `work` beside the waiting that the start of a run is made of."""
    thread = threading.Thread(target=work, name="warm-up", daemon=True)
    thread.start()
    return thread


def warm_up() -> None:
    """Import what executes the chapters."""
    from streaming_lab.report import engine  # noqa: F401


def warm_up_page() -> None:
    """Import what makes the page, beside a first chapter that mostly waits."""
    from streaming_lab.report import html

    html.warm_up()


def attached(course: Course) -> Any:
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


def walk(course: Course, kernels: Kernels, deadline: float) -> None:
    """All chapters in order; one that fails stops only those that need it."""
    from streaming_lab.report.engine import execute
    from streaming_lab.report.execution import Execution, Limits

    plan = course.plan
    limits = Limits(plan.cell_timeout, deadline, plan.timeout)
    for position, chapter in enumerate(plan.chapters):
        if why := course.obstacle(chapter):
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


def write(plan: Plan, result: record.Run, notebooks: dict[str, Any]) -> record.Run:
    """The page, then run.json: it also holds the page's hash."""
    from streaming_lab.report import html

    record.write_text(plan.build / "report.html", html.render(result, notebooks))
    result = provenance.with_outputs(result, plan.build)
    record.write_text(plan.build / "run.json", result.to_json())
    if not (plan.build / "kernel.log").stat().st_size:
        os.unlink(plan.build / "kernel.log")
    return result
