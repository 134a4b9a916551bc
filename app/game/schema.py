"""The game's events as a schema for readers of its topic."""

from streaming_lab.game.events import COLUMNS, EVENT_TYPES, REQUIRED
from streaming_lab.reader.decode.schema import Schema

EVENTS = Schema(COLUMNS, REQUIRED, {"event_type": frozenset(EVENT_TYPES)})
