"""The delivery guarantees, held by a judge that shares no code with what it judges."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Game, Verdict, play, summary
from topics_of import new_topic

from streaming_lab.cluster import Cluster

SOME = 1  # schedules of each safe way in every full run; `long` plays as many as there is time for


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of 16 MB for an outbox, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = sys.platform == "linux" and os.geteuid() == 0
    if mounted:
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield disk if mounted else None
    if mounted:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, SOME + 1))
@pytest.mark.parametrize("way", ["confirmed", "outbox"])
def test_nothing_promised_is_lost(
    breakable: Cluster, small_disk: Path | None, machines: Path | None, tmp_path: Path, way: str, seed: int
) -> None:
    """Every 200 is in the topic, once, in its player's order; a restarted game is the fold of the topic."""
    disk = small_disk if way == "outbox" else None
    verdict = play(seed, way, breakable, tmp_path, disk=disk, machines=machines)
    assert (verdict.problems, verdict.lost) == ([], 0), verdict.faults
    assert verdict.answers > 0, verdict.faults


@pytest.mark.slow
def test_the_judge_sees_a_loss(breakable: Cluster, tmp_path: Path) -> None:
    """The control: a way that keeps its queue in memory loses events when its game is killed, and is found out."""
    lost = []
    for seed in (4, 3, 10, 13, 9, 8, 12):  # the game is killed early, alone or with the broker; the shortest first
        lost.append(play(seed, "buffered", breakable, tmp_path).lost)
        if any(lost):
            return
    pytest.fail(f"{len(lost)} schedules of `buffered`, and no loss was seen")


@pytest.mark.long
def test_many_schedules(
    breakable: Cluster, small_disk: Path | None, machines: Path | None, tmp_path: Path, minutes: float
) -> None:
    """As many new seeds as there is time for, confirmed and outbox in turn; the figures are printed."""
    began, seed, verdicts = time.monotonic(), int(time.time()), list[Verdict]()
    while time.monotonic() - began < 60 * minutes:
        for way in ("confirmed", "outbox"):
            seed += 1
            disk = small_disk if way == "outbox" else None
            verdicts.append(play(seed, way, breakable, tmp_path, disk=disk, machines=machines, breath=0.0))
            sys.stdout.write(f"seed {seed}, {way}: {verdicts[-1].answers} of 200, {verdicts[-1].problems or 'kept'}\n")
    sys.stdout.write(summary(verdicts))
    assert [(one.seed, one.problems, one.faults) for one in verdicts if one.problems] == []


@pytest.mark.slow
def test_a_paused_game_that_is_asked_to_end_ends_when_it_goes_on(breakable: Cluster, tmp_path: Path) -> None:
    """SIGTERM may reach any thread of a process that was stopped; the main thread hears of it all the same."""
    topic = new_topic(breakable.connection)
    game = Game(",".join(breakable.connection["bootstrap_servers"]), topic, "confirmed", tmp_path)
    for _ in range(5):
        game.start()
        assert game.process is not None
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT):
            game.process.send_signal(number)
        assert game.process.wait(timeout=60) == 0
        game.signal("KILL")  # closes its pipes
