"""The last good report is never lost: a run is written beside it, replaces it at its end, and keeps it apart."""

import html
import json
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import book
import pytest
from book import Report, code, parameters, prose

from streaming_lab.errors import LabError
from streaming_lab.report import run_folder

MOMENT = datetime(2026, 11, 24, 22, 14, 2, tzinfo=UTC)


def write_run(folder: Path, word: str, status: str = "passed", minute: int = 0) -> None:
    """A run's files whose contents are `word`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("report.html", "01-a.ipynb", "events.parquet", "mine.parquet")
    for name in names:
        (folder / name).write_text(word)
    (folder / "kept").mkdir(exist_ok=True)
    (folder / "kept" / "ledger.json").write_text(word)
    record = {"status": status, "started": f"2026-11-24T21:{minute:02d}:00+00:00"}
    (folder / "run.json").write_text(json.dumps({**record, "hashes": {f"build/{name}": "" for name in names}}))


def words(folder: Path) -> dict[str, str]:
    """The text of each file below `folder`, records and locks left out."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("run.json", ".report.lock")]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def every_file(word: str, folder: str = "") -> dict[str, str]:
    """What `words` finds for one run."""
    names = ("report.html", "01-a.ipynb", "events.parquet", "mine.parquet", "kept/ledger.json")
    return {folder + name: word for name in names}


def publish(build: Path, word: str, status: str = "passed", minute: int = 0) -> None:
    """A whole run that ends."""
    with run_folder.open_run_folder(build, "report.py", MOMENT, pytest.fail) as folder:
        write_run(folder.work, word, status, minute)
        assert folder.publish() == build


def test_a_run_that_ended_takes_the_place_and_the_earlier_one_is_kept(tmp_path: Path) -> None:
    """All files of the old report move, those of a person stay."""
    (tmp_path / "mine.txt").write_text("mine")
    publish(tmp_path, "old", minute=1)
    publish(tmp_path, "new", minute=2)
    old = every_file("old", "runs/20261124T210100Z/")
    assert words(tmp_path) == {**every_file("new"), **old, "mine.txt": "mine"}


def test_a_run_that_did_not_end_leaves_the_report_as_it_was(tmp_path: Path) -> None:
    """The run's own folder is named, and holds what it had."""
    publish(tmp_path, "old")
    said: list[str] = []
    with suppress(KeyboardInterrupt), run_folder.open_run_folder(tmp_path, "report.py", MOMENT, said.append) as folder:
        (folder.work / "01-a.ipynb").write_text("half")
        raise KeyboardInterrupt
    kept = f"runs/20261124T221402Z-{os.getpid()}-unfinished"
    assert words(tmp_path) == {**every_file("old"), f"{kept}/01-a.ipynb": "half"}
    assert said == [f"This run did not end; its files: {tmp_path / kept}"]


def test_a_run_without_any_result_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the first second: an empty log and a connection file are no results."""
    publish(tmp_path, "old")
    with suppress(KeyboardInterrupt), run_folder.open_run_folder(tmp_path, "report.py", MOMENT, pytest.fail) as folder:
        (folder.work / "kernel.log").touch()
        (folder.work / ".kernel-1.json").write_text("key")
        raise KeyboardInterrupt
    assert words(tmp_path) == every_file("old")


@pytest.mark.parametrize("stage", ["before", "archive", "archived", "moving"])
def test_a_kill_at_any_point_of_the_exchange_loses_nothing(tmp_path: Path, stage: str) -> None:
    """The next run finishes the exchange: the new report in its place, the old one in build/runs."""
    publish(tmp_path, "old", minute=1)
    done = tmp_path / (".new-x" if stage in ("archived", "moving") else ".done-x")
    write_run(done, "new", minute=2)
    old = tmp_path / "runs" / "20261124T210100Z"
    if stage != "before":
        old.mkdir(parents=True)
        (tmp_path / "report.html").rename(old / "report.html")
    if stage in ("archived", "moving"):
        run_folder.archive_report(tmp_path)
    if stage == "moving":
        (done / "01-a.ipynb").rename(tmp_path / "01-a.ipynb")
    assert run_folder.settle_earlier_runs(tmp_path) == []
    assert words(tmp_path) == {**every_file("new"), **every_file("old", "runs/20261124T210100Z/")}


def test_a_killed_run_is_kept_apart_by_the_next_one(tmp_path: Path) -> None:
    """kill -9 leaves build/.run-ID; the next run says where its files are now, without the kernels' keys."""
    publish(tmp_path, "old")
    killed = tmp_path / ".run-20261124T220000Z-1"
    killed.mkdir()
    (killed / "01-a.ipynb").write_text("half")
    (killed / ".kernel-1.json").write_text("key")
    said: list[str] = []
    with run_folder.open_run_folder(tmp_path, "report.py", MOMENT, said.append):
        pass
    kept = "runs/20261124T220000Z-1-unfinished"
    assert said == [f"An earlier run did not end; its files: {tmp_path / kept}"]
    assert words(tmp_path) == {**every_file("old"), f"{kept}/01-a.ipynb": "half"}


def test_the_kept_runs_are_bounded_and_the_last_that_passed_stays(tmp_path: Path) -> None:
    """Five failed runs after a good one: the newest three of them, and the good one."""
    publish(tmp_path, "good", minute=1)
    for minute in range(2, 8):
        publish(tmp_path, "bad", "failed", minute)
    (tmp_path / "runs" / "notes").mkdir()  # a person's own
    kept = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert kept == ["20261124T210100Z", "20261124T210400Z", "20261124T210500Z", "20261124T210600Z", "notes"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"started": 7, "hashes": [1]}', '{"started": "once"}'])
def test_a_damaged_record_stops_nothing(tmp_path: Path, text: str) -> None:
    """The report of another version, or half a file of a full disk, is kept all the same."""
    write_run(tmp_path, "old")
    (tmp_path / "run.json").write_text(text)
    publish(tmp_path, "new")
    (kept,) = (tmp_path / "runs").iterdir()
    assert (kept / "report.html").read_text() == "old"
    assert (tmp_path / "report.html").read_text() == "new"


def test_two_reports_in_one_folder_do_not_touch_each_other(tmp_path: Path) -> None:
    """The second is refused in one line that says who runs, and what to do."""
    with run_folder.lock_build(tmp_path, "report.py 01"):
        with pytest.raises(LabError) as caught, run_folder.lock_build(tmp_path, "report.py 02"):
            pytest.fail("both have it")
        who = f"report.py 01 (pid {os.getpid()}, since "
        assert caught.value.problem.startswith(f"a report is written to {tmp_path} at this moment by {who}")
        assert "LAB_BUILD=" in caught.value.cure


def test_a_build_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """Folder and reason, before anything runs."""
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="file/build can't be written: Not a directory"):
        run_folder.lock_build(tmp_path / "file" / "build", "report.py").__enter__()


def sleeping_book(folder: Path) -> Path:
    """A chapter that sleeps for a minute."""
    book.write(folder, "01-long", prose("# Long"), parameters(), code("import time\ntime.sleep(60)", "sleep"))
    return folder


def until(process: Any, *wanted: str) -> None:
    """Read the report's lines until one has all the words."""
    assert any(all(word in line for word in wanted) for line in iter(process.stdout.readline, ""))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code_"), [(signal.SIGHUP, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_signal_leaves_the_good_report(tmp_path: Path, number: int, code_: int) -> None:
    """A closed terminal, a polite end and kill -9 in the middle of a cell; a following run passes."""
    build = tmp_path / "build"
    write_run(build, "old")
    with book.start(sleeping_book(tmp_path / "nb"), build) as process:
        until(process, "sleep", "running")
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (code_, "")
    left = {name: word for name, word in words(build).items() if not name.startswith(("runs/", ".run-"))}
    assert left == every_file("old")
    if number != signal.SIGKILL:
        (aside,) = (build / "runs").iterdir()
        assert f"{aside}/report.html" in out
        assert f"The last report stays: {build}/report.html" in out
    book.write(tmp_path / "second" / "nb", "01-a", prose("# A"), parameters())
    with book.start(tmp_path / "second" / "nb", build) as process:
        said, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert (list(build.glob(".run-*")), "did not end" in said) == ([], False)  # the killed one had no result yet
    assert (build / "runs" / "20261124T210000Z" / "report.html").read_text() == "old"


@pytest.mark.slow
def test_ctrl_c_in_the_first_second_changes_nothing(tmp_path: Path) -> None:
    """Whether it comes while modules are imported, or while the first kernel starts."""
    build = tmp_path / "build"
    write_run(build, "old")
    with book.start(sleeping_book(tmp_path / "nb"), build) as process:
        while not (build / ".report.lock").exists() and process.poll() is None:
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert {name: word for name, word in words(build).items() if not name.startswith("runs/")} == every_file("old")


@pytest.mark.slow
def test_a_second_report_says_who_runs(tmp_path: Path) -> None:
    """Exit code 2 and two lines; the first one is not disturbed."""
    build = tmp_path / "build"
    folder = sleeping_book(tmp_path / "nb")
    with book.start(folder, build) as first:
        until(first, "sleep", "running")
        second = book.report(folder)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=120)
    assert (second.exit_code, second.out, len(second.err.splitlines())) == (2, "", 2)
    assert f"at this moment by python3 scripts/report.py (pid {first.pid}, since " in second.err
    assert first.returncode == 130


@pytest.mark.slow
def test_a_cluster_that_is_not_there_leaves_the_good_report(tmp_path: Path) -> None:
    """Exit code 2; problem and cure once, on the terminal and on the page of the run's own folder."""
    build = tmp_path / "build"
    write_run(build, "old")
    cell = parameters('cluster: str = "embedded"  # where Kafka runs')
    for name in ("01-a", "02-b", "03-c"):
        book.write(tmp_path / "nb", name, prose(f"# {name}"), cell)
    result = book.report(tmp_path / "nb", "-p", "cluster", "127.0.0.1:1")
    assert (result.exit_code, result.err) == (2, "")
    (aside,) = (build / "runs").iterdir()
    assert {name: word for name, word in words(build).items() if not name.startswith("runs/")} == every_file("old")
    own = Report(2, "", "", aside)
    cure = "Is it running, and is the port right? `-p cluster embedded` starts one of the lab's own."
    assert [text.count("no broker answers at 127.0.0.1:1") for text in (result.out, own.page)] == [1, 1]
    assert [text.count(cure) for text in (result.out, html.unescape(own.page))] == [1, 1]
    assert own.record["reason"].splitlines()[1] == cure
    assert [chapter["status"] for chapter in own.record["chapters"]] == ["skipped"] * 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("embeded", "there is no cluster 'embeded': did you mean embedded?"),
        ("embedded:treo", "there is no cluster 'embedded:treo': did you mean embedded:trio?"),
        ("compose:treo", "there is no cluster 'compose:treo': did you mean compose:trio?"),
        ("localhost", "there is no cluster 'localhost'"),
        ("localhost:99999", "'localhost:99999' in 'localhost:99999' is not host:port"),
    ],
)
def test_a_mistyped_cluster_is_refused_like_any_parameter(tmp_path: Path, name: str, said: str) -> None:
    """Exit code 2 before anything is touched."""
    book.write(tmp_path / "nb", "01-a", prose("# A"), parameters('cluster: str = "embedded"  # where Kafka runs'))
    result = book.report(tmp_path / "nb", "-p", "cluster", name)
    assert (result.exit_code, result.out, result.err.splitlines()[0]) == (2, "", said)
    assert not result.build.exists()
