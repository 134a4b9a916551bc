"""The log is enough: folded from the first event to the last, it gives the world that the game itself holds."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from streaming_lab.analysis.ledger import text_or_empty
from streaming_lab.game.events import EVENT_TYPES, Event
from streaming_lab.game.rules import World


def replay_events(events: pd.DataFrame) -> World:
    """The world after `events`: each event once (its first row), each player's in the order of partition and offset.

    Needs the columns event_id, event_type, player, at, partition, offset, and those of the event types' own fields.
    """
    world = World()
    for event in events_in_order(events):
        world.move(event)
    return world


def events_in_order(events: pd.DataFrame) -> Iterator[Event]:
    """The rows as events, duplicates left out; the order between players does not matter, their own order does."""
    rows = events.sort_values(["partition", "offset"], kind="stable")
    rows = rows[rows["event_id"].isna() | ~rows["event_id"].duplicated()]
    for row in rows.to_dict("records"):
        known = EVENT_TYPES.get(str(row["event_type"]))
        yield Event(
            event_id=str(row["event_id"]),
            event_type=str(row["event_type"]),
            player=str(row["player"]),
            at=moment(row.get("at")),
            host=text_or_empty(row.get("host")),
            user_agent=text_or_empty(row.get("user_agent")),
            fields={name: str(row[name]) for name in (known.fields if known else ())},
        )


def moment(value: Any) -> datetime:
    return datetime.min.replace(tzinfo=UTC) if value is None or pd.isna(value) else pd.Timestamp(value).to_pydatetime()


def world_differences(world: World, other: World) -> pd.DataFrame:
    """Where two worlds differ: columns player, what (swords or guild), left, right; empty when they are equal.

    A player who is missing in one of them counts as one without swords and guild there.
    """
    found = []
    for player in sorted({*world.players, *other.players}):
        left, right = state(world, player), state(other, player)
        found += [(player, what, str(left[what]), str(right[what])) for what in left if left[what] != right[what]]
    return pd.DataFrame(found, columns=["player", "what", "left", "right"], dtype="str")


def state(world: World, player: str) -> dict[str, Any]:
    known = world.players.get(player)
    return {"swords": known.swords if known else 0, "guild": known.guild if known else None}
