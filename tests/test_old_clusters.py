"""A cluster that another version of the lab started: named with the command that ends it, never doubled."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import eventually

from streaming_lab.cluster import ClusterError, attach, cli, running
from streaming_lab.cluster.embedded import start_stop, state
from streaming_lab.processes import find_place, identify_process

SUPERVISOR = "import sys, time, pathlib; file = pathlib.Path(sys.argv[1])\nwhile file.exists(): time.sleep(0.01)"
STUBBORN = "import time; time.sleep(60)"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The everyday cluster's state file, in a lab home of this test's own."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    return tmp_path / "cluster.json"


@contextmanager
def stranger(file: Path, program: str = SUPERVISOR) -> Iterator[subprocess.Popen[bytes]]:
    """A process of another version, and its state file: other names, other fields, this test's process as a user."""
    file.touch()
    with subprocess.Popen(
        [sys.executable, "-c", program, file, "app.cluster.keeper"], start_new_session=True
    ) as process:
        try:
            assert eventually(psutil.Process(process.pid).cmdline)  # empty for a moment after exec
            known, ours = (_as_once(pid) for pid in (process.pid, os.getpid()))
            found = {"supervisor": known, "brokers": [{"id": 1, "process": None}], "users": [{"process": ours}]}
            file.write_text(json.dumps(found))
            yield process
        finally:
            process.kill()


def _as_once(pid: int) -> dict[str, Any]:
    """A process as the versions before 0.2 wrote it: pid and start by the clock."""
    found = asdict(identify_process(pid))
    return {name: found[name] for name in ("pid", "created")}


def known_state() -> dict[str, Any]:
    """The state of a running cluster as this version writes it."""
    supervisor = identify_process(os.getpid())
    found = state.State(
        "running",
        find_place(),
        supervisor,
        ("127.0.0.1", 9),
        "token",
        "run",
        "id",
        None,
        "lesson",
        False,
        1.0,
        1.0,
        3.0,
        (),
        (),
    )
    return found.to_json()


def test_attach_names_the_cluster_of_another_version_and_leaves_it_alone(file: Path) -> None:
    """No second cluster is started, and the file stays."""
    with stranger(file) as process:
        with pytest.raises(
            ClusterError, match=rf"another version of the lab has started is running \(pid {process.pid}"
        ):
            attach("embedded")
        assert running() is None
        assert process.poll() is None
        assert file.exists()


def test_status_shows_it_and_stop_ends_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A supervisor of any version ends when its state file is removed; its user, this process, is not touched."""
    with stranger(file) as process:
        assert cli.main(["status"]) == 0
        assert cli.main(["stop"]) == 0
        assert process.wait(5) == 0
    shown = f"another version's cluster ({file}); end it: python3 scripts/cluster.py stop\n"
    assert capsys.readouterr().out == shown + "stopped cleanly\n"
    assert not file.exists()


def test_one_that_does_not_end_is_ended_by_force(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that outlives the deadline is killed, and the result names its pid."""
    monkeypatch.setattr(start_stop, "STOP_TIMEOUT", 0.1)
    with stranger(file, STUBBORN) as process:
        assert start_stop.stop_cluster(file, lambda _: None) == start_stop.StopResult((process.pid,), False)
        assert process.wait(5) == -signal.SIGKILL


def test_a_file_whose_processes_are_gone_is_as_good_as_none(file: Path) -> None:
    """A state file of another version without living processes does not stand in the way."""
    with stranger(file):
        pass
    assert state.strangers(file) == []
    assert start_stop.stop_cluster(file, lambda _: None) is None
    assert not file.exists()


def test_what_a_later_version_added_is_ignored(file: Path) -> None:
    """A known state with one field more is a known state."""
    known = known_state()
    file.write_text(json.dumps({**known, "colour": "green"}))
    found = state.read_state(file)
    assert found is not None
    assert found.to_json() == known
    assert state.strangers(file) == []
