"""Shared by the cluster tests: users in processes of their own, the current state, and what a cluster leaves."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from waiting import eventually

from streaming_lab.cluster.embedded import state
from streaming_lab.cluster.embedded.state import State
from streaming_lab.paths import PROJECT
from streaming_lab.processes import is_alive

USER = "import time; from streaming_lab.cluster import attach; c = attach(user='driver'); print('up', flush=True); "


@contextmanager
def user(code: str = "time.sleep(120)", **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that attaches, says so, and then does `code`."""
    command = [sys.executable, "-c", USER + code]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            yield process
        finally:
            process.kill()


def now(home: Path, instance: str = "") -> State:
    """The current state of a cluster that must run."""
    found = state.read_state(state.state_file(instance, home))
    assert found is not None
    return found


def pids(found: State) -> list[int]:
    """Supervisor and brokers."""
    return [found.supervisor.pid, *(broker.process.pid for broker in found.brokers if broker.process)]


def gone(found: State) -> bool:
    """Whether supervisor and brokers have all ended."""
    known = [found.supervisor, *(broker.process for broker in found.brokers)]
    return not any(is_alive(one) for one in known)


def leaves_nothing(found: State, home: Path) -> bool:
    """No process, no state file, no run directory, soon."""
    return eventually(
        lambda: gone(found) and not state.state_file("", home).exists() and not list((home / "run").iterdir())
    )


def link_jars(cache: Path) -> None:
    """A cache folder of one's own that has the real jars and nothing else."""
    (cache / "jars").mkdir(parents=True)
    from streaming_lab.cluster.embedded import jars

    for jar in jars.class_path():
        (cache / "jars" / jar.name).symlink_to(jar.resolve())


def games_below(pid: int) -> list[int]:
    """The games that this process runs: the children of their templates."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "streaming_lab.game.template" in child.cmdline():
                found += [game.pid for game in child.children()]
    return list(set(found))
