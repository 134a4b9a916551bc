"""A class of hand-ins through the command line: rows, reasons, exit codes, resumption; and packing to hand in."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from book import PROJECT, Report, renew
from peers import needs

from streaming_lab.errors import LabError
from streaming_lab.handin import classroom, submit, verify_cli
from streaming_lab.handin.compare import Comparison, compare_chapters, compare_frames
from streaming_lab.handin.examine import Examined
from streaming_lab.handin.load import load
from streaming_lab.handin.remake import reference_chapters
from streaming_lab.handin.submit import pack, unfit
from streaming_lab.handin.unpack import unpacked
from streaming_lab.paths import tree_hash
from streaming_lab.report.code_state import changes_given_cells, tree_hashes
from streaming_lab.report.record import SCHEMA, Run

pytestmark = pytest.mark.slow


@pytest.fixture
def build(small: Report, tmp_path: Path) -> Path:
    """A copy of the run as one of committed code would be."""
    folder = Path(shutil.copytree(small.build, tmp_path / "build", ignore=shutil.ignore_patterns("runs", ".*")))
    run = Run.from_json((folder / "run.json").read_text())
    (folder / "run.json").write_text(replace(run, changed=(), dirty=False, code=tree_hashes()).to_json())
    renew(folder)
    return folder


def verify(*words: str) -> "subprocess.CompletedProcess[str]":
    """`scripts/verify.py` as a person calls it."""
    command = [sys.executable, "scripts/verify.py", *words]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)


def test_a_class_with_hostile_hand_ins(build: Path, tmp_path: Path) -> None:
    """A row each; broken ones stop nobody; copies are named; later calls make no row again; Gradescope's fields."""
    hand_ins, out = tmp_path / "class", tmp_path / "out"
    hand_ins.mkdir()
    shutil.copy(pack(build, anyway=True), hand_ins / "ada.zip")
    shutil.copy(build / "submission.zip", hand_ins / "copy.zip")
    (hand_ins / "broken.zip").write_bytes(b"PK no zip")
    (hand_ins / "empty").mkdir()
    with zipfile.ZipFile(hand_ins / "evil.zip", "w") as archive:
        archive.writestr("../../evil", "x")
    (hand_ins / "grades.csv").write_text("")
    first = verify(str(hand_ins), "--out", str(out), "--csv", str(tmp_path / "class.csv"))
    assert (first.returncode, "Traceback" in first.stderr) == (1, False), first.stdout + first.stderr
    with (tmp_path / "class.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["ada.zip", "broken.zip", "copy.zip", "empty", "evil.zip"]
    assert {name: row["could not look"] for name, row in rows.items() if row["could not look"]}.keys() == {
        "broken.zip",
        "empty",
        "evil.zip",
    }
    assert "leads out" in rows["evil.zip"]["could not look"]
    assert rows["ada.zip"]["shared"] == "contradicts"
    assert rows["ada.zip"]["outputs 04"] == "agrees"
    assert "ada.zip, copy.zip" in (out / "verdict.html").read_text()
    assert "grades.csv is no hand-in" in first.stderr
    made = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    again = verify(str(hand_ins), "--out", str(out))
    assert (again.returncode, again.stdout) == (1, first.stdout)
    results = tmp_path / "results.json"
    alone = verify(str(hand_ins / "ada.zip"), "--out", str(out), "--gradescope", str(results))
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()} == made
    found = json.loads(results.read_text())
    tests = {test["name"]: test for test in found["tests"]}
    assert {"output", "execution_time", "visibility", "stdout_visibility", "tests", "extra_data"} <= found.keys()
    assert (tests["moves"]["score"], tests["moves"]["max_score"], tests["moves"]["status"]) == (1.0, 1.0, "passed")
    assert (tests["origin"]["max_score"], "status" in tests["origin"]) == (0.0, False)


def test_a_hand_in_that_takes_too_long_is_a_row(small: Report, tmp_path: Path) -> None:
    """The limit of time ends it and nobody else."""
    places = [("late", small.build), ("empty", tmp_path)]
    rows = classroom.examine_class(places, tmp_path / "rows", processes=2, limit=0.2)
    assert rows[0].broken == "it took longer than 0.2 s"


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([Examined("a")], 0),
        ([Examined("a", broken="no zip")], 2),
        ([Examined("a", broken="no zip"), Examined("b")], 2),
    ],
)
def test_the_exit_code_tells(rows: list[Examined], code: int) -> None:
    """0 nothing contradicts, 2 something could not be looked at; 1 is in the class above."""
    assert verify_cli.exit_code(rows) == code


def test_nothing_to_look_at_is_said(tmp_path: Path) -> None:
    """A place that is not there, and a folder without hand-ins: one error with what to do."""
    for words, problem in (([tmp_path / "no"], "there is no"), ([tmp_path], "no hand-in in")):
        with pytest.raises(LabError, match=problem):
            classroom.find_hand_ins(words)


def test_a_report_is_packed(build: Path) -> None:
    """All that is needed, hashes that hold, the same bytes each time; small."""
    first = pack(build).read_bytes()
    assert pack(build).read_bytes() == first
    assert sum(path.stat().st_size for path in build.rglob("*") if path.is_file()) < 4e6
    with zipfile.ZipFile(build / "submission.zip") as archive:
        names = {name.removeprefix("submission/") for name in archive.namelist()}
        sums = archive.read("submission/SHA256SUMS").decode().splitlines()
        files = {line.split("  ")[1]: line.split("  ")[0] for line in sums}
        assert {n: hashlib.sha256(archive.read(f"submission/{n}")).hexdigest() for n in files} == files
        assert "-p student ada" in archive.read("submission/RERUN.md").decode()
    expected = {"report.html", "run.json", "batches.parquet", "kept/experiments.json", "ro-crate-metadata.json"}
    assert expected | {"requirements.txt", "RERUN.md", "SHA256SUMS", "04-lose-nothing.ipynb"} <= names
    assert "kernel.log" not in names


def test_a_submission_is_a_process_run_crate(build: Path, tmp_path: Path) -> None:
    """The profile's REQUIRED rules pass, without network; a key that is none fails."""
    with zipfile.ZipFile(pack(build)) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "submission"
    assert validated(folder) == [True, []]
    metadata = folder / "ro-crate-metadata.json"
    metadata.write_text(metadata.read_text().replace('"instrument":', '"instrumentum":'))
    assert validated(folder)[0] is False


def validated(folder: Path) -> Any:
    """Whether a crate passes, and what does not."""
    here = Path(__file__).parent
    command = [sys.executable, here / "validate_crate.py", folder, here / "crate_context.json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "failed", "reason": "a cell failed", "exit_code": 1}, "it failed"),
        ({"chapters": ()}, "it is partial"),
        ({"changed": ("app/rules.py",)}, "code or given cells were changed"),
        ({"code": {}}, "not those of the run"),
    ],
)
def test_what_is_not_fit_is_refused(build: Path, change: dict[str, Any], why: str) -> None:
    """Failed, partial, dirty: refused with the reason; with --anyway the page says so."""
    run = replace(Run.from_json((build / "run.json").read_text()), **change)
    (build / "run.json").write_text(run.to_json())
    assert why in "; ".join(unfit(run, build))
    with pytest.raises(LabError, match=why):
        pack(build)
    assert not (build / "submission.zip").exists()
    pack(build, anyway=True)
    assert "Handed in all the same: " in (build / "report.html").read_text()
    assert json.loads((build / "run.json").read_text())["anyway"]


def test_no_report_is_no_hand_in(tmp_path: Path) -> None:
    """One error, and what to do."""
    with pytest.raises(LabError, match="there is no report"):
        submit.pack(tmp_path)


def test_the_record_is_what_its_schema_says(build: Path) -> None:
    """Every key is in the schema with its meaning, and no other."""
    import jsonschema

    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(json.loads((build / "run.json").read_text()), schema)
    assert set(schema["properties"]) == set(Run.__dataclass_fields__) == set(schema["required"])
    assert all(one["description"] for one in schema["properties"].values())


def test_a_tree_hash_is_of_names_and_bytes(tmp_path: Path) -> None:
    """Times and compiled files do not count; a name and a byte do."""
    (tmp_path / "a.py").write_text("1")
    before = tree_hash(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("2")
    os.utime(tmp_path / "a.py", (0, 0))
    assert tree_hash(tmp_path) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert tree_hash(tmp_path) != before


def test_own_cells_are_no_change_of_the_code(tmp_path: Path) -> None:
    """Cells of one's own beside the given ones never count; a changed, missing or moved given cell does."""
    needs("git")
    name = "notebooks/03-read-the-events.ipynb"
    notebook = json.loads((PROJECT / name).read_text())
    path = tmp_path / "nb.ipynb"

    def changed(cells: list[Any]) -> bool:
        path.write_text(json.dumps({**notebook, "cells": cells}))
        return changes_given_cells(path, name)

    cells = notebook["cells"]
    own = {"cell_type": "code", "id": "mine", "metadata": {}, "source": ["1"], "outputs": [], "execution_count": 1}
    committed = not changed(cells)
    assert [changed([*cells, own]), changed([own, *cells])] == [not committed] * 2
    assert changed(cells[:-1])
    assert changed([cells[1], cells[0], *cells[2:]])
    assert changed([{**cells[0], "source": ["# Other"]}, *cells[1:]])


def test_two_runs_are_compared_cell_by_cell(small: Report, build: Path) -> None:
    """The same run: all identical; a changed output, a measured one and a missing cell are told apart."""
    with unpacked(small.build) as place:
        there = load(place)
    with unpacked(build) as place:
        again = load(place)
    chapters = reference_chapters()
    same = Comparison()
    for result in compare_chapters(chapters, there.notebooks, again.notebooks).values():
        same += result
    assert (same.within, same.different, same.missing) == (0, [], [])
    assert same.identical > 70
    cells = {cell["id"]: cell for cell in again.notebooks["03-read-the-events"]["cells"]}
    cells["play"]["outputs"][0]["data"]["text/html"] = "<p>other</p>"
    cells["plot-latency"]["outputs"][0]["data"]["image/svg+xml"] = "<svg/>"
    cells["plot-guilds"]["execution_count"] = None
    other = compare_chapters(chapters, there.notebooks, again.notebooks)["03-read-the-events"]
    assert [one.place for one in other.different] == ["03-read-the-events.ipynb, cell play"]
    assert [one.place for one in other.missing] == ["03-read-the-events.ipynb, cell plot-guilds"]
    assert other.within == 1
    frames = {**there.frames, "events": there.frames["events"].iloc[1:]}
    assert [one.place for one in compare_frames(there.frames, frames).different] == ["events.parquet"]


@pytest.mark.long
def test_two_fresh_runs_agree(small: Report, tmp_path: Path) -> None:
    """Two runs with the same parameters agree in all that is not declared as measured: through --rerun."""
    ran = verify(str(small.build), "--rerun", "--out", str(tmp_path / "out"))
    lines = [line.split() for line in ran.stdout.splitlines() if line.startswith("  rerun")]
    assert [words[2] for words in lines] == ["agrees"] * 5, ran.stdout + ran.stderr
