"""The events before a game's start: the rows of its topic, then the rows that wait in its outbox."""

import logging
from collections.abc import Iterator
from typing import Any

from streaming_lab.client.connection import Connection
from streaming_lab.delivery.event_log import EventLog
from streaming_lab.game.events import EVENT_TYPES, OWN_FIELDS, REQUIRED, Event
from streaming_lab.game.schema import EVENTS
from streaming_lab.reader import read_batches
from streaming_lab.reader.decode.batches import Decoded

logger = logging.getLogger(__name__)

HISTORY_COLUMNS = [*REQUIRED, *OWN_FIELDS]  # the columns that the rules use


def read_history(connection: Connection, topic: str, log: EventLog) -> Iterator[Event]:
    """All events up to now, each player's in order, duplicates included; rows that are no events are skipped.

    Connects with the first event; raises a LabError when the topic cannot be read to its end.
    """
    # the waiting rows are read before the topic: a row that the relay moves meanwhile is in both, never in neither
    waiting = [event for event_id, _, value in log.pending() if (event := _waiting_event(event_id, value))]
    for table in read_batches(connection, topic, EVENTS, columns=HISTORY_COLUMNS, on_rejected=_warn_of_rejects):
        yield from map(_event, table.select(HISTORY_COLUMNS).to_pylist())
    yield from waiting


def _waiting_event(event_id: str, value: Any) -> Event | None:
    # SQLite holds whatever was put there: no value at all, a number, JSON that is nested too deeply
    try:
        return Event.from_bytes(value)
    except (ValueError, TypeError, RecursionError) as error:
        logger.warning("the waiting row %r is no event: %s: %s", event_id, type(error).__name__, error)
        return None


def _warn_of_rejects(partition: int, decoded: Decoded) -> None:
    for reject in decoded.rejects:
        logger.warning("partition %d, offset %d is no event: %s", partition, reject.offset, reject.reason)


def _event(row: dict[str, Any]) -> Event:
    fields = {name: row[name] for name in EVENT_TYPES[row["event_type"]].fields}
    return Event(row["event_id"], row["event_type"], row["player"], row["at"], fields=fields)
