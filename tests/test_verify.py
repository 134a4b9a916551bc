"""Hand-ins as handed in: each kind of edit is planted in a copy of one real run, and found or told as untellable."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from book import Report, renew

from streaming_lab.handin import classroom, unpack, verdict_page, verify_cli
from streaming_lab.handin.check import Check
from streaming_lab.handin.crowd_checks import beyond_clock, overlapping
from streaming_lab.handin.examine import Examined, examine, run_checks
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.handin.load import load
from streaming_lab.handin.unpack import BadHandIn, unpacked
from streaming_lab.report.own import new_run_id, student_seed

pytestmark = pytest.mark.slow
FRAMES_OF_03 = ("moves", "events", "offsets", "times", "batches")


@pytest.fixture
def copy(small: Report, tmp_path: Path) -> Path:
    """A copy of the run, to be edited."""
    assert small.exit_code == 0, small.out[-2000:] + small.err[-2000:]
    return Path(shutil.copytree(small.build, tmp_path / "build", ignore=shutil.ignore_patterns("runs", ".*")))


def checks(place: Path, *names: str) -> dict[str, Check]:
    """These checks of a hand-in (all by default), by name."""
    with unpacked(place) as found:
        return {one.name: one for one in run_checks(KeptRun(load(found)), names)}


def words(place: Path, *names: str) -> dict[str, str]:
    """The words of these checks."""
    return {name: check.word for name, check in checks(place, *names).items()}


def edit_record(folder: Path, **changes: Any) -> None:
    """Change run.json, as an editor does."""
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_frame(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a frame and write it as it was written."""
    path = folder / f"{name}.parquet"
    schema = pq.read_schema(path)
    frame = change(pd.read_parquet(path)).reset_index(drop=True)
    pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), path)


def edit_cell(folder: Path, name: str, cell: str, change: Callable[[Any], None]) -> None:
    """Change one cell of an executed notebook."""
    path = next(folder.glob(f"{name}-*.ipynb"))
    notebook = nbformat.read(path, 4)
    change(next(one for one in notebook.cells if one.id == cell))
    nbformat.write(notebook, path)


def test_an_honest_run_agrees(small: Report) -> None:
    """No check of an untouched run contradicts, but for code that is not committed; the origin is untellable."""
    found = checks(small.build)
    odd = {name: (one.word, one.findings) for name, one in found.items() if one.word != "agrees"}
    assert odd.keys() - {"code"} == {"origin"}, odd
    assert "19 outputs made again" in found["outputs 03"].said
    assert "23 outputs made again" in found["outputs 04"].said


def test_kind_1_a_word_in_the_page(copy: Path) -> None:
    """The page is rendered again."""
    page = copy / "report.html"
    page.write_text(page.read_text().replace("Every request is accounted for", "Every request is counted for"))
    assert words(copy, "page", "files") == {"page": "contradicts", "files": "contradicts"}


def test_kind_2_a_number_in_a_notebooks_output(copy: Path) -> None:
    """The output is made again from the frames, whatever page and hashes say."""

    def change(cell: Any) -> None:
        data = cell.outputs[0].data
        data["text/html"] = data["text/html"].replace(">300<", ">301<")

    edit_cell(copy, "03", "play", change)
    renew(copy)
    found = checks(copy, "page", "files", "outputs 03")
    assert {name: one.word for name, one in found.items()} == {
        "page": "agrees",
        "files": "agrees",
        "outputs 03": "contradicts",
    }
    [finding] = found["outputs 03"].findings
    assert "cell play" in finding.place
    assert ("301" in finding.there, "300" in finding.again) == (True, True)


@pytest.mark.parametrize(
    ("change", "check"),
    [({"status": "failed"}, "verdict"), ({"exit_code": 1}, "verdict"), ({"reason": "All is well."}, "verdict")],
)
def test_kind_3_the_record(copy: Path, change: dict[str, Any], check: str) -> None:
    """Status, reason and exit code are made again."""
    edit_record(copy, **change)
    renew(copy)
    assert words(copy, check) == {check: "contradicts"}


def test_kind_3_the_ledger_in_the_record(copy: Path) -> None:
    """The ledger is closed again from the frames."""
    ledger = json.loads((copy / "run.json").read_text())["ledger"]
    edit_record(copy, ledger={**ledger, "refused": 0, "accepted": ledger["requests"]})
    renew(copy)
    assert words(copy, "outputs 03", "verdict")["verdict"] == "contradicts"


def test_kind_4_a_chart_is_swapped(copy: Path) -> None:
    """Drawing, specification and data are made again."""
    edit_cell(copy, "03", "plot-players", lambda cell: cell.outputs[0].data.update({"image/svg+xml": "<svg/>"}))
    renew(copy)
    assert words(copy, "outputs 03") == {"outputs 03": "contradicts"}


def first(frame: pd.DataFrame, column: str, value: Any, row: int = 0) -> pd.DataFrame:
    """The frame with one value changed."""
    frame.loc[frame.index[row], column] = value
    return frame


def refused_row(frame: pd.DataFrame) -> int:
    """The place of the first refused request."""
    return int(np.flatnonzero(frame["status"] == 409)[0])


def accept(frame: pd.DataFrame) -> pd.DataFrame:
    """A refused request turned into an accepted one."""
    row = refused_row(frame)
    return first(first(frame, "status", 200, row), "answer", "\nSword Sold!\n", row)


EDITS: Mapping[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame], set[str]]] = {
    "5 a refused request accepted": ("requests", accept, {"moves", "events"}),
    "5 an answer's text": ("requests", lambda f: first(f, "answer", "\nSword Bought!\n"), {"moves"}),
    "6 an event deleted": ("events", lambda f: f.drop(index=3), {"events", "offsets", "batches"}),
    "6 an event twice": ("events", lambda f: pd.concat([f, f.iloc[[0]]]), {"offsets", "batches"}),
    "7 a request deleted": ("requests", lambda f: f.drop(index=3), {"moves"}),
    "7 a request twice": ("requests", lambda f: pd.concat([f, f.iloc[[0]]]), {"moves"}),
    "8 a guild": ("events", lambda f: f.assign(guild=f["guild"].replace("owls", "foxes")), {"events", "batches"}),
    "9 a player": ("events", lambda f: first(f, "player", "player-99"), {"events", "batches"}),
    "10 ids swapped": (
        "events",
        lambda f: f.assign(event_id=[*f["event_id"][1:2], *f["event_id"][:1], *f["event_id"][2:]]),
        {"events", "batches"},
    ),
    "11 partitions": ("events", lambda f: f.assign(partition=(f["partition"] + 1) % 3), {"offsets", "batches"}),
    "13 latencies, a twentieth": ("requests", lambda f: f.assign(latency_ms=f["latency_ms"] / 20), {"times"}),
    "14 a stamp": (
        "events",
        lambda f: first(f, "timestamp", f["timestamp"].iloc[0] - pd.Timedelta("1min")),
        {"times", "batches"},
    ),
}


def test_a_clock_that_was_set_contradicts_nothing() -> None:
    """Few times that are wrong by less than a quarter of a second; many, or by more, are no clock's."""
    none = pd.Series(pd.Timedelta(0), index=range(100))
    few, far, many = none.copy(), none.copy(), none.copy()
    few.iloc[:2], far.iloc[0], many.iloc[:3] = pd.Timedelta("20ms"), pd.Timedelta("0.3s"), pd.Timedelta("20ms")
    tick = pd.Timedelta("1ms")
    assert [int(beyond_clock(wrong, tick, 1).sum()) for wrong in (none, few, far, many)] == [0, 0, 1, 3]


def test_a_worker_with_two_requests_under_way_contradicts() -> None:
    """By half a second, or often by a little; a clock that was set within a few requests of any worker does not."""
    sent = pd.Series(pd.date_range("2026-11-27", periods=300, freq="100ms", tz="UTC"))
    crowd = pd.DataFrame({"player": [f"player-{n % 4:02}" for n in range(300)], "sent_at": sent})
    calm = crowd.assign(answered=sent + pd.Timedelta("90ms"))

    def late(rows: range, by: str) -> pd.DataFrame:
        return calm.assign(
            answered=calm["answered"].where(~calm.index.isin(rows), sent + pd.Timedelta("400ms") + pd.Timedelta(by))
        )

    runs = (calm, late(range(0, 16, 4), "15ms"), late(range(0, 40, 4), "15ms"), late(range(1), "500ms"))
    assert [len(list(overlapping(run, 4))) for run in runs] == [0, 0, 10, 1]


@pytest.mark.parametrize("kind", EDITS)
def test_kinds_5_to_14_the_frames(copy: Path, kind: str) -> None:
    """Seed, density of offsets, ranges, partitions, stamps: each edit is found by the checks that it breaks."""
    frame, change, broken = EDITS[kind]
    edit_frame(copy, frame, change)
    renew(copy)
    found = {name for name, word in words(copy, *FRAMES_OF_03).items() if word == "contradicts"}
    assert broken <= found, found


@pytest.mark.parametrize("change", [{"seed": 7}, {"requests": 301}, {"players": 21}, {"partitions": 4}])
def test_kind_12_size_and_seed_claimed_otherwise(copy: Path, change: dict[str, Any]) -> None:
    """The record's own parameters do not give its frames."""
    record = json.loads((copy / "run.json").read_text())
    edit_record(copy, parameters={**record["parameters"], **change})
    assert "contradicts" in words(copy, "parameters", "moves", "offsets").values()


def test_kind_10_another_runs_id(copy: Path) -> None:
    """Request ids are UUIDs (version 5) of seed and run id."""
    edit_record(copy, run_id=new_run_id("owl"))
    found = words(copy, "parameters", "moves")
    assert found == {"parameters": "agrees", "moves": "contradicts"}


def test_a_challenge_cannot_be_claimed_afterwards(copy: Path) -> None:
    """The run id is made of the word that was handed out."""
    record = json.loads((copy / "run.json").read_text())
    edit_record(copy, parameters={**record["parameters"], "challenge": "cat"})
    assert words(copy, "parameters") == {"parameters": "contradicts"}


def test_kind_14_all_times_moved_alike_is_untellable(copy: Path) -> None:
    """Moved by a day against run and cell, the windows notice; the check itself says what it can't tell."""
    day = pd.Timedelta(days=1)
    edit_frame(copy, "requests", lambda f: f.assign(sent_at=f["sent_at"] + day))
    found = checks(copy, "times")["times"]
    assert found.word == "contradicts"
    assert "all times were moved alike, no hand-in can tell" in found.said


def test_kind_15_a_classmates_frames_under_my_notebooks(copy: Path) -> None:
    """Another run's frames are of another run id."""

    def other(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(request_id=[f"{one[:-4]}0000" for one in frame["request_id"]])

    edit_frame(copy, "requests", other)
    renew(copy)
    assert words(copy, "moves", "events") == {"moves": "contradicts", "events": "contradicts"}


def test_kinds_16_and_17_somebody_elses_run(copy: Path, tmp_path: Path) -> None:
    """Under one's own id the seed is another; and runs of a class, or of an earlier one, do not share ids."""
    record = json.loads((copy / "run.json").read_text())
    edit_record(copy, parameters={**record["parameters"], "student": "alan"})
    renew(copy)
    found = checks(copy, "parameters")["parameters"]
    assert found.word == "contradicts"
    assert str(student_seed("alan", "")) in found.findings[0].again
    marks = {"run id": ("1",), "event ids": ("a", "b"), "times": ("t",)}
    rows = [Examined(name, marks=marks) for name in ("ada", "alan")] + [Examined("eve", marks={"run id": ("2",)})]
    assert classroom.find_shared(rows) == [
        ("run id", "1", ("ada", "alan")),
        ("event ids", "a and 1 more", ("ada", "alan")),
        ("times", "t", ("ada", "alan")),
    ]
    assert [row.word for row in classroom.with_shared(rows, classroom.find_shared(rows))][:2] == ["contradicts"] * 2
    twice, comma = Examined("bob", marks={"event ids": ("c", "c")}), Examined("Doe, Jane", marks={"run id": ("2",)})
    assert classroom.find_shared([twice]) == []
    assert [row.word for row in classroom.with_shared([comma, rows[2]], classroom.find_shared([comma, rows[2]]))] == [
        "contradicts",
        "contradicts",
    ]
    assert classroom.find_shared(rows[2:], {"2025 bob": {"run id": ["2"]}}) == [
        ("run id", "2", ("2025 bob (earlier)", "eve"))
    ]


def test_kind_18_a_cell_removed(copy: Path) -> None:
    """The given cells are the reference's."""
    path = next(copy.glob("03-*.ipynb"))
    notebook = nbformat.read(path, 4)
    notebook.cells = [cell for cell in notebook.cells if cell.id != "ledger-closes"]
    nbformat.write(notebook, path)
    renew(copy)
    assert words(copy, "cells", "execution") == {"cells": "contradicts", "execution": "contradicts"}


def test_kind_19_a_failed_run_shown_as_passed(copy: Path) -> None:
    """A cell with an error is no passed cell."""
    error = nbformat.v4.new_output("error", ename="AssertionError", evalue="lost", traceback=[])
    edit_cell(copy, "03", "ledger-closes", lambda cell: cell.outputs.append(error))
    renew(copy)
    found = words(copy, "execution", "outputs 03")
    assert found == {"execution": "contradicts", "outputs 03": "contradicts"}


def test_kind_20_cells_out_of_order(copy: Path) -> None:
    """Execution counts go from 1, one by one."""
    edit_cell(copy, "03", "play", lambda cell: cell.update(execution_count=40))
    renew(copy)
    assert words(copy, "execution") == {"execution": "contradicts"}


def test_kind_21_code_that_always_closes(copy: Path) -> None:
    """Outputs of changed code differ from the reference's on the same frames; the tree hash differs, too."""
    edit_frame(copy, "events", lambda f: f.drop(index=3))
    (copy / "batches.parquet").unlink()
    edit_record(copy, code={"app": "0" * 64, "scripts": "0" * 64})
    renew(copy)
    found = words(copy, "code", "outputs 03", "verdict")
    assert found == {"code": "contradicts", "outputs 03": "contradicts", "verdict": "contradicts"}


def test_kind_22_versions(copy: Path) -> None:
    """Against the lock; that they were installed is untellable."""
    record = json.loads((copy / "run.json").read_text())
    edit_record(copy, versions={**record["versions"], "pandas": "1.0"})
    found = checks(copy, "versions")["versions"]
    assert found.word == "contradicts"
    assert "that they were installed, no hand-in can tell" in found.said


def test_kind_23_the_losses_of_chapter_04(copy: Path) -> None:
    """Counts, tables and losses are made again from the experiments' frames."""
    edit_frame(copy, "deliveries", lambda f: f.assign(lost=0))
    record = json.loads((copy / "run.json").read_text())
    losses = record["losses"]
    edit_record(copy, losses={**losses, "variants": [{**one, "lost": 0} for one in losses["variants"]]})
    renew(copy)
    found = words(copy, "outputs 04", "faults", "verdict")
    assert found == {"outputs 04": "agrees", "faults": "contradicts", "verdict": "contradicts"}


def test_kind_23_the_frames_of_chapter_04(copy: Path) -> None:
    """A lost event that was put back, and requests of another seed."""
    edit_frame(copy, "appended", lambda f: f.drop(index=0))
    edit_frame(copy, "asked", lambda f: first(f, "player", "player-99"))
    renew(copy)
    assert words(copy, "outputs 04", "faults") == {"outputs 04": "contradicts", "faults": "contradicts"}


def test_kind_24_how_fast_it_loads_is_untellable(small: Report) -> None:
    """Times that were not kept are named."""
    assert "ways-to-read" in checks(small.build, "outputs 03")["outputs 03"].said.split("nothing can be told")[1]


def test_kinds_25_and_26_no_broker_and_somebody_elses_help_are_untellable(small: Report) -> None:
    """The check says so, for every hand-in."""
    found = checks(small.build, "origin")["origin"]
    assert (found.word, "that a broker ran" in found.said) == ("cannot tell", True)


def zipped(place: Path, entries: Mapping[str, bytes]) -> Path:
    """A zip of these entries."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return place


def test_kind_27_a_zip_that_leads_out(tmp_path: Path) -> None:
    """Paths that leave, links, a bomb, a damaged file: a row with its reason, nothing written outside."""
    for name in ("../run.json", "/etc/run.json", "a/../../run.json", "C:\\run.json"):
        assert "leads out" in examine(zipped(tmp_path / "out.zip", {name: b"{}"})).broken
    link = zipfile.ZipInfo("build/run.json")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "is a link" in examine(tmp_path / "link.zip").broken
    bomb = zipped(tmp_path / "bomb.zip", {"run.json": b"{}", "requests.parquet": bytes(unpack.LARGEST_FILE + 1)})
    assert bomb.stat().st_size < 200_000
    assert "has more than 64 MB" in examine(bomb).broken
    (tmp_path / "no.zip").write_bytes(b"no zip")
    assert "can't be read" in examine(tmp_path / "no.zip").broken
    assert "no run.json" in examine(zipped(tmp_path / "empty.zip", {"a": b""})).broken
    many = {f"{number}.txt": b"" for number in range(unpack.MOST_FILES + 1)}
    assert "entries" in examine(zipped(tmp_path / "many.zip", many)).broken


def test_kind_27_links_in_a_folder(copy: Path, tmp_path: Path) -> None:
    """A link is not followed: the verifier's own files are not read."""
    (copy / "requests.parquet").unlink()
    (copy / "requests.parquet").symlink_to("/etc/passwd")
    with pytest.raises(BadHandIn, match="is a link"), unpacked(copy):
        pass
    pipe = tmp_path / "pipe"
    pipe.mkdir()
    os.mkfifo(pipe / "run.json")
    assert "no plain file" in examine(pipe).broken


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"format": 3, "format": 3}', "is there twice"),
        ('{"seconds": NaN}', "NaN is no JSON"),
        ("[" * 5000 + "]" * 5000, "no record of a run"),
        ('{"format": 3}', "is a required property"),
        ('{"a": ' + "9" * 50 + "}", "50 digits"),
    ],
)
def test_kind_27_json(copy: Path, text: str, problem: str) -> None:
    """Keys twice, NaN, depth, missing keys, numbers without end."""
    (copy / "run.json").write_text(text)
    assert problem in examine(copy).broken


def test_kind_27_a_frame_of_other_columns(copy: Path) -> None:
    """Declared columns and types only: nested or pickled objects are not read, and a claim of rows is not believed."""
    pq.write_table(pa.table({"request_id": pa.array([[1]])}), copy / "requests.parquet")
    (copy / "events.parquet").write_bytes(b"\x80\x04pickle")
    (copy / "03-read-the-events.ipynb").write_text("{}")
    found = checks(copy, "files", "moves", "events", "outputs 03")
    assert {name: one.word for name, one in found.items()} == {
        "files": "contradicts",
        "moves": "cannot tell",
        "events": "cannot tell",
        "outputs 03": "cannot tell",
    }
    assert "requests.parquet can't be read" in found["moves"].said


def test_kind_27_html_in_names_is_inert() -> None:
    """Whatever a hand-in is called, the page shows it as text; a spreadsheet sees no formula."""
    evil = '<script>alert(1)</script>\x1b[2J"'
    check = Check("moves", "contradicts", evil, ())
    row = Examined(evil, evil, "=cmd()", evil, "passed", (check,), marks={})
    from datetime import UTC, datetime

    page = verdict_page.render_verdict(
        [row], [("run id", evil, (evil,))], "as handed in", datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert "<script" not in page
    assert "\x1b" not in page
    assert "'=cmd()" in verdict_page.class_csv([row])


def test_kind_28_a_verdict_of_the_hand_ins_own(copy: Path, tmp_path: Path) -> None:
    """results.json and verdict.html that were handed in are not looked at, and ours is never written there."""
    (copy / "results.json").write_text('{"score": 100}')
    with unpacked(copy) as found:
        assert "results.json" in found.left_out
    with pytest.raises(Exception, match="would be written into the hand-in"):
        verify_cli.main([str(copy), "--out", str(copy / "verdict")])


def test_own_cells_and_chapters_are_named_and_not_run(copy: Path) -> None:
    """A student's own cell is no contradiction, is not executed, and what came after it cannot be told."""
    trap = copy / "trap"
    path = next(copy.glob("03-*.ipynb"))
    notebook = nbformat.read(path, 4)
    own = nbformat.v4.new_code_cell(f"open({str(trap)!r}, 'w')", id="mine")
    own.execution_count = 1
    notebook.cells.append(own)
    nbformat.write(notebook, path)
    edit_cell(copy, "03", "events-by-type", lambda cell: cell.outputs[0].data.update({"text/html": "mine"}))
    found = checks(copy, "cells", "outputs 03")
    assert {name: one.word for name, one in found.items()} == {"cells": "agrees", "outputs 03": "cannot tell"}
    assert "mine" in found["cells"].said
    assert not trap.exists()


def fill_exercise(folder: Path, state: str, source: str | None) -> None:
    """Chapter 03's exercise as a student leaves it: its source, what its check showed, and the record of it."""
    if source:
        edit_cell(folder, "03", "fill-3", lambda cell: cell.update(source=source))
    edit_cell(folder, "03", "answer-3-1", lambda cell: cell.update(source="*Your answer:* both"))
    edit_cell(folder, "03", "check-3", lambda cell: cell.outputs[0].metadata.update(exercise=state))
    record = json.loads((folder / "run.json").read_text())
    record["chapters"][2]["exercises"] = {"check-3": state}
    (folder / "run.json").write_text(json.dumps(record))
    renew(folder)


def test_a_filled_exercise_is_the_students_own_word(copy: Path) -> None:
    """It is named and not run, and casts no doubt on the chapter; a solution that was only claimed contradicts."""
    fill_exercise(copy, "done", "def lost(asked, events):\n    open('/trap', 'w')")
    edit_cell(copy, "03", "events-by-type", lambda cell: cell.outputs[0].data.update({"text/html": "mine"}))
    found = checks(copy, "cells", "exercises", "outputs 03", "page")
    assert {name: one.word for name, one in found.items()} == {
        "cells": "agrees",
        "exercises": "cannot tell",
        "outputs 03": "contradicts",
        "page": "contradicts",
    }
    assert "1 of 4 exercises done, in the hand-in's own word; a student's cells are not run" in found["exercises"].said
    assert "03-read-the-events: answer-3-1, 03-read-the-events: fill-3" in found["cells"].said


def test_an_exercise_that_is_only_claimed_contradicts(copy: Path) -> None:
    """The check says done, and the three dots are still there; or the record says more than the check."""
    fill_exercise(copy, "done", None)
    [finding] = checks(copy, "exercises")["exercises"].findings
    assert (finding.there, finding.again) == ("done", "unfilled, by its cell")
    record = json.loads((copy / "run.json").read_text())
    record["chapters"][0]["exercises"] = {"check-1": "done"}
    (copy / "run.json").write_text(json.dumps(record))
    assert len(checks(copy, "exercises")["exercises"].findings) == 2


def test_a_hand_in_of_another_version_is_named(copy: Path) -> None:
    """Which version it is, and what can be checked of it is."""
    record = json.loads((copy / "run.json").read_text())
    for name in ("run_id", "changed", "code", "anyway"):
        del record[name]
    for chapter in record["chapters"]:
        del chapter["exercises"]
    (copy / "run.json").write_text(json.dumps({**record, "format": 1}))
    found = checks(copy, "code", "page", "offsets", "times")
    assert {name: one.word for name, one in found.items()} == {
        "code": "cannot tell",
        "page": "cannot tell",
        "offsets": "agrees",
        "times": "agrees",
    }
    assert "run.json of format 1" in found["code"].said
