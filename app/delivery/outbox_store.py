"""The outbox's file: SQLite in WAL mode with synchronous=FULL, so that a commit is one fsync and survives a power cut.

Sources: sqlite.org, "Write-Ahead Logging" and "PRAGMA synchronous".
"""

import json
import os
import sqlite3
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from streaming_lab.errors import LabError
from streaming_lab.processes import Place, ProcessId, find_place, identify_process, is_alive, locate

Row: TypeAlias = tuple[str, str, bytes]  # event id, key, value

SQLITE_PAGE = 4096  # bytes; SQLite's default
READ_BYTES = 1 << 20  # bytes of values in one read, plus one row
_SMALLEST = 16  # pages; fewer would not hold the tables

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT, key TEXT, value BLOB);
CREATE TABLE IF NOT EXISTS owner (topic TEXT, pid INTEGER);
CREATE TABLE IF NOT EXISTS brokers (addresses TEXT);
CREATE TABLE IF NOT EXISTS holder (lock TEXT, process TEXT, place TEXT);
"""


class OutboxStore:
    """Undelivered rows of one topic, owned by one process; a second owner raises a `LabError` that names the first.

    The file and those beside it are their owner's alone (mode 0600). A symbolic link stands for the file it leads to; a
    file with two names is refused. A file that is removed or replaced meanwhile takes no more rows: `check` says so.

    The file takes `quota` bytes at most (the write-ahead log beside it about 4 MB). One thread at a time, except
    `after` and `has_room`, which read through a connection of their own. `elsewhere` names the former brokers when the
    rows were meant for others than `servers`.
    """

    def __init__(self, path: Path, topic: str, quota: int, servers: str = "") -> None:
        self.path = path.resolve()
        self._pages = max(_SMALLEST, quota // SQLITE_PAGE)
        self._open = ExitStack()
        with ExitStack() as opening:
            try:
                path = self.path
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                for part in _parts(path):
                    _make_private(part)
                _check_one_name(path)
                opening.enter_context(closing(_lock(path)))
                self._database = opening.enter_context(closing(_connect(path)))
                self._reader = opening.enter_context(closing(_connect(path)))
                self._database.executescript(_SCHEMA)
                self._database.execute(f"PRAGMA max_page_count={self._pages}")
                self._own(topic)
                self.elsewhere = self._settle(servers)
                self._files = {part: _identity(part) for part in (*_parts(path), _beside(path, "-wal"))}
            except (sqlite3.Error, OSError, ValueError, TypeError) as error:  # the last two: a holder that is none
                raise LabError(f"{path} cannot be an outbox: {error}", "Name another file.") from error
            self._open = opening.pop_all()

    def _own(self, topic: str) -> None:
        found = self._database.execute("SELECT topic FROM owner").fetchone()
        if found and found[0] != topic and self.count():
            raise LabError(
                f"outbox {self.path} holds {self.count()} events for topic {found[0]!r}, not for {topic!r}",
                "Use one file for each topic, or deliver these events first.",
            )
        self._check_holder()
        self._database.execute("DELETE FROM owner")
        self._database.execute("INSERT INTO owner VALUES (?, ?)", (topic, os.getpid()))

    def _check_holder(self) -> None:
        """Refuse the file of a game that runs, and whose lock somebody removed; then note who holds the file now."""
        lock = str(_identity(_beside(self.path, ".lock")))
        found = self._database.execute("SELECT lock, process, place FROM holder").fetchone()
        if found and found[0] != lock:
            process, place = ProcessId(**json.loads(found[1])), Place(**json.loads(found[2]))
            if locate(place) == "here" and process.pid != os.getpid() and is_alive(process):
                raise _in_use(self.path, process.pid)
        process, place = identify_process(os.getpid()), find_place()
        self._database.execute("DELETE FROM holder")
        row = (lock, json.dumps(asdict(process)), json.dumps(asdict(place)))
        self._database.execute("INSERT INTO holder VALUES (?, ?, ?)", row)

    def _settle(self, servers: str) -> str:
        """Note where the rows go; returns the former brokers when rows wait that were meant for others."""
        found = self._database.execute("SELECT addresses FROM brokers").fetchone()
        self._database.execute("DELETE FROM brokers")
        self._database.execute("INSERT INTO brokers VALUES (?)", (servers,))
        return str(found[0]) if found and found[0] != servers and self.count() else ""

    def commit(self, rows: list[Row], delivered: list[int]) -> int:
        """Add rows and remove delivered ones, durably, in one transaction; returns the highest sequence number.

        Raises `sqlite3.Error` when the transaction failed, for example because the file would outgrow its quota.
        """
        run = self._database.execute
        run("BEGIN IMMEDIATE")
        try:
            if delivered:  # first, so that their pages are free for the new rows
                self._database.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in delivered])
            for row in rows:
                run("INSERT INTO outbox (event_id, key, value) VALUES (?, ?, ?)", row)
            if rows:
                self.check()
            run("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                run("ROLLBACK")
            raise
        return self.newest()

    def check(self) -> None:
        """Raise `sqlite3.OperationalError` when a file was removed or replaced: what is written is then nowhere."""
        for part, identity in self._files.items():
            if _identity(part) != identity:
                raise sqlite3.OperationalError(
                    f"{part} was removed or replaced under the game; rows that wait are still relayed, restart the game"
                )

    @property
    def intact(self) -> bool:
        """Are the files still those that were opened?"""
        return all(_identity(part) == identity for part, identity in self._files.items())

    def rows(self) -> list[Row]:
        """All undelivered rows in their order."""
        return self._reader.execute("SELECT event_id, key, value FROM outbox ORDER BY seq").fetchall()

    def newest(self) -> int:
        """The highest sequence number that any row had."""
        found = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return int(found[0]) if found else 0

    def after(self, seq: int, limit: int) -> list[tuple[int, str, bytes]]:
        """The next rows (sequence number, key, value) after `seq`, in order; fewer when they are large."""
        query = "SELECT seq, key, value FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
        rows, size = [], 0
        with closing(self._reader.execute(query, (seq, limit))) as found:
            for row in found:
                rows.append(row)
                size += len(row[2])
                if size > READ_BYTES:
                    break
        return rows

    def count(self) -> int:
        """How many rows wait."""
        return int(self._database.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def has_room(self) -> bool:
        """Are there free pages below the quota?"""
        size, free = (self._reader.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        return bool(size - free < self._pages)

    def close(self) -> None:
        """Release the file for another owner."""
        with suppress(sqlite3.Error):  # of a full disk, say: who holds the lock next is right without it
            self._database.execute("DELETE FROM holder")
        self._open.close()


def rows_in(path: Path) -> list[Row]:
    """The undelivered rows of an outbox in their order, whichever process owns the file; none without a file."""
    if not path.exists():
        return []
    with closing(_connect(path)) as database:
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").fetchone() is None:
            return []
        return database.execute("SELECT event_id, key, value FROM outbox ORDER BY seq").fetchall()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _parts(path: Path) -> tuple[Path, Path]:
    """The file and its lock; SQLite makes its other files with the file's own mode."""
    return path, _beside(path, ".lock")


def _make_private(path: Path) -> None:
    with suppress(
        FileExistsError
    ):  # an existing file is not opened: closing it would end SQLite's locks in this process
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _check_one_name(path: Path) -> None:
    if (names := path.stat().st_nlink) > 1:
        raise LabError(
            f"outbox {path} has {names} names (hard links), so that two games could own it",
            "Remove the other names, or name a file of its own.",
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("PRAGMA fullfsync=ON")  # macOS: fsync alone does not reach the disk there
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _lock(path: Path) -> sqlite3.Connection:
    # An exclusive transaction on a separate file: portable, and the operating system ends it with the process.
    guard = sqlite3.connect(_beside(path, ".lock"), timeout=0.0, isolation_level=None, check_same_thread=False)
    try:
        guard.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        guard.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise _in_use(path, _owner(path)) from error
    return guard


def _in_use(path: Path, process: int | str) -> LabError:
    return LabError(
        f"outbox {path} is in use by another game (process {process})",
        "Stop that game, or give this one a file of its own.",
    )


def _owner(path: Path) -> str:
    # suppressed: the owner may be creating its tables at this moment
    with suppress(sqlite3.Error, TypeError), closing(_connect(path)) as database:
        return str(database.execute("SELECT pid FROM owner").fetchone()[0])
    return "unknown"
