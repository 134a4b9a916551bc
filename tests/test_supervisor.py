"""The life of a cluster: its users, its end, and that nothing is left, whatever happens to which process."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from clusters import gone, leaves_nothing, now, pids, user
from java import stand_in
from waiting import eventually

from streaming_lab.cluster import ClusterError, attach, running
from streaming_lab.cluster.embedded import state
from streaming_lab.cluster.embedded.start_stop import StopResult, kill_own, stop_cluster
from streaming_lab.paths import PROJECT
from streaming_lab.processes import identify_process, is_alive

REAL = pytest.mark.parametrize("home", ["a real JVM"], indirect=True)


@pytest.fixture
def home(request: pytest.FixtureRequest, tmp_path: Path, java: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lab home of this test's own, with a short grace time; the test's end stops every cluster in it.

    The broker is a stand-in that opens its port, except in the tests marked REAL.
    """
    if not hasattr(request, "param"):
        stand_in(java, monkeypatch)
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("LAB_GRACE", "0.4")
    yield tmp_path
    for name in list(state.instance_names(tmp_path)):
        stop_cluster(state.state_file(name, tmp_path), lambda line: None)


def test_a_second_user_attaches_and_the_last_one_to_leave_ends_it(home: Path) -> None:
    """A cluster of two users outlives the first one that leaves, and ends with the second."""
    with attach("embedded", user="one") as one:
        first = now(home)
        with user() as other:
            both = now(home)
            assert [(u.name, u.process and u.process.pid) for u in both.users] == [
                ("one", os.getpid()),
                ("driver", other.pid),
            ]
            one.close()
            assert [u.name for u in now(home).users] == ["driver"]
            assert pids(now(home)) == pids(first)
            assert running() == one.connection
    assert leaves_nothing(first, home)
    assert running() is None


def test_a_process_that_attaches_twice_is_two_users(home: Path) -> None:
    """Closing one attachment leaves the other one its cluster."""
    with attach("embedded"):
        with attach("embedded"):
            assert len(now(home).users) == 2
        assert len(now(home).users) == 1
        assert is_alive(now(home).brokers[0].process)


@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_driver_that_ends_in_any_way_leaves_no_jvm(home: Path, ending: str) -> None:
    """Ctrl-C (its whole process group), a polite end, kill -9."""
    with user(start_new_session=True) as driver:
        found = now(home)
        os.killpg(driver.pid, getattr(signal, ending))
        driver.wait(30)
    assert leaves_nothing(found, home)


def test_a_driver_whose_code_fails_leaves_no_jvm(home: Path) -> None:
    """A failed chapter is a process that ends with a traceback."""
    with user("found = c.state; raise SystemExit(1)") as driver:
        found = now(home)
        assert driver.wait(30) == 1
    assert leaves_nothing(found, home)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["interrupt and shut down", "kill"])
def test_a_kernel_that_ends_leaves_no_jvm(home: Path, way: str) -> None:
    """A real kernel attaches in a cell, is interrupted in the next one, and ends."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(PROJECT))
    try:
        code = "from streaming_lab.cluster import attach; c = attach('embedded', user='kernel')"
        assert client.execute_interactive(code, timeout=60)["content"]["status"] == "ok"
        found = now(home)
        assert [u.name for u in found.users] == ["kernel"]
        if way == "kill":
            os.kill(found.users[0].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        else:
            client.execute("import time; time.sleep(60)")
            manager.interrupt_kernel()
            assert not gone(found)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=way == "kill")
        manager.context.destroy()
    assert leaves_nothing(found, home)


@pytest.mark.slow
def test_a_kernel_restarted_in_jupyterlab_finds_its_cluster_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter's server is a user of the cluster as well: the kernel's end leaves it, the server's end does not."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
        monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/01-start-the-cluster.ipynb")
        for _ in range(2):  # the second kernel adds no second entry
            with user():
                found = now(home)
                assert sorted(user.name for user in found.users) == ["JupyterLab", "driver"]
            assert eventually(lambda: [user.name for user in now(home).users] == ["JupyterLab"])
        time.sleep(1.0)  # more than the grace time
        assert not gone(found)
        server.kill()
    assert leaves_nothing(found, home)


@pytest.mark.slow
@REAL
def test_when_the_supervisor_is_killed_its_watchdog_ends_the_jvm(home: Path) -> None:
    """The watchdog notices what SIGKILL keeps the supervisor from; the next start removes the rest."""
    with attach("embedded"):
        found = now(home)
        os.kill(found.supervisor.pid, signal.SIGKILL)
        assert eventually(lambda: gone(found))
        assert running() is None
    with attach("embedded"):
        assert now(home).token != found.token
        assert len(list((home / "run").iterdir())) == 1


def test_orphans_of_a_killed_supervisor_and_watchdog_are_ended_by_the_next_start(home: Path) -> None:
    """The state file names the JVM by pid and start time: enough to end it, and to end nothing else."""
    with attach("embedded"):
        found = now(home)
        watchdog = [one.pid for one in psutil.Process(found.supervisor.pid).children() if one.pid not in pids(found)]
        assert len(watchdog) == 1
        os.kill(watchdog[0], signal.SIGKILL)
        os.kill(found.supervisor.pid, signal.SIGKILL)
        assert eventually(lambda: not is_alive(found.supervisor))
        assert is_alive(found.brokers[0].process)
    with attach("embedded"):
        assert gone(found)


def test_a_pid_that_is_now_something_else_is_left_alone(home: Path) -> None:
    """A stale state file names our own pid with another start time: nobody is harmed, and a cluster starts."""
    with attach("embedded") as first:
        found = now(home)
        first.close(wait=True)
    sleeper = subprocess.Popen(["sleep", "60"])
    stranger = replace(identify_process(sleeper.pid), ticks=1)
    stale = replace(found, supervisor=stranger, brokers=tuple(replace(b, process=stranger) for b in found.brokers))
    state.StateFile(state.state_file("", home), "token").write(stale)
    try:
        assert running() is None
        with attach("embedded"):
            assert now(home).cluster_id != found.cluster_id
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_stop_kills_only_processes_of_the_lab(home: Path) -> None:
    """A forged or misread state file names a stranger by its true pid and start: it lives, and the file goes."""
    with attach("embedded") as first:
        found = now(home)
        first.close(wait=True)
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    stranger = identify_process(sleeper.pid)
    file = state.state_file("", home)
    try:
        for status in ("running", "starting"):
            brokers = tuple(replace(b, process=stranger, status="running") for b in found.brokers)
            forged = replace(found, status=status, supervisor=stranger, brokers=brokers)
            state.StateFile(file, "token").write(forged)
            assert stop_cluster(file, lambda line: None) == StopResult((), False)
            assert not file.exists()
        file.write_text(json.dumps({"supervisor": {"pid": stranger.pid, "created": stranger.created}}))
        assert stop_cluster(file, lambda line: None) is None
        assert kill_own([stranger], file) == []
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"status": "running"}'])
def test_a_broken_state_file_is_as_good_as_none(home: Path, content: bytes) -> None:
    """Half a file, or JSON that is no state."""
    state.state_file("", home).write_bytes(content)
    assert running() is None
    assert stop_cluster(state.state_file("", home), lambda line: None) is None


def test_the_state_file_is_private_and_round_trips(home: Path) -> None:
    """The state file holds the supervisor's token; a read returns the state that was written."""
    with attach("embedded"):
        assert stat.S_IMODE(state.state_file("", home).stat().st_mode) == 0o600
        found = now(home)
        assert state.State.from_json(found.to_json()) == found


def test_the_supervisor_answers_nobody_without_the_token(home: Path) -> None:
    """A stranger on loopback cannot stop the cluster."""
    from streaming_lab.cluster.embedded.rpc import call

    with attach("embedded"):
        found = now(home)
        with pytest.raises(OSError, match="without an answer"):
            call(found.address, "guess", "stop")
        assert call(found.address, found.token, "ping")["users"] == 1


@pytest.mark.slow
def test_two_starts_at_the_same_moment_end_with_one_cluster(home: Path) -> None:
    """Four processes start together; all get the same brokers."""
    code = "from streaming_lab.cluster import attach; c = attach(); print(c.state.supervisor.pid, flush=True); input()"
    starts = [
        subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    supervisors = {start.stdout.readline() for start in starts}  # type: ignore[union-attr]
    found = now(home)
    assert supervisors == {f"{found.supervisor.pid}\n".encode()}
    assert len(found.users) == 4
    for start in starts:
        start.communicate(b"\n", timeout=60)
    assert leaves_nothing(found, home)


def test_removing_the_state_file_ends_the_cluster(home: Path) -> None:
    """A removed lab folder leaves no JVM that nobody knows of."""
    with attach("embedded"):
        found = now(home)
        state.state_file("", home).unlink()
        assert leaves_nothing(found, home)


@pytest.mark.slow
@REAL
def test_a_supervisor_that_gets_sigterm_ends_its_brokers_first(home: Path) -> None:
    """SIGTERM, as a machine's shutdown sends it."""
    with attach("embedded"):
        found = now(home)
        os.kill(found.supervisor.pid, signal.SIGTERM)
        assert leaves_nothing(found, home)


def test_waiting_for_the_end_returns_when_it_is_the_end(home: Path) -> None:
    """The report's last act: no grace time, and no process when it returns; closing twice is fine."""
    cluster = attach("embedded")
    found = now(home)
    cluster.close(wait=True)
    assert gone(found)
    cluster.close(wait=True)
    with pytest.raises(ClusterError, match="gone"):
        cluster.describe()


@pytest.mark.slow
@REAL
def test_a_broker_that_dies_is_named_with_the_end_of_its_log(home: Path) -> None:
    """A broker that ended without a command is an error for `describe` and the next `attach`; stop cleans up."""
    with attach("embedded") as cluster:
        found = now(home)
        os.kill(found.brokers[0].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        assert eventually(lambda: now(home).brokers[0].status == "dead")
        for ask in (cluster.describe, lambda: attach("embedded")):
            with pytest.raises(ClusterError, match=r"(?s)broker 1 died.* INFO ") as raised:
                ask()
            assert "cluster.py stop" in raised.value.cure
    assert stop_cluster(state.state_file("", home), lambda line: None) is not None or gone(found)


def test_a_frozen_supervisor_is_killed_and_stop_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that does not answer within the deadline is among the forced pids."""
    from streaming_lab.cluster.embedded import rpc

    monkeypatch.setattr(rpc.call, "__defaults__", (1.0,))
    with attach("embedded"):
        found = now(home)
        os.kill(found.supervisor.pid, signal.SIGSTOP)
        end = stop_cluster(state.state_file("", home), lambda line: None)
        assert end is not None
        assert end.forced[0] == found.supervisor.pid
        assert eventually(lambda: gone(found))


def test_stop_by_one_ends_the_cluster_of_another(home: Path) -> None:
    """`cluster.py stop` ends a cluster that others use; their `close` is quiet."""
    with attach("embedded"):
        found = now(home)
        threads = set(threading.enumerate())
        end = stop_cluster(state.state_file("", home), lambda line: None)
        assert (end.forced if end else None) == ()
        assert gone(found)
        assert eventually(lambda: not set(threading.enumerate()) - threads)
