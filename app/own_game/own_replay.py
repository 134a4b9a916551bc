"""Replay for a game that brings an `evolve`: its records, folded with its own function, beside the world it held."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streaming_lab.analysis.display import Table, TableColumn
from streaming_lab.analysis.shapes import short_text
from streaming_lab.client.connection import Connection
from streaming_lab.errors import LabError
from streaming_lab.own_game.hosted import ask_host
from streaming_lab.own_game.world import RECORDS_FILE, WORLD_FILE
from streaming_lab.reader import read_text
from streaming_lab.wording import counted

REPLAY_TIMEOUT = 60.0  # seconds
DIFFERENCES_SHOWN = 20


@dataclass(frozen=True)
class OwnReplay:
    """The two worlds as plain JSON, and the number of records that were folded."""

    replayed: Any
    held: Any
    records: int

    @property
    def differences(self) -> list[tuple[str, str, str]]:
        """(what, from the log, in the game) for each key or the whole that differs."""
        left, right = self.replayed, self.held
        if not isinstance(left, dict) or not isinstance(right, dict):
            return [] if left == right else [("world", short_text(left), short_text(right))]
        pairs = ((key, left.get(key), right.get(key)) for key in sorted({*left, *right}))
        return [(key, short_text(one), short_text(other)) for key, one, other in pairs if one != other]


def read_events_text(connection: Connection, topics: Mapping[str, str]) -> list[str]:
    """The JSON records of a game's topics as text, topic by topic in the order of partition and offset."""
    lines = [line for _, written in sorted(topics.items()) for line in read_text(connection, written)]
    return [line for line in lines if _is_json(line)]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def replay_game(
    command: list[str], scratch: Path, connection: Connection, topics: Mapping[str, str]
) -> OwnReplay | None:
    """The replay by a process of the game's own module; None for a game that brings no `evolve`.

    `command` is the host's with `--replay`; raises `LabError` when the game's `evolve` fails.
    """
    if not (scratch / WORLD_FILE).exists():
        return None
    lines = read_events_text(connection, topics)
    (scratch / RECORDS_FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    found, ran = ask_host(command, REPLAY_TIMEOUT)
    if found is None:
        raise LabError("the replay ended without a word", ran.stderr[-500:])
    return OwnReplay(found["world"], json.loads((scratch / WORLD_FILE).read_text(encoding="utf-8")), len(lines))


def own_replay_table(replay: OwnReplay | None) -> Table:
    """The differences of the two worlds; none where the log tells the same as the game."""
    columns = (TableColumn("what", "code"), TableColumn("from the log", "code"), TableColumn("in the game", "code"))
    if replay is None:
        return Table(
            "Replay beside the game", columns, (), empty="the game brings no `evolve` and `world` to fold with"
        )
    note = f"{counted(replay.records, 'record')}, folded with the game's own `evolve`"
    rows = tuple(replay.differences[:DIFFERENCES_SHOWN])
    return Table("Replay beside the game", columns, rows, note, empty="the log and the game say the same")
