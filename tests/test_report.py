"""The command that the whole project is for: every chapter in small, and what it leaves behind."""

import json
from pathlib import Path

import pytest
from book import SMALL, Report, project_report
from peers import missing

from streaming_lab.handin.examine import run_checks
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.handin.load import load
from streaming_lab.handin.submit import pack
from streaming_lab.handin.unpack import unpacked
from streaming_lab.paths import PROJECT
from streaming_lab.report.chapter import find_chapters


@pytest.mark.slow
def test_every_chapter_passes(small: Report) -> None:
    """Exit code 0, and no cell of the four that did not run."""
    assert small.exit_code == 0, small.out[-3000:] + small.err[-3000:]
    chapters = small.record["chapters"]
    assert [(one["number"], one["status"]) for one in chapters] == [(number, "passed") for number in (1, 2, 3, 4)]
    assert {cell["status"] for one in chapters for cell in one["cells"]} == {"passed"}
    assert {name: small.record["parameters"][name] for name in SMALL} == SMALL


@pytest.mark.slow
def test_the_ledger_closes(small: Report) -> None:
    """Every request of the crowd is accounted for, and every acknowledged event is a row."""
    ledger = small.record["ledger"]
    assert (ledger["requests"], ledger["closed"]) == (SMALL["requests"], True)
    assert (ledger["lost"], ledger["duplicates"], ledger["unanswered"]) == (0, 0, 0)
    assert ledger["rows"] == ledger["acknowledged"] > 0


@pytest.mark.slow
def test_the_page_has_all_that_ran(small: Report) -> None:
    """The verdict, the ledger and every chapter with its cells."""
    page = small.page
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>Passed: " in page
    assert '<div class="verdict passed">' in page
    for chapter in small.record["chapters"]:
        assert chapter["title"] in page
        shown = [cell["id"] for cell in chapter["cells"] if cell["number"][-1].isdigit()]  # hidden ones have a letter
        assert [name for name in shown if f'"{name}"' not in page] == []


@pytest.mark.slow
def test_the_build_folder_is_complete(small: Report) -> None:
    """Page, record, frames and executed notebooks, and their hashes in the record."""
    there = {path.name for path in small.build.iterdir()}
    notebooks = {one.path.name for one in find_chapters(PROJECT / "notebooks") if not one.by_name}
    assert {"report.html", "run.json", "events.parquet", "deliveries.parquet", *notebooks} <= there
    hashed = {name.removeprefix("build/") for name in small.record["hashes"] if name.startswith("build/")}
    assert {"report.html", "events.parquet", *notebooks} <= hashed


@pytest.mark.long
def test_the_chapter_that_runs_by_name_passes(tmp_path: Path) -> None:
    """Chapter 05 on three brokers of its own, with its frames beside the page."""
    ran = project_report(tmp_path / "build", "05")
    assert (ran.exit_code, ran.record["status"]) == (0, "passed"), ran.out[-3000:] + ran.err[-3000:]
    there = {path.name for path in ran.build.iterdir()}
    assert {"acks.parquet", "keys.parquet", "effects.parquet", "05-outgrow-one-broker.ipynb"} <= there
    assert ran.page.count('<figure class="figure">') == 5
    with unpacked(pack(ran.build, anyway=True)) as handed_in:
        found = {one.name: one for one in run_checks(KeptRun(load(handed_in)), ("cells", "outputs 05", "outgrow"))}
    assert {name: (one.word, one.findings) for name, one in found.items()} == dict.fromkeys(found, ("agrees", ()))
    assert found["outputs 05"].said.startswith("6 outputs made again, equal; of 9 outputs nothing can be told: ")


@pytest.mark.slow
def test_chapter_06_passes_and_a_hand_in_keeps_nothing_of_it(tmp_path: Path) -> None:
    """By processes and by Dask, on the cluster that runs; its check says that nothing can be told, and asks nobody."""
    ran = project_report(tmp_path / "build", "06", "-p", "engine", "dask")
    assert (ran.exit_code, ran.record["status"]) == (0, "passed"), ran.out[-3000:] + ran.err[-3000:]
    with unpacked(pack(ran.build, anyway=True)) as handed_in:
        (found,) = run_checks(KeptRun(load(handed_in)), ("outputs 06",))
    assert (found.word, found.findings) == ("cannot tell", ())
    assert "tables-from-slices" in found.said


@pytest.mark.long
def test_every_fault_twenty_times(minutes: float, tmp_path: Path) -> None:
    """Chapter 04 as thorough as it can be keeps every promise."""
    if minutes < 30:
        missing("--minutes 30 and more")
    ran = project_report(
        tmp_path / "build", "04", "-p", "thorough", "true", "--cell-timeout", "3600", "--timeout", "7200"
    )
    assert (ran.exit_code, json.loads((ran.build / "run.json").read_text())["status"]) == (0, "passed"), ran.err
