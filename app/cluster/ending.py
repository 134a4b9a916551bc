"""How an embedded cluster ends from outside: asked to, waited for, forced, or swept up after its keeper was killed."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streaming_lab.cluster import state
from streaming_lab.cluster.broker import kill_group
from streaming_lab.cluster.channel import Answer, ask
from streaming_lab.cluster.state import State
from streaming_lab.waiting import wait_until

PATIENCE = 150.0  # seconds for an end that may train the start-up cache
STOP_CURE = "Run `python3 scripts/cluster.py stop`, then start again."


@dataclass(frozen=True)
class End:
    """How it went: which broker ids or pids needed force, and whether a start-up cache was written."""

    forced: tuple[int, ...]
    trained: bool


def stop(file: Path, say: Callable[[str], None]) -> End | None:
    """End this state file's cluster, whoever uses it; returns when its processes are gone. None: there was none."""
    found = state.read(file)
    if found is None:
        return _dismiss(file)
    if not state.lives(found.keeper):
        return End(tuple(sweep(found, file)), False)
    try:
        answer = ask(found.address, found.token, "stop")
    except (OSError, ValueError):
        return _force(found, file)
    if answer.get("training"):
        say("training Kafka's start-up cache (once, some seconds)")
    last = wait_gone(found)
    if state.lives(found.keeper):
        return _force(found, file)
    return End(tuple(last["forced"]), bool(last["trained"]))


def _dismiss(file: Path) -> End | None:
    """End a cluster of another version: in every version the keeper ends when its state file is taken away."""
    left = state.strangers(file)
    file.unlink(missing_ok=True)
    wait_until(lambda: not any(map(state.lives, left)), PATIENCE)
    forced = [process.pid for process in left if state.lives(process)]
    for pid in forced:
        kill_group(pid)
    return End(tuple(forced), False) if left else None


def wait_gone(found: State, timeout: float = PATIENCE) -> Answer:
    """Return when the cluster's processes are gone; says who was forced, and whether a cache was written."""
    answer: Answer = {"forced": [], "trained": False}
    with contextlib.suppress(OSError, ValueError):
        answer = ask(found.address, found.token, "wait", timeout)
    wait_until(lambda: not state.lives(found.keeper), 5.0)
    return answer


def sweep(found: State, file: Path) -> list[int]:
    """End what a keeper that is gone left behind, and take its files away; returns the pids it had to end."""
    orphans = [broker.process.pid for broker in found.brokers if broker.process and state.lives(broker.process)]
    for pid in orphans:
        kill_group(pid)
    shutil.rmtree(found.run, ignore_errors=True)
    file.unlink(missing_ok=True)
    return orphans


def _force(found: State, file: Path) -> End:
    """A keeper that does not answer is ended first, so that it cannot interfere; then its brokers."""
    kill_group(found.keeper.pid)
    return End((found.keeper.pid, *sweep(found, file)), False)
