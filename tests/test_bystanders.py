"""A living cluster is neither taken for a dead one nor ended by a bystander: hosts, clocks, floods, disks, junk."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import gone, now, user
from java import stand_in
from waiting import eventually

from streaming_lab import clean, processes
from streaming_lab.cluster import ClusterError, attach, cli, running
from streaming_lab.cluster.embedded import rpc, state
from streaming_lab.cluster.embedded.broker import BrokerPorts, BrokerProcess
from streaming_lab.cluster.embedded.jvm import Jvm
from streaming_lab.cluster.embedded.start_stop import forget_cluster, stop_cluster
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, folder_error
from streaming_lab.ports import free_ports
from streaming_lab.processes import Place, find_place, identify_process, is_alive, locate

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]
HERE = Place("lab1", "m1", "b1", "pid:[1]")
SCRIPT = [sys.executable, str(PROJECT / "scripts" / "cluster.py")]


def can_unshare(*more: str) -> bool:
    found = shutil.which("unshare")
    return bool(found) and not subprocess.run([*NAMESPACE, *more, "true"], capture_output=True).returncode


@pytest.fixture
def home(tmp_path: Path, java: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lab home of this test's own, with the stand-in for `java`; the test's end stops every cluster in it."""
    stand_in(java, monkeypatch)
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("LAB_GRACE", "0.4")
    monkeypatch.setenv("LAB_SAID", "1")  # scripts say nothing of their environment
    yield tmp_path
    for name in list(state.instance_names(tmp_path)):
        forget_cluster(state.state_file(name, tmp_path))
        stop_cluster(state.state_file(name, tmp_path), lambda line: None)


def lives(home: Path, found: state.State) -> bool:
    """Whether the cluster runs on, with its files, and answers."""
    same = now(home).token == found.token and not gone(found) and Path(found.run).is_dir()
    return same and rpc.call(found.address, found.token, "ping")["ending"] is False


# Another machine, another process namespace, another boot.


@pytest.mark.parametrize(
    ("place", "where"),
    [
        (HERE, "here"),
        (replace(HERE, host="renamed"), "here"),
        (replace(HERE, boot="b2", namespace="pid:[7]"), "rebooted"),
        (replace(HERE, host="lab2", machine="m2", boot="b2"), "elsewhere"),
        (replace(HERE, host="clone", boot="b2"), "elsewhere"),
        (replace(HERE, namespace="pid:[7]"), "elsewhere"),
        (replace(HERE, host="lab2", boot=""), "elsewhere"),
    ],
)
def test_a_place_is_here_or_was_here_or_is_elsewhere(place: Place, where: str) -> None:
    """Boot and namespace decide, then host name and machine: a clone of the same image is another machine."""
    assert locate(place, HERE) == where


@LINUX
def test_a_container_on_the_same_home_leaves_the_cluster_alone(home: Path) -> None:
    """From another process namespace status, start, stop and clean name the place, and remove nothing."""
    if not can_unshare():
        pytest.skip("unshare --pid needs root")
    with attach("embedded"):
        found = now(home)
        ran = {}
        for command in ("status", "start", "stop"):
            ran[command] = subprocess.run([*NAMESPACE, *SCRIPT, command], capture_output=True, text=True, cwd=PROJECT)
        subprocess.run(
            [*NAMESPACE, sys.executable, str(PROJECT / "scripts" / "clean.py")], cwd=PROJECT, stdin=subprocess.DEVNULL
        )
        assert {command: one.returncode for command, one in ran.items()} == {"status": 0, "start": 2, "stop": 2}
        for one in ran.values():
            assert str(found.place) in one.stdout + one.stderr
            assert "scripts/cluster.py forget" in one.stdout + one.stderr
        assert ran["stop"].stderr.count("\n") == 3  # the last one names the doctor
        assert lives(home, found)


def remote(home: Path) -> Path:
    """The files of a cluster that runs on another host, as that host wrote them: its pids are this test's."""
    folder = home / "run" / f"20260101-000000-{os.getpid()}"
    folder.mkdir(parents=True)
    ours = identify_process(os.getpid())
    found = state.State(
        status="running",
        place=replace(find_place(), host="lab2", boot="b2"),
        supervisor=replace(ours, pid=2**22 + 1),
        address=("127.0.0.1", 9),
        token="token",
        run=f"/elsewhere/run/{folder.name}",
        cluster_id="id",
        version="4.4.0",
        profile="lesson",
        training=False,
        started_at=1.0,
        ready_seconds=1.0,
        grace=3.0,
        brokers=(state.BrokerState(1, 9092, 9093, replace(ours, pid=2**22 + 2), "running"),),
        users=(),
    )
    state.StateFile(state.state_file("", home), "token").write(found)
    return folder


def test_a_cluster_of_another_host_is_named_and_kept(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Attach and stop are refused, status and the disk's command name the host; its files stay."""
    folder, file = remote(home), state.state_file("", home)
    for refused in (lambda: attach("embedded"), lambda: cli.main(["stop"])):
        with pytest.raises(ClusterError, match=r"runs on lab2") as raised:
            refused()
        assert "scripts/cluster.py forget" in raised.value.cure
    assert running() is None
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out.startswith("a cluster runs on lab2")
    assert not [path for path in clean.ended_clusters(home) if path in (folder, file)]
    assert any("A cluster runs on lab2" in line for line in clean.describe_kept())


def test_a_cluster_whose_host_is_gone_is_forgotten_by_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`forget` removes its files and no other; then a cluster starts here, which `forget` does not touch."""
    folder = remote(home)
    assert cli.main(["forget"]) == 0
    assert capsys.readouterr().out.startswith("forgot the cluster that ran on lab2")
    assert [folder.exists(), state.state_file("", home).exists()] == [False, False]
    with attach("embedded"):
        found = now(home)
        assert cli.main(["forget"]) == 0
        assert lives(home, found)


def test_a_cluster_of_a_former_boot_is_swept(home: Path) -> None:
    """After a reboot nothing of it runs, even where its pids are in use again."""
    with attach("embedded") as cluster:
        found = now(home)
        cluster.close(wait=True)
    ours = identify_process(os.getpid())
    stale = replace(found, place=replace(found.place, boot="before"), supervisor=ours)
    state.StateFile(state.state_file("", home), found.token).write(stale)
    with attach("embedded"):
        assert now(home).token != found.token


# The clock.


def test_a_clock_that_was_set_makes_no_cluster_dead(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader whose clock (and boot time by the clock) is an hour ahead finds the same processes."""
    with attach("embedded"):
        found, real = now(home), time.time
        monkeypatch.setattr(processes.time, "time", lambda: real() + 3600)
        if sys.platform == "linux":
            monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: psutil.boot_time() + 3600, raising=False)
        assert running() is not None
        with attach("embedded"):
            assert lives(home, found)


# Strangers at the socket.


def test_no_other_user_reaches_the_supervisor(home: Path) -> None:
    """The socket is a Unix socket in a folder that only its owner can enter."""
    with attach("embedded"):
        address = now(home).address
        assert isinstance(address, str)
        assert Path(address).is_socket()
        assert Path(address).parent.stat().st_mode & 0o777 == 0o700


def test_a_long_path_puts_the_socket_into_a_short_private_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Unix socket's path holds about a hundred bytes; the socket goes with its cluster."""
    monkeypatch.setenv("LAB_HOME", str(home / ("deep" * 30)))
    with attach("embedded") as cluster:
        address = Path(str(cluster.state.address))
        assert address.is_socket()
        assert address.parent.stat().st_mode & 0o777 == 0o700
        assert len(os.fsencode(address)) <= rpc.LONGEST_SOCKET_PATH
        cluster.close(wait=True)
    assert not address.exists()


@contextmanager
def served(run: Path) -> Iterator[rpc.Server]:
    """A server that answers each command with its name."""
    server = rpc.Server("token", lambda command, arguments: {"command": command}, run)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_an_open_folder_is_not_trusted_with_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where modes do not keep others out the server takes a port and the token decides."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for folder in (tmp_path, tmp_path / f"streaming-lab-{os.getuid()}"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    with served(tmp_path) as server:
        assert isinstance(server.address, tuple)
        assert rpc.call(server.address, "token", "hello") == {"command": "hello"}


@pytest.mark.slow
def test_a_flood_of_strangers_costs_no_threads_and_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred silent connections to the port: few threads wait for them, and a caller is answered soon."""
    monkeypatch.setattr(rpc, "CALL_TIMEOUT", 0.3)
    monkeypatch.setattr(rpc, "socket_paths", lambda run: iter(()))
    with served(tmp_path) as server, ExitStack() as flood:
        before = threading.active_count()
        for _ in range(200):
            flood.enter_context(socket.create_connection(server.address, timeout=5))
            assert threading.active_count() <= before + rpc.CALLERS
        assert eventually(lambda: answers(server))


def answers(server: rpc.Server) -> bool:
    try:
        return rpc.call(server.address, "token", "hello") == {"command": "hello"}
    except OSError:
        return False


@LINUX
@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_FSIZE"])
def test_a_supervisor_without_descriptors_or_disk_goes_on(home: Path, limit: str) -> None:
    """Every look at a user or every write fails for a second: the state is old for a while, and then right."""
    with attach("embedded", user="one"):
        found, kind = now(home), getattr(resource, limit)
        usual = resource.prlimit(found.supervisor.pid, kind)
        with user() as other:
            assert len(now(home).users) == 2
            resource.prlimit(found.supervisor.pid, kind, (3, usual[1]))
            other.kill()
            other.wait()
            time.sleep(1.0)  # four of the supervisor's looks
            assert len(now(home).users) == 2
            assert not list(home.glob("*.tmp"))
        resource.prlimit(found.supervisor.pid, kind, usual)
        assert eventually(lambda: len(now(home).users) == 1)
        assert lives(home, found)


def test_callers_that_talk_nonsense_leave_no_line_in_the_log(home: Path) -> None:
    """Whoever has no token gets no answer, whoever has one is told what was wrong; the log stays empty."""
    with attach("embedded"):
        found = now(home)
        for line in (
            b"\xff\n",
            b"[" * 60000 + b"\n",
            b'{"token": "\xc3\xa9"}\n',
            b'{"token": "\\ud800"}\n',
            b"7\n",
            b"\n",
        ):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(20)
                stranger.connect(str(found.address))
                stranger.sendall(line)
                assert stranger.recv(100) == b""
        for command, more in (("attach", {}), ("attach", {"user": "x", "pid": 2**22 + 1}), ("kill", {"broker": "one"})):
            assert f"could not {command}" in rpc.call(found.address, found.token, command, **more)["problem"]
        assert (home / "supervisor.log").read_bytes() == b""
        assert lives(home, found)


# The disk.


def test_the_run_folder_is_its_owners_alone(home: Path) -> None:
    """Logs, data and the supervisor's log: no bit for group or others, whatever the umask was."""
    with attach("embedded"):
        paths = [home / "supervisor.log", *Path(now(home).run).rglob("*")]
        assert {path.name for path in paths} >= {"supervisor.log", "kafka.log", "server.properties", "data"}
        assert [path for path in paths if not path.is_symlink() and path.stat().st_mode & 0o077] == []


@LINUX
def test_a_start_on_a_full_disk_names_the_disk(home: Path) -> None:
    """Two lines and exit code 2: the folder, what is free, and what to do."""
    if not can_unshare("--mount"):
        pytest.skip("unshare --mount needs root")
    mount = f'mount -t tmpfs -o size=64k tmpfs {home}; head -c 60K /dev/zero > {home}/fill; exec "$@"'
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", *SCRIPT, "start"], capture_output=True, text=True, cwd=PROJECT
    )
    first = ran.stderr.splitlines()[0]
    assert (ran.returncode, first) == (2, f"the disk of {home} is full: 0.0 MB of 0.1 MB are free"), ran.stderr
    assert "LAB_HOME" in ran.stderr


def test_the_space_of_a_disk_is_told_only_when_it_is_short(tmp_path: Path) -> None:
    """Another failure keeps its own words."""
    other = LabError("port 9 is taken", "Stop it.")
    assert folder_error(tmp_path, other) is other
    assert folder_error(tmp_path, PermissionError(13, "Permission denied")).problem == (
        f"cannot write in {tmp_path}: Permission denied"
    )


def test_a_home_that_cannot_be_written_is_told_in_two_lines(tmp_path: Path) -> None:
    """A folder below a file, for example; exit code 2."""
    (tmp_path / "file").touch()
    environment = {**os.environ, "LAB_SAID": "1", "LAB_HOME": str(tmp_path / "file" / "lab")}
    for command, code in (("start", 2), ("status", 1), ("stop", 0)):
        ran = subprocess.run([*SCRIPT, command], capture_output=True, text=True, env=environment, cwd=PROJECT)
        assert (ran.returncode, ran.stderr.count("\n")) == (code, 2 if code == 2 else 0), ran.stderr


# Junk in the state file.

JUNK: tuple[Any, ...] = (
    None,
    "",
    "text",
    "\ud800",
    -1,
    1.5,
    1e300,
    2**70,
    True,
    [],
    {},
    [[]],
    "../x",
    "/",
    float("nan"),
)
FIELDS = list(state.State.__dataclass_fields__)


@pytest.fixture
def stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The state of a cluster that has ended."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "lab"))
    remote(tmp_path / "lab")
    known = json.loads(state.state_file("", tmp_path / "lab").read_bytes())
    return {**known, "place": {**vars(find_place())}}


@pytest.mark.parametrize("field", [*FIELDS, "pid", "created", "ticks"])
def test_junk_in_any_field_is_no_traceback_and_removes_nothing_else(
    tmp_path: Path, stale: dict[str, Any], field: str
) -> None:
    """Status, stop and the disk's command pass over every kind of junk; a folder that `run` names elsewhere stays."""
    precious, file = tmp_path / "precious", state.state_file("", tmp_path / "lab")
    (precious / "20260101-000000-1").mkdir(parents=True)
    for junk in (*JUNK, str(precious), str(precious / "20260101-000000-1"), f"{tmp_path}/lab/run/../../precious"):
        inside = {"supervisor": {**stale["supervisor"], field: junk}} if field not in FIELDS else {field: junk}
        file.write_text(json.dumps({**stale, **inside}))
        assert [cli.main([command]) for command in ("status", "stop", "status")] == [1, 0, 1]
        clean.find_heaps(True)
        assert not file.exists()
        assert (precious / "20260101-000000-1").is_dir()
    assert list((tmp_path / "lab").glob("*.tmp")) == []


@pytest.mark.parametrize("content", [b"[" * 100000, b'{"a":' * 100000, b"\xff\xfe", b"", b"9" * 5000])
def test_a_file_of_junk_is_no_state(tmp_path: Path, stale: dict[str, Any], content: bytes) -> None:
    """Deep, binary, empty, endless: as good as none."""
    file = state.state_file("", tmp_path / "lab")
    file.write_bytes(content)
    assert [state.read_state(file), state.strangers(file), clean.pids_in_use(file)] == [None, [], set()]
    assert [cli.main([command]) for command in ("status", "stop")] == [1, 0]


def test_a_damaged_state_file_is_written_again(home: Path) -> None:
    """Junk in the file of a living cluster: who comes meanwhile attaches, and the cluster goes on."""
    with attach("embedded"):
        assert eventually(lambda: now(home).version)  # the last thing that the supervisor writes of itself
        found = now(home)
        state.state_file("", home).write_bytes(b"garbage")
        with attach("embedded"):
            assert len(now(home).users) == 2
        assert lives(home, found)


@pytest.mark.parametrize("content", [b"garbage", b'{"status": "running", "brokers": [], "run": "/"}'])
def test_a_cluster_starts_over_junk(home: Path, content: bytes) -> None:
    """Nothing runs that the junk could belong to: the start is as any other."""
    state.state_file("", home).write_bytes(content)
    with attach("embedded") as cluster:
        assert cluster.ready_seconds is not None
        assert running() == cluster.connection


def test_a_cluster_that_lost_its_state_file_leaves_the_next_ones_alone(home: Path) -> None:
    """The file is removed and a new cluster starts before the old supervisor looks: the old one ends by itself."""
    with attach("embedded"):
        old = now(home)
        os.kill(old.supervisor.pid, 19)  # SIGSTOP: it does not look
        state.state_file("", home).unlink()
        with attach("embedded"):
            new = now(home)
            os.kill(old.supervisor.pid, 18)
            assert eventually(lambda: gone(old))
            assert lives(home, new)


# Ports and processes.


def test_a_port_that_somebody_else_took_is_not_the_broker(tmp_path: Path) -> None:
    """Something listens on the port while the broker's JVM is starting: waiting for the port does not end."""
    ports = BrokerPorts(1, *free_ports(2))
    broker = BrokerProcess(Jvm("/bin/sleep", (), "lesson"), ports, (ports,), tmp_path / "broker-1")
    broker.process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        with (
            socket.create_server(("127.0.0.1", ports.port)),
            pytest.raises(ClusterError, match="did not open its port"),
        ):
            broker.wait_for_port(time.monotonic() + 0.3)
    finally:
        broker.kill()


def test_a_restart_on_a_taken_port_names_the_holder(home: Path) -> None:
    """A killed broker's port is anybody's; after the holder has gone the restart succeeds."""
    with attach("embedded") as cluster:
        port = now(home).brokers[0].port
        cluster.command("kill")
        with socket.create_server(("127.0.0.1", port)):
            with pytest.raises(ClusterError, match=rf"port {port} is taken by .*\(pid {os.getpid()}\)"):
                cluster.command("restart")
            assert now(home).brokers[0].status == "killed"
        cluster.command("restart")
        assert now(home).brokers[0].status == "running"


def test_status_names_brokers_that_nobody_owns(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Supervisor and watchdog are killed together: the broker runs on, and stop ends it."""
    with attach("embedded"):
        found = now(home)
        broker = found.brokers[0].process
        assert broker is not None
        for child in psutil.Process(found.supervisor.pid).children():
            if child.pid != broker.pid:
                child.kill()
        os.kill(found.supervisor.pid, 9)
        assert eventually(lambda: not is_alive(found.supervisor))
        assert cli.main(["status"]) == 0
        assert f"its brokers still run (pid {broker.pid})" in capsys.readouterr().out
        assert cli.main(["stop"]) == 0
        assert gone(found)


def test_status_says_that_a_cluster_is_broken(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its only broker died: not a word of a cluster that is whole."""
    with attach("embedded"):
        os.kill(now(home).brokers[0].process.pid, 9)  # type: ignore[union-attr]
        assert eventually(lambda: now(home).brokers[0].status == "dead")
        assert cli.main(["status"]) == 0
        assert "broken: broker 1 died; end it: python3 scripts/cluster.py stop" in capsys.readouterr().out


def test_a_broker_without_a_process_is_not_shown_as_running(home: Path) -> None:
    """The state on the disk says running, because it could not be written since: status looks at the process."""
    with attach("embedded"):
        found = now(home)
    assert eventually(lambda: gone(found))
    assert "  broken: broker 1 ended, or is just being restarted" in cli.lines(found)
