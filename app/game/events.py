"""What happened in the game, and how it looks in the topic: `Event` <-> bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

# The one table of event types and their own fields. Encoding, the reader's schema and the README follow it.
EVENT_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "default": (),
        "purchased_sword": (),
        "sold_sword": (),
        "joined_guild": ("guild",),
    }
)

OWN_FIELDS = tuple(dict.fromkeys(name for fields in EVENT_TYPES.values() for name in fields))

# Column -> type name, in wire order; the union over all event types.
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "event_id": "string",
        "event_type": "string",
        "player": "string",
        "at": "timestamp",
        **dict.fromkeys(OWN_FIELDS, "string"),
        "host": "string",
        "user_agent": "string",
    }
)

# What a record must have to be an event at all.
REQUIRED = ("event_id", "event_type", "player", "at")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `at` is UTC and leaves as milliseconds, `fields` are the event type's own."""

    event_id: str
    event_type: str
    player: str
    at: datetime
    host: str = ""
    user_agent: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The event as a JSON object in UTF-8, keys in wire order."""
        at = self.at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        own = {name: self.fields[name] for name in EVENT_TYPES[self.event_type]}
        record = {
            "event_id": self.event_id,
            "event_type": self.event_type,
            "player": self.player,
            "at": at,
            **own,
            "host": self.host,
            "user_agent": self.user_agent,
        }
        return json.dumps(record, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Event":
        """The event that `to_bytes` wrote; ValueError with the reason when the bytes are no event."""
        record = json.loads(data)
        if not isinstance(record, dict):
            raise ValueError(f"expected a JSON object, got {type(record).__name__}")
        event_type = _text(record, "event_type")
        if event_type not in EVENT_TYPES:
            raise ValueError(f"event_type: {event_type!r} is none of {', '.join(EVENT_TYPES)}")
        return cls(
            event_id=_text(record, "event_id"),
            event_type=event_type,
            player=_text(record, "player"),
            at=_time(_text(record, "at")),
            host=_text(record, "host", ""),
            user_agent=_text(record, "user_agent", ""),
            fields={name: _text(record, name) for name in EVENT_TYPES[event_type]},
        )


def _text(record: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = record.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name}: missing" if name not in record else f"{name}: expected text, got {value!r}")
    return value


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"at: {text!r} has no time zone")
    return at.astimezone(UTC)
