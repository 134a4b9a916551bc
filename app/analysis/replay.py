"""Replay: the rows of a topic, folded with the game's own rules, give the world that the game holds."""

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from streaming_lab.analysis.ledger import text_or_empty
from streaming_lab.errors import LabError
from streaming_lab.game.events import COLUMNS, EVENT_TYPES, Event
from streaming_lab.game.rules import World, decide, evolve

NEEDED = (*(name for name in COLUMNS if name not in ("host", "user_agent")), "partition", "offset")


def rules_source() -> str:
    """The game's two rules, `decide` and `evolve`, as they stand in their file."""
    return "\n\n".join(inspect.getsource(rule) for rule in (decide, evolve))


def replay_events(events: pd.DataFrame) -> World:
    """The world after `events`: each event once (its first row), each player's in the order of partition and offset.

    Needs the columns event_id, event_type, player, at, partition, offset, and those of the event types' own fields.
    """
    missing = [name for name in NEEDED if name not in events]
    if missing:
        cure = "The lab replays its own game; another game's topic needs that game's own evolve."
        raise LabError(f"these rows are no events of the lab's game: they have no {', '.join(missing)}", cure)
    world = World()
    for event in events_in_order(events):
        world.move(event)
    return world


def events_in_order(events: pd.DataFrame) -> Iterator[Event]:
    """The rows as events without duplicates, in the order of partition and offset, which keeps each player's order."""
    rows = events.sort_values(["partition", "offset"], kind="stable")
    rows = rows[rows["event_id"].isna() | ~rows["event_id"].duplicated()]
    for row in rows.to_dict("records"):
        known = EVENT_TYPES.get(str(row["event_type"]))
        yield Event(
            event_id=str(row["event_id"]),
            event_type=str(row["event_type"]),
            player=str(row["player"]),
            at=to_moment(row.get("at")),
            host=text_or_empty(row.get("host")),
            user_agent=text_or_empty(row.get("user_agent")),
            fields={name: str(row[name]) for name in (known.fields if known else ())},
        )


def to_moment(value: Any) -> datetime:
    return datetime.min.replace(tzinfo=UTC) if value is None or pd.isna(value) else pd.Timestamp(value).to_pydatetime()


def world_differences(world: World, other: World) -> pd.DataFrame:
    """The differences of two worlds: columns player, what (swords or guild), left, right; empty for equal ones.

    A player who is missing in one world counts there as a player without swords and guild.
    """
    found = []
    for player in sorted({*world.players, *other.players}):
        left, right = state_of(world, player), state_of(other, player)
        found += [(player, what, str(left[what]), str(right[what])) for what in left if left[what] != right[what]]
    return pd.DataFrame(found, columns=["player", "what", "left", "right"], dtype="str")


def state_of(world: World, player: str) -> dict[str, Any]:
    known = world.players.get(player)
    return {"swords": known.swords if known else 0, "guild": known.guild if known else None}
