"""One command frees the disk: of what can be made again, in the lab's own folders, and never under a living cluster."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streaming_lab import clean
from streaming_lab.paths import PROJECT

GONE = 2**22 + 1  # no pid: more than Linux and macOS count to
PYTHON = sys.implementation.cache_tag
OLD = {
    ".lab/cluster.json": json.dumps({"supervisor": {"pid": GONE}, "users": [{"process": {"pid": os.getpid()}}]}),
    f".lab/run/20260101-000000-{GONE}/kafka.log": "x",
    ".lab/supervisor.log": "x",
    ".lab/faults/failed-7/problems.txt": "x",
    ".lab/cache/jars/kafka.jar": "x",
    "build/temp.linux/_columns.o": "x",
    "build/.report.html.abc": "x",
    "app/_columns.cpython-39-x86_64-linux-gnu.so": "x",
    "app/__pycache__/a.pyc": "x",
    ".mypy_cache/a.json": "x",
}
LAST = {
    "build/report.html": "x",
    "build/run.json": '{"chapters": [{"name": "notes [1]"}, {"name": "../thesis"}]}',
    "build/notes [1].ipynb": "x",
    "build/01-start.ipynb": "x",
    "build/kept/ledger.json": "x",
    f"app/_columns.{PYTHON}-x86_64-linux-gnu.so": "x",
    ".lab/outbox/events.sqlite": "x",
    ".venv/pyvenv.cfg": "version = 3.8.1\n",
}
OTHERS = {
    "app/a.py": "x",
    "build/thesis.odt": "x",
    "build/mine.ipynb": "x",
    ".lab/diary.txt": "x",
    "seed/program.py": "x",
    "data.parquet": "x",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with all kinds of files, old ones, the last run's, and a person's."""
    folder = tmp_path / "project"
    for name, text in {**OLD, **LAST, **OTHERS}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(clean, "PROJECT", folder)
    for name, place in {"LAB_HOME": ".lab", "LAB_BUILD": "build", "LAB_CACHE": ".lab/cache"}.items():
        monkeypatch.setenv(name, str(folder / place))
    return folder


def left(folder: Path) -> set[str]:
    """The files that are there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_is_old_goes_and_the_last_report_stays(project: Path) -> None:
    """Ended clusters, caches, half-written and stale builds; not the report, the environment, or a person's file."""
    assert clean.main(["--yes"]) == 0
    assert left(project) == {*LAST, *OTHERS}


def test_the_core_that_the_environment_uses_stays(project: Path) -> None:
    """Whichever Python it has, and whichever runs this."""
    (project / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.9.1\n")
    assert clean.main(["--yes"]) == 0
    assert left(project) == {*LAST, *OTHERS, "app/_columns.cpython-39-x86_64-linux-gnu.so"}


def test_all_leaves_only_what_is_the_persons(project: Path) -> None:
    """The report, the outboxes and the environment, too."""
    assert clean.main(["--all", "--yes"]) == 0
    assert left(project) == set(OTHERS)


def test_it_says_what_and_how_much_before_it_asks(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each kind, the sum, and a question whose answer is no unless it is yes."""
    (project / ".lab" / "cache" / "jars" / "kafka.jar").write_bytes(b"x" * 3_000_000)
    for answer in ("\n", "n\n", "", "perhaps\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        assert clean.main([]) == 0
        said = capsys.readouterr().out
        assert "    3.0 MB  Kafka's jars, start-up caches, environments of benchmarks: .lab/cache/jars\n" in said
        assert "    3.1 MB  in all\nRemove all this? [y/N] " in said
        assert said.endswith("Nothing was removed. (Without a question: --yes)\n")
        assert left(project) == {*OLD, *LAST, *OTHERS}
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert clean.main([]) == 0
    assert capsys.readouterr().out.endswith("Freed 3.1 MB.\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert clean.main([]) == 0
    assert capsys.readouterr().out == "Nothing to remove.\n"


@pytest.mark.parametrize("everything", [[], ["--all"]])
def test_a_living_cluster_keeps_all_that_it_may_use_and_the_report(
    project: Path, capsys: pytest.CaptureFixture[str], everything: list[str]
) -> None:
    """Its Java is in .venv; whatever its version called the process. Another cluster's old folder goes all the same."""
    run = project / ".lab" / "run" / f"20260102-000000-{GONE + 1}"
    run.mkdir()
    (run / "kafka.log").touch()
    (project / ".lab" / "cluster-trio.json").write_text(
        json.dumps({"supervisor": {"pid": os.getpid()}, "run": str(run)})
    )
    assert clean.main([*everything, "--yes"]) == 0
    living = {
        f".lab/run/{run.name}/kafka.log",
        ".lab/cluster-trio.json",
        ".lab/supervisor.log",
        ".lab/cache/jars/kafka.jar",
    }
    assert left(project) >= living | set(LAST)
    assert not (project / ".lab" / "cluster.json").exists()
    assert not (project / ".lab" / "run" / f"20260101-000000-{GONE}").exists()
    assert capsys.readouterr().out.startswith(
        f"A cluster runs (pid {os.getpid()}): all that it may use stays, and the report"
    )


def test_a_cluster_that_is_just_starting_counts(project: Path) -> None:
    """Its run folder is there before its state file, and ends in its supervisor's pid; one that was kept has ended."""
    folder = project / ".lab" / "run" / f"20260102-000000-{os.getpid()}"
    folder.mkdir()
    assert clean.main(["--yes"]) == 0
    assert folder.exists()
    assert (project / ".lab" / "cache" / "jars" / "kafka.jar").exists()
    (folder / "kept").touch()
    assert clean.main(["--yes"]) == 0
    assert left(project) == {*LAST, *OTHERS}


def test_a_cache_that_others_share_stays(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """LAB_CACHE outside the project: a class may live on it."""
    shutil.move(project / ".lab" / "cache", tmp_path / "shared")
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "shared"))
    assert clean.main(["--all", "--yes"]) == 0
    assert (tmp_path / "shared" / "jars" / "kafka.jar").exists()
    assert f"{tmp_path / 'shared'} stays: LAB_CACHE says that others may use it, too.\n" in capsys.readouterr().out


def test_a_link_goes_and_what_it_points_to_stays(project: Path, tmp_path: Path) -> None:
    """Nothing outside the lab's own folders is touched."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    (project / ".lab" / "cache" / "link").symlink_to(tmp_path / "elsewhere")
    assert clean.main(["--yes"]) == 0
    assert not os.path.lexists(project / ".lab" / "cache" / "link")
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_what_cannot_be_removed_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest goes; exit code 1."""
    refuse = project / ".lab" / "supervisor.log"
    unlink = Path.unlink
    monkeypatch.setattr(
        Path, "unlink", lambda path, **more: (_ for _ in ()).throw(OSError) if path == refuse else unlink(path, **more)
    )
    assert clean.main(["--yes"]) == 1
    assert capsys.readouterr().out.endswith("Could not remove .lab/supervisor.log\n")
    assert left(project) == {*LAST, *OTHERS, ".lab/supervisor.log"}


def test_a_file_with_a_second_name_frees_nothing(tmp_path: Path) -> None:
    """uv links packages from its cache: removing one of two names gives no room."""
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    assert clean.freed_by(tmp_path / "one") >= 100_000
    os.link(tmp_path / "one", tmp_path / "two")
    assert clean.freed_by(tmp_path / "one") == 0


def test_it_needs_nothing_but_python(tmp_path: Path) -> None:
    """On a broken .venv, with no package at all: it removes the environment and makes none."""
    for folder in ("app", "scripts"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(PROJECT / "requirements.txt", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text("broken")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "PYTHONPATH"))}
    bare = Path(sys.base_prefix) / "bin" / "python3"
    ran = subprocess.run(
        [bare, "-S", tmp_path / "scripts" / "clean.py", "--all", "--yes"],
        env=own, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert not (tmp_path / ".venv").exists()
