"""A run's record tells what happened: errors, dead kernels, limits of time, Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import book
import psutil
import pytest
from book import PROJECT, Report, code, parameters, prose
from peers import missing

from streaming_lab.report.chapter import Chapter
from streaming_lab.report.record import without_home

pytestmark = pytest.mark.slow  # every test has a report in a process of its own

SEED = "seed: int = 2019  # of all chance, 0..9999"
KEEP = """\
import pandas as pd
from streaming_lab.report.record import save_result
save_result("ranges", {"events": {0: [0, 3]}})
save_result("events", pd.DataFrame({"a": [1]}))
"""
ESCAPE = "raise ValueError('\\x1b[2Jdrows' + chr(0x202e) + chr(10) + 'the second line')"
CLOCK = "import os, time\nprint(time.tzname, os.getcwd())"
CLAIM = "rows, wanted = ['a', 'b'], 3\nassert len(rows) == wanted + 1"
THREAD = """\
import threading
thread = threading.Thread(target=lambda: [print("from a thread") for _ in range(100)])
thread.start()
thread.join()
print("from the cell")
"""


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two chapters that pass, with a seed from the command line, on a machine whose default kernel is broken."""
    folder = tmp_path_factory.mktemp("passed") / "nb"
    spec = folder.parent / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["/no/such/python"], "display_name": "broken", "language": "python"}')
    book.write(
        folder,
        "01-first",
        prose("# First steps\n\nOne promise."),
        parameters(SEED),
        code("import sys, streaming_lab as lab\nprint(sys.executable, seed, lab.__name__)", "where"),
        code(THREAD, "thread"),
        code("assert seed == 7", "guard", "test"),
    )
    book.write(folder, "02-second", prose("# Second"), parameters(), code(KEEP, "keep"), code(CLOCK, "clock"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder.parent / "jupyter"))
        patch.setenv("TZ", "Asia/Kolkata")
        mask = os.umask(0o027)
        try:
            return book.report(folder, "-p", "seed", "7")
        finally:
            os.umask(mask)


def test_a_chapter_runs_in_utc_and_in_its_own_folder(passed: Report) -> None:
    """One clock on the page, whatever the machine's; relative paths begin beside the notebook."""
    assert passed.cells("02-second")["clock"].outputs[0].text == f"('UTC', 'UTC') {passed.build.parent / 'nb'}\n"


def test_results_follow_the_umask(passed: Report) -> None:
    """With umask 027 nobody else can read page, record, tables or notebooks."""
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in passed.build.glob("*.*") if path.is_file()}
    assert {*modes.values()} == {"0o640"}, modes


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """An error, a chapter that needs it, a kernel that dies, an endless loop, and a chapter that needs none of them."""
    folder = tmp_path_factory.mktemp("failed") / "nb"
    book.write(
        folder,
        "01-error",
        prose("# An error"),
        parameters(),
        code("print('so far')", "before"),
        code("raise ValueError('no <b>sword</b>')", "wrong"),
        code("print('never')", "after"),
    )
    book.write(folder, "02-heir", prose("# The heir"), parameters(), needs=["01"])
    book.write(
        folder,
        "03-death",
        prose("# Death"),
        parameters(),
        code("import os, signal\nprint('alive', flush=True)", "alive"),
        code("os.kill(os.getpid(), signal.SIGKILL)", "die"),
        code("1", "later"),
    )
    book.write(
        folder, "04-loop", prose("# Loop"), parameters(), code("print('round', flush=True)\nwhile True: pass", "loop")
    )
    book.write(folder, "05-free", prose("# Free"), parameters(), code("print('fine')", "fine"))
    return book.report(folder, "--cell-timeout", "3")


def outcome(report: Report) -> list[tuple[str, str, str]]:
    """Each chapter's name, status and problem."""
    return [
        (chapter["name"], chapter["status"], (chapter["failure"] or {}).get("problem", ""))
        for chapter in report.record["chapters"]
    ]


def test_a_run_that_passes_says_so_everywhere(passed: Report) -> None:
    """Exit code, record, page and terminal agree."""
    assert (passed.exit_code, passed.err) == (0, "")
    assert (passed.record["status"], passed.record["exit_code"]) == ("passed", 0)
    assert outcome(passed) == [("01-first", "passed", ""), ("02-second", "passed", "")]
    assert "<title>Passed: From request to row" in passed.page
    assert f"Passed: {passed.record['reason']}" in passed.out


def test_the_kernel_is_this_environments_own(passed: Report) -> None:
    """A chapter runs on the running Python, where the project can be imported, though another default kernel exists."""
    said = without_home(f"{sys.executable} 7 streaming_lab\n")
    assert passed.cells("01-first")["where"].outputs[0].text == said


def test_the_record_has_the_values_that_were_used(passed: Report) -> None:
    """run.json shows the value as the notebook got it, and the page how to repeat the run."""
    assert passed.record["parameters"] == {"seed": 7}
    assert passed.record["command"] == "python3 scripts/report.py -p seed 7"


def test_every_cell_has_its_number_and_time(passed: Report) -> None:
    """Numbers are the page's: hidden tests and papermill's own cell have a letter."""
    cells = passed.record["chapters"][0]["cells"]
    assert [(cell["number"], cell["id"], cell["status"]) for cell in cells] == [
        ("1.1", "parameters", "passed"),
        ("1.1a", "injected-parameters", "passed"),
        ("1.2", "where", "passed"),
        ("1.3", "thread", "passed"),
        ("1.3a", "guard", "passed"),
    ]
    assert all(0 <= cell["seconds"] < 60 for cell in cells)


def test_the_terminal_shows_a_line_for_each_cell(passed: Report) -> None:
    """In a pipe there is nothing but printable characters and line ends."""
    assert [
        line.split()[:2] for line in passed.out.splitlines() if line.startswith("  1.") and "running" not in line
    ] == [[cell["number"], cell["id"]] for cell in passed.record["chapters"][0]["cells"]]
    assert all(line.isprintable() for line in passed.out.split("\n"))


def test_a_background_thread_prints_into_no_cell(passed: Report) -> None:
    """What threads print is in the kernel's log, the same with every version of ipykernel."""
    assert [output.text for output in passed.cells("01-first")["thread"].outputs] == ["from the cell\n"]
    log = (passed.build / "kernel.log").read_text()  # ipykernel itself may add how its own end went
    assert log.startswith("from a thread\n" * 100)
    assert log.count("from a thread") == 100


def test_what_notebooks_keep_is_in_the_record(passed: Report) -> None:
    """Ranges by name, frames as files with their hashes."""
    assert passed.record["ranges"] == {"events": {"0": [0, 3]}}
    assert {"build/events.parquet", "build/01-first.ipynb", "build/report.html", "notebooks/01-first.ipynb"} <= set(
        passed.record["hashes"]
    )


def test_each_kind_of_failure_is_recorded_and_stops_only_chapters_that_need_it(failed: Report) -> None:
    """Error, dead kernel, endless cell; a chapter that needs none of them still runs."""
    assert outcome(failed) == [
        ("01-error", "failed", "ValueError: no <b>sword</b>"),
        ("02-heir", "skipped", "chapter 1 failed"),
        ("03-death", "failed", "the kernel died: SIGKILL (-9), often for want of memory"),
        ("04-loop", "failed", "the cell was still running after 3 s (--cell-timeout)"),
        ("05-free", "passed", ""),
    ]
    assert (failed.exit_code, failed.record["status"], failed.record["exit_code"]) == (1, "failed", 1)


def test_a_failure_names_its_cell(failed: Report) -> None:
    """The cell's id and its number on the page."""
    failures = [chapter["failure"] for chapter in failed.record["chapters"] if chapter["status"] == "failed"]
    assert [(one["kind"], one["cell"], one["number"]) for one in failures] == [
        ("error", "wrong", "1.3"),
        ("kernel death", "die", "3.3"),
        ("time-out", "loop", "4.2"),
    ]


def test_cells_that_were_not_reached_are_pending(failed: Report) -> None:
    """papermill would call the cells after a dead kernel completed."""
    death = failed.record["chapters"][2]
    assert [cell["status"] for cell in death["cells"]] == ["passed", "passed", "failed", "pending"]
    saved = failed.cells("03-death")
    assert [saved[id].metadata.papermill.status for id in ("alive", "later")] == ["completed", "pending"]


def test_the_page_of_a_failed_run_has_all_that_finished(failed: Report) -> None:
    """Red verdict, reason, outputs so far, where the endless cell was, what did not run."""
    page = failed.page
    assert '<div class="verdict failed">' in page
    assert "ValueError: no &lt;b&gt;sword&lt;/b&gt;" in page
    assert all(text in page for text in ("so far", "alive", "round", "while True: pass", "fine"))
    assert "KeyboardInterrupt" in page
    assert "because chapter 1 failed" in page
    assert "never</pre>" not in page


def test_the_run_as_a_whole_has_a_limit(tmp_path: Path) -> None:
    """At the limit the finished chapters are complete, the running cell is named, the rest did not run."""
    book.write(tmp_path / "nb", "01-quick", prose("# Quick"), parameters(), code("print('done')", "quick"))
    book.write(tmp_path / "nb", "02-slow", prose("# Slow"), parameters(), code("import time\ntime.sleep(60)", "sleep"))
    book.write(tmp_path / "nb", "03-late", prose("# Late"), parameters())
    result = book.report(tmp_path / "nb", "--timeout", "8")
    assert outcome(result) == [
        ("01-quick", "passed", ""),
        ("02-slow", "failed", "the cell was still running when the run reached its limit of 8 s (--timeout)"),
        ("03-late", "skipped", "the run reached its limit of 8 s"),
    ]
    assert result.exit_code == 1
    assert result.record["seconds"] < 50  # the cell alone would sleep for 60


def test_an_interruption_leaves_a_report_and_no_process(tmp_path: Path) -> None:
    """Exit code 130; the record says interrupted; every kernel is gone."""
    book.write(
        tmp_path / "nb",
        "01-long",
        prose("# Long"),
        parameters(),
        code("1", "one"),
        code("import time\ntime.sleep(60)", "sleep"),
    )
    book.write(tmp_path / "nb", "02-next", prose("# Next"), parameters())
    with book.start(tmp_path / "nb", tmp_path / "build") as process:
        lines = iter(process.stdout.readline, "")  # type: ignore[union-attr]
        assert any("sleep" in line and "running" in line for line in lines)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    (aside,) = (tmp_path / "build" / "runs").iterdir()
    result = Report(process.returncode, out, err, aside)
    assert (result.exit_code, result.err) == (130, "")
    assert outcome(result) == [
        ("01-long", "failed", "interrupted (Ctrl-C)"),
        ("02-next", "skipped", "the run was interrupted (Ctrl-C)"),
    ]
    assert [cell["status"] for cell in result.record["chapters"][0]["cells"]] == ["passed", "passed", "failed"]
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_nothing_old_is_read_as_new(tmp_path: Path) -> None:
    """A run moves what the run before it left to build/runs, and only that."""
    build = tmp_path / "build"
    (build / "kept").mkdir(parents=True)
    (build / "kept" / "ranges.json").write_text('{"old": {}}')
    for frame in ("events", "deliveries"):
        (build / f"{frame}.parquet").write_text("old")
    (build / "kernel.log").write_text("old words")
    (build / "mine.txt").write_text("stays")
    book.write(tmp_path / "nb", "01-a", prose("# A"), parameters())
    result = book.report(tmp_path / "nb")
    assert (result.exit_code, result.record["ranges"]) == (0, None)
    # a kernel may say something on its way out; what an older one said is gone all the same
    there = {name for name in os.listdir(build) if not name.startswith(".")} - {"kernel.log"}
    assert there == {"01-a.ipynb", "mine.txt", "report.html", "run.json", "runs"}
    assert not (build / "kernel.log").exists() or "old words" not in (build / "kernel.log").read_text()


def test_the_notebooks_are_never_written_over(tmp_path: Path) -> None:
    """A build folder that is the notebooks' own is refused."""
    path = book.write(tmp_path / "build", "01-a", prose("# A"), parameters())
    before = path.read_bytes()
    result = book.report(tmp_path / "build")
    assert (result.exit_code, path.read_bytes() == before) == (2, True)
    assert "holds the notebooks themselves" in result.err


def test_a_dead_kernel_leaves_no_cluster_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's cluster ends with its run, though a kernel that used the cluster was killed."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    cells = [
        parameters('cluster: str = "embedded"  # where Kafka runs'),
        code("from streaming_lab.cluster import attach\nkafka = attach(cluster)", "attach"),
        code("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "die"),
    ]
    book.write(tmp_path / "nb", "01-death", prose("# Death"), *cells)
    result = book.report(tmp_path / "nb")
    assert (result.exit_code, result.record["chapters"][0]["failure"]["cell"]) == (1, "die")
    deadline = time.monotonic() + 60
    while living := [
        one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or [])
    ]:
        assert time.monotonic() < deadline, living
        time.sleep(0.2)


EARLY = [
    (
        "sys.exit()",
        "the cell ended its chapter early (sys.exit() or SystemExit)\nLet the cell return, or raise an error.",
    ),
    (
        "raise SystemExit(0)",
        "the cell ended its chapter early (sys.exit() or SystemExit)\nLet the cell return, or raise an error.",
    ),
    ("import os\nos._exit(0)", "the kernel died: exit status 0"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
]


def test_a_chapter_that_ends_early_is_never_green(tmp_path: Path) -> None:
    """However a cell ends its chapter, in the middle or as the last cell: red, named, and the rest is pending."""
    for number, (source, _) in enumerate(EARLY, 1):
        cells = [code("import sys\n1", "one"), code(source, "end"), code("2", "rest")]
        book.write(tmp_path / "nb", f"{number:02d}-early", prose("# Early"), parameters(), *cells)
    book.write(tmp_path / "nb", "05-last", prose("# Last"), parameters(), code("raise SystemExit", "end"))
    book.write(tmp_path / "nb", "06-skip", prose("# Skip"), parameters(), code("1", "end", "skip-execution"))
    result = book.report(tmp_path / "nb")
    chapters = result.record["chapters"]
    assert (result.exit_code, [one["status"] for one in chapters]) == (1, ["failed"] * 6)
    assert [one["failure"]["cell"] for one in chapters] == ["end"] * 6
    said = [one["failure"]["problem"].partition("\nThe end of its log:")[0] for one in chapters[:4]]
    assert said == [problem for _, problem in EARLY]
    assert [cell["status"] for cell in chapters[0]["cells"]] == ["passed", "passed", "failed", "pending"]
    assert chapters[5]["failure"]["problem"] == (
        "a cell did not run: it is tagged skip-execution\nRemove the tag, or the cell."
    )


def test_a_chapter_without_the_result_that_it_owes_is_red(tmp_path: Path) -> None:
    """Metadata `lab.results`, as chapter 03's ledger; and a ledger that is none is no reason for a traceback."""
    save = "from streaming_lab.report.record import save_result\n"
    for number, source in enumerate(["1", save + "save_result('ledger', {'requests': 'many'})"], 1):
        path = book.write(
            tmp_path / "nb", f"{number:02d}-owes", prose("# Owes"), parameters(), code(source, f"c{number}")
        )
        path.write_text(
            path.read_text().replace(
                '"metadata": {\n  "kernelspec"', '"metadata": {"lab": {"results": ["ledger"]},\n  "kernelspec"'
            )
        )
    result = book.report(tmp_path / "nb")
    assert result.exit_code == 1
    assert outcome(result) == [
        (
            "01-owes",
            "failed",
            "chapter 1 saved no ledger\n"
            'It must call save_result("ledger", ...): see the metadata lab.results of 01-owes.ipynb.',
        ),
        ("02-owes", "passed", ""),
    ]
    assert result.record["reason"].startswith("the saved ledger can't be read: ")
    assert Chapter(PROJECT / "notebooks" / "03-read-the-events.ipynb").results == ["ledger"]


def test_an_error_arrives_whole(tmp_path: Path) -> None:
    """Each line of a problem and its cure, what an assertion asserted with its values, and no raw escape sequence."""
    book.write(tmp_path / "nb", "01-lines", prose("# Lines"), parameters(), code(ESCAPE, "lines"))
    book.write(tmp_path / "nb", "02-claim", prose("# Claim"), parameters(), code(CLAIM, "claim"))
    result = book.report(tmp_path / "nb")
    assert [problem for _, _, problem in outcome(result)] == [
        "ValueError: \x1b[2Jdrows\u202e\nthe second line",
        "AssertionError: assert len(rows) == wanted + 1, where len(rows) = 2, wanted + 1 = 4",
    ]
    assert "Failed: ValueError: \\x1b[2Jdrows\\u202e" in result.out
    assert "\n  the second line\n" in result.out
    assert "\x1b" not in result.out
    assert re.search('<pre class="failure"[^>]*>the second line</pre>', result.page)
    assert "wanted + 1 = 4" in result.page


def test_a_run_leaves_no_connection_file_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connection files are in the run's own folder, also after kill -9; the next run removes them."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    book.write(tmp_path / "nb", "01-long", prose("# L"), parameters(), code("import time\ntime.sleep(60)", "sleep"))
    with book.start(tmp_path / "nb", tmp_path / "build") as process:
        lines = iter(process.stdout.readline, "")  # type: ignore[union-attr]
        assert any("sleep" in line and "running" in line for line in lines)
        kernels = list(tmp_path.glob("build/.run-*/.kernel-*.json"))
        process.kill()
    assert (len(kernels), list((tmp_path / "tmp").rglob("*.json"))) == (1, [])
    book.write(tmp_path / "nb", "01-long", prose("# L"), parameters())
    assert book.report(tmp_path / "nb").exit_code == 0
    assert list(tmp_path.rglob(".kernel-*.json")) == []


TINY = 'mount -t tmpfs -o size=16k tmpfs "$1" && shift && exec "$@"'


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    """Exit code 2, reason, folder and cure; no half page or notebook, no traceback."""
    (tmp_path / "build").mkdir()
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*private, TINY, "sh", tmp_path / "build", "true"]).returncode:
        missing("a small file system of one's own (unshare --user --mount)")
    book.write(tmp_path / "nb", "01-a", prose("# A"), parameters(), code("print('x' * 20_000)", "fill"))
    inner = [sys.executable, "-c", book.COMMAND, tmp_path / "nb"]
    listed = '"$@"; echo "exit code $?"; ls "$LAB_BUILD"'
    ran = subprocess.run(
        [*private, TINY, "sh", tmp_path / "build", "sh", "-c", listed, "sh", *inner],
        env={**os.environ, "LAB_BUILD": str(tmp_path / "build"), "PYTHONPATH": str(book.SOURCE)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    problem, cure = ran.stderr.splitlines()
    assert problem.startswith(f"the report does not fit: No space left on device in {tmp_path / 'build'} (")
    assert "LAB_BUILD" in cure
    assert ran.stdout.splitlines()[-1] == "exit code 2"
