"""The run: chapters in order in one driver process, one cluster for all, a record and a page in every case."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from jupyter_core.utils import run_sync

from streaming_lab import settings
from streaming_lab.cli import DOCTOR
from streaming_lab.errors import LabError
from streaming_lab.paths import DISK_FULL_ERRNOS, cache_folder
from streaming_lab.report import provenance, record
from streaming_lab.report.chapter import Chapter, RunPlan
from streaming_lab.report.exercises import exercise_states
from streaming_lab.report.kernels import Kernels, kernel_environment
from streaming_lab.report.progress import Progress
from streaming_lab.report.run_folder import RunFolder, open_run_folder


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
        if why is not self.stopped:
            self.progress.say(f"{chapter.number} {chapter.title}: did not run, because {why.problem}")
        elif why.kind == "set-up":  # the verdict tells the whole error, once
            why = record.Failure("set-up", "there is no cluster")
        self.results.append(record.ChapterRecord(chapter.name, chapter.number, chapter.title, "skipped", 0.0, (), why))

    def cut_off(self, execution: Any) -> None:
        """Record a chapter that Ctrl-C ended, with the cells that ran."""
        chapter = execution.chapter
        execution.failed = execution.current
        failure = execution.failure("interrupt", "interrupted (Ctrl-C)")
        seconds = round(sum(execution.seconds.values()), 3)
        self.results.append(
            record.ChapterRecord(
                chapter.name,
                chapter.number,
                chapter.title,
                "failed",
                seconds,
                execution.cells(),
                failure,
                exercise_states(execution.notebook) if execution.notebook else {},
            )
        )
        self.notebooks[chapter.name] = execution.notebook

    def interrupt(self) -> None:
        """Record Ctrl-C: no chapter without a result ran."""
        self.stopped = record.Failure("interrupt", "the run was interrupted (Ctrl-C)")
        for chapter in self.plan.chapters[len(self.results) :]:
            self.skip(chapter, self.stopped)


def run_report(plan: RunPlan, progress: Progress) -> tuple[record.Run, Path]:
    """Run the plan: its record, and the folder with page, record and notebooks.

    A failed chapter is a result and takes the place of the last report. A run that was interrupted, or that has no
    cluster, leaves the last report where it is. Only a bug raises, and a folder that can't be written (`LabError`).
    """
    if any(chapter.path.parent.resolve() == plan.build.resolve() for chapter in plan.chapters):
        raise LabError(f"{plan.build} holds the notebooks themselves", "point LAB_BUILD at another folder")
    started = datetime.now(UTC)
    try:
        with open_run_folder(plan.build, plan.command, started, progress.say) as folder:
            result = run_in_folder(replace(plan, build=folder.work), progress, started)
            return result, place_results(folder, result)
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        cure = "Free some space (python3 scripts/clean.py), or set LAB_BUILD to a folder on another disk."
        what = record.describe_full_disk(error, plan.build)
        raise LabError(f"the report does not fit: {what}", cure) from error


def place_results(folder: RunFolder, result: record.Run) -> Path:
    """Publish a run that ended; set one aside that was interrupted or could not start."""
    return folder.set_aside(ASIDE[result.exit_code]) if result.exit_code in ASIDE else folder.publish()


ASIDE = {2: "refused", 130: "interrupted"}  # exit codes of runs that do not replace the last report


def run_in_folder(plan: RunPlan, progress: Progress, started: datetime) -> record.Run:
    """Run the chapters and write everything under the plan's build folder."""
    began = time.monotonic()
    facts = provenance.gather_facts(plan)
    state = RunState(plan, progress)
    claims = claim_plain_names(plan)
    environment = kernel_environment(LAB_BUILD=str(plan.build), **run_environment(claims, facts.run_id))
    kernels = Kernels(plan.chapters[0].path.parent, environment, plan.build)
    cluster, warm = None, start_thread(import_engine)
    try:
        run_sync(kernels.prepare)(plan.chapters[0].name, plan.chapters[0].imports)
        cluster = attach_cluster(state)
        warm.join()
        warm = start_thread(import_renderer)
        run_chapters(state, kernels, began + plan.timeout)
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # nbclient's own tasks complain of what was cut off
        state.interrupt()
    finally:
        with suppress(KeyboardInterrupt):
            run_sync(kernels.end)()
            leave_cluster(state, cluster)
        (plan.build / record.DOING).unlink(missing_ok=True)
        ending = start_thread(partial(cluster.close, wait=True, say=progress.say)) if cluster else None
    try:
        progress.begin("  the page")
        warm.join()
        seconds = time.monotonic() - began
        result = provenance.assemble_record(plan, state.results, facts, started, seconds, state.stopped)
        result = write_results(plan, result, state.notebooks)
        progress.end()
    finally:
        if ending:
            ending.join()  # each wait of a closing cluster has a deadline
        for descriptor in claims.values():
            os.close(descriptor)
    return result


def claim_plain_names(plan: RunPlan) -> dict[str, int]:
    """The kinds of clusters on which this run alone has the plain names, with the descriptor that claims them."""
    from streaming_lab.cluster.run_topics import claim_names

    kinds = ["embedded", *(["compose"] if str(plan.parameters.get("cluster")).startswith("compose") else [])]
    found = {kind: claim_names(kind) for kind in kinds}
    return {kind: descriptor for kind, descriptor in found.items() if descriptor is not None}


def run_environment(claims: Mapping[str, int], run_id: str) -> dict[str, str]:
    """The run's id, and where its kernels may use plain names."""
    return {settings.RUN_ID: run_id, settings.RUN_ALONE: ",".join(claims)}


def leave_cluster(state: RunState, cluster: Any) -> None:
    """Save the cluster's description unless a chapter did, and delete the run's topics on somebody else's brokers."""
    if cluster is None:
        return
    from streaming_lab.cluster.run_topics import delete_noted_topics, describe_left_topics

    if not record.has_result(state.plan.build, "cluster"):
        with suppress(LabError):
            text = json.dumps(cluster.describe().to_json(), indent=2)
            record.write_text(state.plan.build / "kept" / "cluster.json", text)
    try:
        delete_noted_topics(cluster, state.plan.build)
    except LabError as error:
        state.progress.say(f"The topics of this run could not be deleted: {error.problem}")
        for line in describe_left_topics(state.plan.build):
            state.progress.say(line)


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
    from streaming_lab.cluster import EMBEDDED_BROKERS, attach

    state.progress.begin(f"  the cluster: {name}", watch_download(state.progress) if name in EMBEDDED_BROKERS else str)
    try:
        cluster = attach(name)
    except LabError as error:
        state.progress.end("failed")
        state.stopped = record.Failure(
            "set-up", f"there is no cluster: {error}\n{DOCTOR}"
        )  # problem and cure, all lines
        return None
    state.progress.end()
    return cluster


def watch_download(progress: Progress) -> Callable[[], str]:
    """Announce the download of Kafka's jars if any are missing; the function tells how many are there."""
    from streaming_lab.cluster.embedded import jars

    folder = cache_folder() / "jars"
    files = [folder / jar.file_name for jar in jars.locked()]

    def missing() -> int:
        return sum(not file.exists() for file in files)

    def arrived() -> str:
        if not (left := missing()):
            return ""
        return f"{len(files) - left} of {len(files)} jars, {jars.megabytes(folder):.0f} of {jars.MEGABYTES} MB"

    if not (count := missing()) or settings.CLUSTER.get() != "embedded":
        return str
    what = f"Kafka {jars.kafka_version()}, {count} of {len(files)} jars, {jars.MEGABYTES} MB in all"
    progress.say(f"Downloading once from Maven Central: {what}, into {folder}")
    return arrived


KERNELS_AHEAD = 2  # kernels that import while a chapter runs: a short chapter ends before the next one's imports


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
        upcoming = plan.chapters[position + 1 : position + 1 + KERNELS_AHEAD]
        execution = Execution(chapter, kernels, state.progress, limits, upcoming)
        try:
            result, notebook = execute(execution, plan.given, plan.build / chapter.path.name)
        except KeyboardInterrupt:
            state.cut_off(execution)
            raise
        state.results.append(require_results(result, chapter, plan.build))
        state.notebooks[chapter.name] = notebook
        if time.monotonic() >= deadline:
            state.stopped = record.Failure("time-out", f"the run reached its limit of {plan.timeout:g} s")


def require_results(result: record.ChapterRecord, chapter: Chapter, build: Path) -> record.ChapterRecord:
    """The chapter's record, failed if the chapter passed without a result that it must save."""
    missing = [name for name in chapter.results if not record.has_result(build, name)]
    if result.status != "passed" or not missing:
        return result
    cure = f'It must call save_result("{missing[0]}", ...): see the metadata lab.results of {chapter.path.name}.'
    failure = record.Failure("error", f"chapter {chapter.number} saved no {' and no '.join(missing)}\n{cure}")
    return replace(result, status="failed", failure=failure)


def write_results(plan: RunPlan, result: record.Run, notebooks: dict[str, Any]) -> record.Run:
    """Write the page, then run.json, which holds the page's hash."""
    from streaming_lab.report.render import page

    record.write_text(plan.build / "report.html", page.render_page(result, notebooks, plan.chapters[0].path.parent))
    result = provenance.with_outputs(result, plan.build)
    record.write_text(plan.build / "run.json", result.to_json())
    log = plan.build / "kernel.log"
    if log.exists() and not log.stat().st_size:
        os.unlink(log)
    return result
