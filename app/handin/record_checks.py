"""Checks of record, page and notebooks: files, code, versions, the page rendered again, cells, parameters, verdict."""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from streaming_lab import settings
from streaming_lab.handin.check import Check, Contradiction, cannot_tell, conclude, found
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.handin.remake import excerpts, reference_chapters
from streaming_lab.paths import PROJECT
from streaming_lab.report.chapter import INJECTED, cell_tags, chapter_numbers
from streaming_lab.report.code_state import given_cells, tree_hashes
from streaming_lab.report.exercises import CHECK, EXERCISE, exercise_states, students_cells
from streaming_lab.report.own import OWN_PARAMETERS, challenged_id, student_seed
from streaming_lab.report.provenance import run_verdict, sha256, without_outputs
from streaming_lab.wording import counted

LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def check_files(kept: KeptRun) -> Check:
    """Each file of the hand-in has the hash that the record gives it, and can be read: against mix-ups, not people."""
    unpacked, hand_in = kept.hand_in.unpacked, kept.hand_in
    findings, missing, same = [], [], 0
    for name, kept_hash in kept.run.hashes.items():
        if not name.startswith("build/"):
            continue
        path = unpacked.path(name.removeprefix("build/"))
        if path is None:
            missing.append(name.removeprefix("build/"))
        elif (there := sha256(path)) != kept_hash:
            findings.append(found(name, f"SHA-256 {there}", f"SHA-256 {kept_hash}, in run.json"))
        else:
            same += 1
    findings += [found(name, why, "a file that can be read") for name, why in hand_in.unreadable.items()]
    said = f"{counted(same, 'file')} with the hash in run.json"
    if missing:
        said += f"; not handed in: {', '.join(missing)}"
    return conclude("files", said, findings) if findings or not missing else cannot_tell("files", said)


def check_code(kept: KeptRun) -> Check:
    """The run's code is this checkout's: by the tree hashes, which are the hand-in's own word."""
    if kept.hand_in.other_version:
        return cannot_tell("code", kept.hand_in.other_version)
    here = tree_hashes()
    findings = [
        found(f"run.json, code of {name}/", kept.run.code.get(name, "no hash"), again)
        for name, again in here.items()
        if kept.run.code.get(name) != again
    ]
    findings += [found("run.json, changed", name, "as committed") for name in kept.run.changed or ()]
    return conclude("code", "app/ and scripts/ by their tree hashes, in the hand-in's own word", findings)


def check_versions(kept: KeptRun) -> Check:
    """The record's versions are the lock's; that they were really installed nothing can tell."""
    locked = dict(LOCKED.findall((PROJECT / "requirements.txt").read_text(encoding="utf-8")))
    locked = {name.lower().replace("_", "-"): version for name, version in locked.items()}
    pairs = {name: (there, locked[name]) for name, there in kept.run.versions.items() if name in locked}
    findings = [found(f"run.json, versions, {name}", *both) for name, both in pairs.items() if both[0] != both[1]]
    said = f"{counted(len(pairs), 'version')} as in the lock; that they were installed, no hand-in can tell"
    return conclude("versions", said, findings, doubt=kept.hand_in.other_version)


def check_page(kept: KeptRun) -> Check:
    """The page is what record and notebooks give when they are rendered again, to the byte."""
    from streaming_lab.report.render import page

    path = kept.hand_in.unpacked.path("report.html")
    if path is None:
        return cannot_tell("page", "there is no report.html")
    again = page.render_page(without_outputs(kept.run), kept.hand_in.notebooks)
    there = path.read_bytes().decode("utf-8", "replace")
    findings = [] if there == again else [found("report.html", *excerpts(there, again))]
    doubt = kept.hand_in.other_version
    if (findings and "was found" in again) or "and this page has no folder to look in" in again:
        doubt = doubt or "it shows pictures from files beside a notebook, which a hand-in does not hold"
    return conclude("page", f"{len(again):,} characters rendered again, equal", findings, doubt=doubt)


def check_given_cells(kept: KeptRun) -> Check:
    """The given cells are the reference's, all there and in order; a student's own cells are only named."""
    reference, own, findings, same = reference_chapters(), [], list[Contradiction](), 0
    for name, notebook in kept.hand_in.notebooks.items():
        cells = [one for one in given_cells(notebook) if INJECTED not in one[3]]
        if name not in reference:
            own.append(name)
            continue
        given = given_cells(reference[name].document)
        ids = {one[0] for one in given}
        own += [f"{name}: {one[0]}" for one in cells if one[0] not in ids]
        own += [f"{name}: {one}" for one in filled_cells(notebook, reference[name].document)]
        there = {one[0]: one for one in cells if one[0] in ids}
        for one in given:
            if there.get(one[0]) != one:
                source = there[one[0]][2] if one[0] in there else "not there"
                findings.append(found(f"{name}.ipynb, cell {one[0]}", *excerpts(source, one[2])))
            else:
                same += 1
        if list(there) != [one[0] for one in given if one[0] in there]:
            findings.append(found(f"{name}.ipynb", "cells in another order", "the reference's order"))
    said = f"{counted(same, 'given cell')} as in the reference"
    if own:
        said += f"; the student's own, of which nothing is checked (not run): {', '.join(own[:20])}"
    return conclude("cells", said, findings, doubt=kept.hand_in.other_version)


def filled_cells(notebook: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    """The ids of the cells of a chapter that are for students, and that a student has filled."""
    empty = dict(students_cells(reference))
    return [one for one, source in students_cells(notebook) if one in empty and source != empty[one]]


def check_exercises(kept: KeptRun) -> Check:
    """The record's exercises are what the notebooks show; that a filled one is right, only running it could tell."""
    findings, filled, count, reference = list[Contradiction](), list[str](), 0, reference_chapters()
    for chapter in kept.run.chapters:
        notebook = kept.hand_in.notebooks.get(chapter.name)
        if notebook is None or chapter.name not in reference:
            continue
        states, document = exercise_states(notebook), reference[chapter.name].document
        count += len(states)
        if states != dict(chapter.exercises):
            findings.append(found(f"run.json, exercises of {chapter.name}", dict(chapter.exercises), states))
        changed = set(filled_cells(notebook, document))
        for exercise, check in exercise_pairs(document):
            if states.get(check) in ("done", "not yet") and exercise not in changed:
                findings.append(found(f"{chapter.name}.ipynb, cell {check}", states[check], "unfilled, by its cell"))
        filled += [f"{chapter.name}: {exercise}" for exercise, _ in exercise_pairs(document) if exercise in changed]
    done = sum(state == "done" for one in kept.run.chapters for state in one.exercises.values())
    said = f"{done} of {counted(count, 'exercise')} done, in the hand-in's own word"
    if filled and not findings:
        return cannot_tell("exercises", f"{said}; a student's cells are not run: {', '.join(filled)}")
    return conclude("exercises", said, findings, doubt=kept.hand_in.other_version)


def exercise_pairs(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The ids of each exercise of a chapter and of the check that follows it."""
    exercises = [str(cell["id"]) for cell in document["cells"] if EXERCISE in cell_tags(cell)]
    checks = [str(cell["id"]) for cell in document["cells"] if CHECK in cell_tags(cell)]
    return list(zip(exercises, checks, strict=False))


def check_execution(kept: KeptRun) -> Check:
    """Each chapter ran from top to bottom, once, and the record says of its cells what the notebook shows."""
    findings, count = list[Contradiction](), 0
    for chapter in kept.run.chapters:
        notebook = kept.hand_in.notebooks.get(chapter.name)
        if notebook is None:
            continue
        count += 1
        findings += odd_execution(chapter, notebook)
    return conclude("execution", f"{counted(count, 'chapter')} run from top to bottom", findings)


def odd_execution(chapter: Any, notebook: Any) -> Iterator[Contradiction]:
    """Findings for cells that ran out of order, twice or not at all, or that failed where the record says passed."""
    name, counts, moment = f"{chapter.name}.ipynb", 0, ""
    recorded = {cell.id: cell for cell in chapter.cells}
    ids = [cell.get("id") for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if list(recorded) != ids:
        yield found(f"run.json, cells of {chapter.name}", list(recorded), ids)
        return
    for cell, number in zip(notebook["cells"], chapter_numbers(chapter.number, notebook["cells"]), strict=True):
        if cell["cell_type"] != "code":
            continue
        one, place = recorded[cell["id"]], f"{name}, cell {cell['id']}"
        if one.number != number:
            yield found(f"run.json, {place}", one.number, number)
        raised = any(output["output_type"] == "error" for output in cell["outputs"])
        ran = cell.get("execution_count") is not None
        intended = "raises-exception" in cell_tags(cell)
        status = "failed" if raised and not intended else "passed" if ran else "pending"
        if one.status != status and not (
            one.status == "failed" and chapter.failure and chapter.failure.kind != "error"
        ):
            yield found(f"run.json, {place}", one.status, f"{status}, by the notebook")
        if ran:
            counts += 1
            if cell["execution_count"] != counts:
                yield found(place, f"execution count {cell['execution_count']}", f"{counts}, from top to bottom")
            start = cell["metadata"].get("papermill", {}).get("start_time") or moment
            if moment and datetime.fromisoformat(start) < datetime.fromisoformat(moment):
                yield found(place, f"began at {start}", f"after the cell before, {moment}")
            moment = start
    failed = [one.id for one in chapter.cells if one.status == "failed"]
    if chapter.status == "passed" and (failed or any(one.status == "pending" for one in chapter.cells)):
        yield found(f"run.json, {chapter.name}", "passed", f"cells that failed or did not run: {failed or 'pending'}")


def check_run_parameters(kept: KeptRun) -> Check:
    """The record's parameters are the notebooks'; student and challenge give the seed and the run id that are there."""
    findings, values = list[Contradiction](), kept.run.parameters
    for name, notebook in kept.hand_in.notebooks.items():
        for cell in notebook["cells"]:
            if INJECTED in cell_tags(cell):
                findings += [
                    found(f"{name}.ipynb, parameter {one}", there, values.get(one))
                    for one, there in assigned_values("".join(cell["source"])).items()
                    if values.get(one) != there
                ]
    for name in sorted(OWN_PARAMETERS.keys() & values.keys()):
        if not isinstance(values[name], str):
            findings.append(found(f"run.json, {name}", values[name], "a text"))
    said = f"{counted(len(values), 'parameter')}"
    if (student := values.get("student")) and "seed" in values:
        seed = student_seed(str(student), settings.CLASS_KEY.get())
        said += f", the seed of student {student}"
        if values["seed"] != seed:
            findings.append(found(f"run.json, seed of student {student}", values["seed"], seed))
    challenge = str(values.get("challenge", ""))
    if kept.run.code and kept.run.run_id != (again := challenged_id(kept.run.run_id[:8], challenge)):
        findings.append(found("run.json, run_id", kept.run.run_id, f"{again}, by challenge {challenge!r}"))
    if challenge:
        said += f", the run id of challenge {challenge!r}"
    return conclude("parameters", said, findings)


def assigned_values(source: str) -> dict[str, Any]:
    """The plain values that a cell's lines assign, read without running them."""
    found_values: dict[str, Any] = {}
    try:
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                found_values[statement.targets[0].id] = ast.literal_eval(statement.value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found_values["(unreadable)"] = source
    return found_values


def check_verdict(kept: KeptRun, results: Mapping[str, Any]) -> Check:
    """Ledger, losses, status, reason and exit code are what frames and chapters give again."""
    run, findings, said = kept.run, list[Contradiction](), []
    if "ledger" in results:
        again = json.loads(results["ledger"].to_json())
        there = dict(run.ledger or {})
        said.append("the ledger")
        findings += [
            found(f"run.json, ledger, {name}", there.get(name), again.get(name))
            for name in {**again, **there}
            if there.get(name) != again.get(name)
        ]
    if "losses" in results:
        said.append("the losses")
        again = json.loads(json.dumps(results["losses"]))
        if run.losses != again:
            findings.append(found("run.json, losses", json.dumps(run.losses), json.dumps(again)))
    ledger = results.get("ledger")
    problems = ledger.problems() if ledger else list((run.ledger or {}).get("problems", ()))
    status, reason = run_verdict(run.chapters, run.ledger, problems)
    code = 0 if status == "passed" else 1
    pairs = {"status": (run.status, status), "reason": (run.reason, reason), "exit_code": (run.exit_code, code)}
    if run.exit_code in (0, 1):
        findings += [found(f"run.json, {name}", *both) for name, both in pairs.items() if both[0] != both[1]]
    said.append("status, reason and exit code")
    return conclude("verdict", f"{', '.join(said)} made again", findings, doubt=kept.hand_in.other_version)


RECORD_CHECKS: Mapping[str, Callable[[KeptRun], Check]] = {
    "files": check_files,
    "code": check_code,
    "versions": check_versions,
    "page": check_page,
    "cells": check_given_cells,
    "exercises": check_exercises,
    "execution": check_execution,
    "parameters": check_run_parameters,
}
UNTOLD = "that a broker ran, whose machine it was, and whose help: nothing in a hand-in can tell"
