"""The outbox: durable on this machine first, in the topic in the end."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from peers import needs
from topics_of import new_topic
from waiting import eventually

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses, connection_for
from streaming_lab.delivery.confirmed import find_event_ids
from streaming_lab.delivery.outbox import Outbox
from streaming_lab.delivery.outbox_store import OutboxStore
from streaming_lab.delivery.outcome import Counts, Refused
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT

NOBODY = connection_for("127.0.0.1:1")


@pytest.fixture
def topic(kafka: Connection) -> str:
    """A topic with two partitions for this test alone."""
    return new_topic(kafka, 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The outbox's file."""
    return tmp_path / "outbox.sqlite"


def event(number: int) -> tuple[str, bytes, str]:
    """Key, value and id of one event."""
    return f"player-{number % 3}", json.dumps({"event_id": f"e{number}"}).encode(), f"e{number}"


def row(number: int) -> tuple[str, str, bytes]:
    """The same event as a row of `pending`."""
    key, value, event_id = event(number)
    return event_id, key, value


def test_without_a_broker_events_are_accepted_and_pending(path: Path) -> None:
    """Accepting needs the disk only; close says how many rows wait, and names them in their order."""
    with Outbox(NOBODY, "events", path=path) as log:
        log.connect()
        assert log.ready()
        for number in range(5):
            log.append(*event(number))
        assert log.pending() == [row(number) for number in range(5)]
        assert log.counts == Counts(accepted=5, queued=5)
        assert log.close(timeout=0.1) == 5
    assert log.unsent == ["e0", "e1", "e2", "e3", "e4"]


def test_a_restart_relays_what_an_earlier_process_accepted(kafka: Connection, topic: str, path: Path) -> None:
    """The rows of an outage reach the topic once the next game starts; then the file is empty."""
    with Outbox(NOBODY, topic, path=path) as log:
        for number in range(10):
            log.append(*event(number))
        log.close(timeout=0)
    with Outbox(kafka, topic, path=path) as log:
        assert log.pending() == [row(number) for number in range(10)]
        log.append(*event(10))
        assert log.close() == 0
    assert log.counts == Counts(accepted=1, acknowledged=1, relayed=11)
    assert (log.pending(), sum(topics.end_offsets(kafka, topic).values())) == ([], 11)


def test_many_threads_share_commits_and_keep_each_players_order(kafka: Connection, topic: str, path: Path) -> None:
    """Eight at a time: each event once, each player's events in order, fewer commits than events."""
    commits = []
    with Outbox(kafka, topic, path=path) as log:
        log.connect()
        assert log._file is not None
        log._file._database.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)

        def play(player: int) -> None:
            for number in range(100):
                log.append(f"p{player}", json.dumps({"n": number}).encode(), f"{player}-{number}")

        threads = [threading.Thread(target=play, args=(player,)) for player in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.close() == 0
    assert len(commits) < 800
    command = [needs("kcat"), "-C", "-q", "-e", "-b", addresses(kafka), "-t", topic, "-f", "%k %s\n"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.splitlines()
    for player in range(8):
        mine = [json.loads(line.split(" ", 1)[1])["n"] for line in lines if line.startswith(f"p{player} ")]
        assert mine == list(range(100))


def test_a_full_disk_is_refused_and_recovers(kafka: Connection, topic: str, path: Path) -> None:
    """At its quota it refuses, keeps what it promised within the quota, and takes events again once rows have left."""
    accepted = []
    with Outbox(NOBODY, topic, path=path, quota=128 << 10) as log:
        log.connect()
        refusal = None
        while refusal is None:
            try:
                log.append("p", b"x" * 1000, f"e{len(accepted)}")
                accepted.append(f"e{len(accepted)}")
            except Refused as error:
                refusal = error.problem
        assert refusal == f"outbox {path} did not take the event: database or disk is full"
        assert 50 < len(accepted) < 128
        assert log.close(timeout=0) == len(accepted)
    assert log.unsent == accepted
    assert path.stat().st_size <= 128 << 10
    with Outbox(kafka, topic, path=path, quota=128 << 10) as log:
        log.connect()
        deadline = time.monotonic() + 10
        while log.queued and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)  # an idle outbox forgets delivered rows after a tenth of a second
        log.append(*event(2000))
        assert log.close() == 0
    assert sum(topics.end_offsets(kafka, topic).values()) == len(accepted) + 1


def test_a_second_game_on_one_file_is_refused_by_name(path: Path) -> None:
    """Two relays would break the order: the second is told who has the file; the first is not disturbed."""
    with Outbox(NOBODY, "events", path=path) as first:
        first.append(*event(1))
        taken = rf"in use by another game \(process {os.getpid()}\)"
        with Outbox(NOBODY, "events", path=path) as second, pytest.raises(LabError, match=taken):
            second.connect()
        first.append(*event(2))
        first.close(timeout=0)
    with Outbox(NOBODY, "events", path=path) as third:
        third.connect()
        assert third.queued == 2
        third.close(timeout=0)


HOLDER = """
import sys, time
from pathlib import Path
from streaming_lab.delivery.outbox_store import OutboxStore
store = OutboxStore(Path(sys.argv[1]), "events", 1 << 20)
print("open", flush=True)
time.sleep(60)
"""


def test_without_its_lock_an_outbox_is_still_one_games(path: Path) -> None:
    """Somebody removed the .lock of a game that runs: a second one is refused; when the first is dead, it may."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == b"open\n"
            path.with_name(path.name + ".lock").unlink()
            taken = rf"in use by another game \(process {first.pid}\)"
            with Outbox(NOBODY, "events", path=path) as second, pytest.raises(LabError, match=taken):
                second.connect()
        finally:
            first.kill()
    with Outbox(NOBODY, "events", path=path) as third:
        third.connect()
        third.close(timeout=0)


def test_rows_of_another_topic_are_not_sent_to_this_one(path: Path) -> None:
    """A file that holds events for one topic is not taken for another."""
    with Outbox(NOBODY, "one", path=path) as log:
        log.append(*event(1))
        log.close(timeout=0)
    with (
        Outbox(NOBODY, "two", path=path) as log,
        pytest.raises(LabError, match="1 events for topic 'one', not for 'two'"),
    ):
        log.connect()


KILLED = """
import sys
from streaming_lab.client.connection import connection_for
from streaming_lab.delivery.outbox import Outbox
log = Outbox(connection_for(sys.argv[1]), sys.argv[2], path=sys.argv[3])
number = 0
while True:
    log.append(f"p{number % 3}", b'{"event_id": "e%d"}' % number, f"e{number}")
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("broker", ["there", "gone"])
def test_what_was_answered_before_a_sigkill_is_in_the_topic_in_the_end(
    kafka: Connection, topic: str, path: Path, broker: str
) -> None:
    """A killed process loses no accepted event, whether or not its relay could work."""
    servers = addresses(kafka if broker == "there" else NOBODY)
    command = [sys.executable, "-c", KILLED, servers, topic, str(path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as game:
        assert game.stdout is not None
        answered = [int(game.stdout.readline()) for _ in range(300)]
        game.send_signal(signal.SIGKILL)
        answered += [int(line) for line in game.stdout.read().split("\n")[:-1]]
    with Outbox(kafka, topic, path=path) as log:
        log.connect()
        assert log.close() == 0
    ids = {f"e{number}" for number in answered}
    assert find_event_ids(kafka, topic, ids, {}) == ids


def test_every_commit_is_synchronous(path: Path) -> None:
    """WAL and synchronous=FULL are in force on both connections: the one that commits, and the one that reads.

    Either may be the last to close, which writes the log back into the file.
    """
    with closing(OutboxStore(path, "events", quota=1 << 20)) as file:
        for connection in (file._database, file._reader):
            modes = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
            assert modes == ["wal", 2]


def test_each_append_reaches_the_disk_before_it_returns(path: Path, tmp_path: Path) -> None:
    """What the operating system saw: a sync of the write-ahead log between any two answers."""
    if sys.platform != "linux":
        pytest.skip("needs strace, which only Linux has")
    trace = tmp_path / "trace"
    watched = [needs("strace"), "-f", "-y", "-e", "trace=fsync,fdatasync,write", "-o", str(trace)]
    command = [*watched, sys.executable, "-c", KILLED, addresses(NOBODY), "events", str(path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True) as game:
        assert game.stdout is not None
        assert [int(game.stdout.readline()) for _ in range(20)] == list(range(20))
        os.killpg(game.pid, signal.SIGKILL)
    steps = re.findall(r'sync\([^>]*sqlite-wal|write\(1<[^>]*>, "\d', trace.read_text())
    answered = [number for number, step in enumerate(steps) if step.startswith("write")]
    assert len(answered) >= 20
    assert all(steps[number - 1].startswith("sync") for number in answered)


def test_requests_that_wait_share_one_commit(path: Path) -> None:
    """Five events that came while a commit was under way are all in the next one."""
    commits: list[str] = []
    with Outbox(NOBODY, "events", path=path) as log, ThreadPoolExecutor(5) as pool:
        log.connect()
        assert log._file is not None
        log._file._database.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
        with log._committing:
            appends = [pool.submit(log.append, *event(number)) for number in range(5)]
            assert eventually(lambda: len(log._waiting) == 5)
        assert [append.result(10) for append in appends] == [None] * 5
        assert (len(commits), log.counts) == (1, Counts(accepted=5, queued=5))
        log.close(timeout=0)


def test_a_long_outage_of_large_events_costs_disk_not_memory(
    kafka: Connection, topic: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay takes no more rows than `memory` holds, and those that are larger than that one at a time."""
    monkeypatch.setattr("streaming_lab.client.preflight.find_accepting_server", lambda *_: "gone in this moment")
    with Outbox(NOBODY, topic, path=path, memory=64 << 10) as log:
        for number in range(20):
            log.append("p", b"x" * (20 << 10), f"e{number}")
        relay = log._relay
        assert relay is not None
        assert eventually(lambda: len(relay._in_flight) == 2)
        assert not eventually(lambda: len(relay._in_flight) != 2, 0.3)
        log.close(timeout=0)
    monkeypatch.undo()
    with Outbox(kafka, topic, path=path, memory=8 << 10) as log:
        log.connect()
        assert log.close() == 0
    assert sum(topics.end_offsets(kafka, topic).values()) == 20


def test_a_disk_that_hangs_is_a_refusal_in_time(path: Path) -> None:
    """While another transaction holds the file, the event is withdrawn after the time-out and never appears."""
    with Outbox(NOBODY, "events", path=path, timeout=0.2) as log:
        log.append(*event(1))
        with log._committing, pytest.raises(Refused, match=r"the disk did not answer for 0\.2 s"):
            log.append(*event(2))
        log.append(*event(3))
        log.close(timeout=0)
    assert log.unsent == ["e1", "e3"]


def test_a_broken_file_is_an_error_that_names_it(path: Path) -> None:
    """Something that is no database is not written over."""
    path.write_bytes(b"not a database, and long enough to be looked at as one" * 100)
    with Outbox(NOBODY, "events", path=path) as log, pytest.raises(LabError, match="cannot be an outbox"):
        log.connect()
    assert path.read_bytes().startswith(b"not a database")


def test_the_relay_outlives_an_error_of_the_disk(
    kafka: Connection, topic: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read that fails delays the rows, it does not leave them in the file for good."""
    monkeypatch.setattr("streaming_lab.delivery.relay.RESTART_PAUSE", 0.01)
    with Outbox(kafka, topic, path=path) as log:
        log.connect()
        read, failures = log._file.after, [sqlite3.OperationalError("disk I/O error")]
        monkeypatch.setattr(log._file, "after", lambda *where: read(*where) if not failures else fail(failures.pop()))
        for number in range(3):
            log.append(*event(number))
        assert eventually(lambda: not log.queued)
        assert (failures, log.counts) == ([], Counts(accepted=3, acknowledged=3, relayed=3))


def fail(error: Exception) -> Any:
    raise error


def test_a_row_that_is_acknowledged_twice_counts_once(path: Path) -> None:
    """While the disk refuses the commit that would remove it, a row is not sent again, and counted once in any case."""
    with Outbox(NOBODY, "events", path=path) as log:
        for number in range(3):
            log.append(*event(number))
        assert log._file is not None
        log._file.commit = lambda rows, gone: fail(sqlite3.OperationalError("disk I/O error"))  # type: ignore[method-assign]
        for seq in (1, 2, 1, 2):
            log.delivered(seq)
        log.sweep(everything=True)
        assert [row[0] for row in log.after(0, 10)] == [3]
        assert log.counts == Counts(accepted=3, queued=1, acknowledged=2, relayed=2)
        del log._file.commit  # the disk works again
        log.sweep(everything=True)
        assert log.pending() == [row(2)]
        log.close(timeout=0)


def test_rows_that_go_to_other_brokers_than_they_were_meant_for_are_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Accepted for one cluster, delivered to another: nobody refuses that, but it is said."""
    for port, events in ((1, 0), (2, 1), (2, 1), (3, 0)):
        with Outbox(connection_for(f"127.0.0.1:{port}"), "events", path=path) as log:
            log.connect()
            for number in range(events):
                log.append(*event(number))
            log.close(timeout=0)
    assert [record.message for record in caplog.records if record.name == "streaming_lab.delivery.outbox"] == [
        f"{path}: 2 events that were accepted for the brokers at 127.0.0.1:2 go to 127.0.0.1:3"
    ]


@pytest.mark.parametrize("place", ["file/outbox.sqlite", ".", "lock.sqlite"])
def test_a_place_where_no_file_can_be_is_an_error_that_names_it(tmp_path: Path, place: str) -> None:
    """Below a file, at a folder, beside a broken lock: two lines, each time."""
    (tmp_path / "file").touch()
    (tmp_path / "lock.sqlite.lock").write_bytes(b"no database" * 100)
    for _ in range(2):
        with pytest.raises(LabError, match=re.escape(str(tmp_path / place))):
            OutboxStore(tmp_path / place, "events", quota=1 << 20)


def test_a_link_to_an_outbox_is_the_outbox(path: Path, tmp_path: Path) -> None:
    """Through a symbolic link the second game finds the first one's lock; a second name of the file is refused."""
    alias, hard = tmp_path / "alias.sqlite", tmp_path / "hard.sqlite"
    with Outbox(NOBODY, "events", path=path) as log:
        log.connect()
        alias.symlink_to(path)
        with Outbox(NOBODY, "events", path=alias) as second, pytest.raises(LabError, match="is in use by another game"):
            second.connect()
        log.close(timeout=0)
    hard.hardlink_to(path)
    with Outbox(NOBODY, "events", path=hard) as third, pytest.raises(LabError, match=r"has 2 names \(hard links\)"):
        third.connect()


@pytest.mark.parametrize("ending", ["", "-wal", ".lock"])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_is_gone_takes_no_more_events(path: Path, ending: str, replaced: bool) -> None:
    """Nothing is called durable that no start would find; what waits is named at the end, and not called safe."""
    with Outbox(NOBODY, "events", path=path) as log:
        log.append(*event(1))
        assert (log.ready(), log.keeps_unsent) == (True, True)
        part = path.with_name(path.name + ending)
        part.unlink()
        if replaced:
            part.touch()
        with pytest.raises(Refused, match=re.escape(f"{part} was removed or replaced under the game")):
            log.append(*event(2))
        assert (log.ready(), log.counts) == (False, Counts(accepted=1, refused=1, queued=1))
        assert "was removed or replaced" in log.last_reasons["refused"]
        assert log.close(timeout=0) == 1
    assert (log.unsent, log.keeps_unsent) == (["e1"], False)


def test_an_outbox_is_its_owner_s_alone(tmp_path: Path) -> None:
    """No file of it can be read by others, whatever the umask; a file of an earlier version is closed to them."""
    path = tmp_path / "new" / "outbox.sqlite"
    before = os.umask(0)
    try:
        for _ in range(2):
            with Outbox(NOBODY, "events", path=path) as log:
                log.append(*event(1))
                modes = {part.name: oct(part.stat().st_mode & 0o777) for part in path.parent.iterdir()}
                log.close(timeout=0)
            path.chmod(0o644)
    finally:
        os.umask(before)
    endings = ("", "-shm", "-wal", ".lock", ".lock-journal")
    assert modes == dict.fromkeys((path.name + ending for ending in endings), "0o600")
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
