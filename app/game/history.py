"""What happened before this game was started, as events: the topic, then what an outbox still has to deliver."""

from collections.abc import Iterator
from typing import Any

from app.game.events import EVENT_TYPES, Event
from app.stream.connection import Connection
from app.stream.log import EventLog
from app.stream.reader import read_batches
from app.stream.schema import EVENTS


def history(connection: Connection, topic: str, log: EventLog) -> Iterator[Event]:
    """All events up to now, each player's in order; an event may come twice. Rows that are no events are passed over.

    Connects when the first event is asked for; raises a LabError when the topic cannot be read to its end.
    """
    # first the rows that wait, then the topic: what the relay moves meanwhile is in both, never in neither
    waiting = [Event.from_bytes(value) for _, _, value in log.pending()]
    for table in read_batches(connection, topic, EVENTS):
        yield from map(_event, table.select(_COLUMNS).to_pylist())
    yield from waiting


_COLUMNS = ["event_id", "event_type", "player", "at", *dict.fromkeys(f for own in EVENT_TYPES.values() for f in own)]


def _event(row: dict[str, Any]) -> Event:
    fields = {name: row[name] for name in EVENT_TYPES[row["event_type"]]}
    return Event(row["event_id"], row["event_type"], row["player"], row["at"], fields=fields)
