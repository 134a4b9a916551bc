"""Runs a hand-in's parameters again, with this checkout's code on a fresh cluster, and compares the two runs."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streaming_lab import settings
from streaming_lab.cli import write_error
from streaming_lab.cluster import COMPOSE, EMBEDDED_BROKERS
from streaming_lab.errors import LabError
from streaming_lab.handin.check import Check, cannot_tell
from streaming_lab.handin.compare import compare_chapters, compare_frames, conclude_comparison
from streaming_lab.handin.examine import Examined
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.handin.load import HandIn, load
from streaming_lab.handin.record_checks import filled_cells
from streaming_lab.handin.remake import own_cells_before, reference_chapters
from streaming_lab.handin.unpack import BadHandIn, unpacked
from streaming_lab.paths import PROJECT, cache_folder
from streaming_lab.report.chapter import Chapter
from streaming_lab.report.parameters import format_value

RERUN_LIMIT = 3600.0  # seconds for one run


def rerun_all(rows: Sequence[Examined], hand_ins: Sequence[tuple[str, Path]]) -> list[Examined]:
    """The rows with the checks of a re-run each, one after another: each has a cluster of its own."""
    made = []
    for row, (name, place) in zip(rows, hand_ins, strict=True):
        if row.broken:
            made.append(row)
            continue
        write_error(f"running {name} again")
        try:
            with unpacked(place) as there:
                made.append(replace(row, checks=(*row.checks, *rerun_checks(KeptRun(load(there))))))
        except BadHandIn as error:
            made.append(replace(row, broken=error.problem))
    return made


def rerun_checks(kept: KeptRun) -> Iterator[Check]:
    """Run again, and compare: a check for each chapter of the reference, and one for the frames."""
    reference = reference_chapters()
    chapters = {one.name: reference[one.name] for one in kept.run.chapters if one.name in reference}
    with TemporaryDirectory(prefix="lab-rerun-") as name:
        try:
            again = run_again(kept, chapters, Path(name))
        except LabError as error:
            yield cannot_tell("rerun", error.problem)
            return
        if again.run.status != "passed" == kept.run.status:
            yield cannot_tell("rerun", f"the run failed here, and not there: {again.run.reason.splitlines()[0]}")
            return
        there = kept.hand_in
        for name, result in compare_chapters(chapters, there.notebooks, again.notebooks).items():
            own = own_cells_before(there.notebooks[name], chapters[name])
            yield conclude_comparison(f"rerun {chapters[name].number:02d}", result, there.other_version or own)
        frames = compare_frames(there.frames, again.frames)
        yield conclude_comparison("rerun frames", frames, there.other_version)
        filled = [
            f"{name}: {cell}"
            for name, one in chapters.items()
            if name in there.notebooks
            for cell in filled_cells(there.notebooks[name], one.document)
        ]
        if filled:
            yield cannot_tell("rerun filled", f"what the student filled is not run: {', '.join(filled)}")
        if others := [one.name for one in kept.run.chapters if one.name not in reference]:
            yield cannot_tell("rerun own", f"the student's own chapters are not run: {', '.join(others)}")


def run_again(kept: KeptRun, chapters: dict[str, Chapter], folder: Path) -> HandIn:
    """The report of the recorded parameters in `folder`; `LabError` if it can't be made."""
    if not chapters:
        raise LabError("no chapter of this checkout ran", "Nothing can be run again.")
    words = [*chapters]
    for name, value in recorded_values(kept, chapters).items():
        words += ["-p", name, format_value(value)]
    build = folder / "build"
    own = {
        settings.BUILD.name: str(build),
        settings.HOME.name: str(folder / "home"),
        settings.CACHE.name: str(cache_folder()),
    }
    command = [sys.executable, str(PROJECT / "scripts" / "report.py"), *words]
    with subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, errors = process.communicate(timeout=RERUN_LIMIT)
        except BaseException as error:
            process.terminate()  # the report ends its cluster itself
            process.wait(60)
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(f"it ran longer than {RERUN_LIMIT:g} s", "Run scripts/report.py by itself.") from error
            raise
    if not (build / "run.json").exists():
        problem = (errors.strip().splitlines() or ["it said nothing"])[0]
        raise LabError(f"it can't be run again here: {problem}", "Run scripts/report.py by itself.")
    with unpacked(build) as found:
        return load(found)


def recorded_values(kept: KeptRun, chapters: dict[str, Chapter]) -> dict[str, Any]:
    """The recorded values of the chapters' parameters, checked; somebody else's brokers become an embedded cluster."""
    declared = {name: one for chapter in chapters.values() for name, one in chapter.parameters.items()}
    values = kept.checked_parameters(declared)
    if values.get("cluster") not in (None, *EMBEDDED_BROKERS, *COMPOSE):
        values["cluster"] = "embedded"
    return values
