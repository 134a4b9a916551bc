"""The ways to deliver, by name: one class each, imported on first use and opened by `open_log`.

A new way is a module and a row here. The command line, the chapters' parameters and experiments follow the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from streaming_lab.errors import LabError

if TYPE_CHECKING:
    from streaming_lab.client.connection import Connection
    from streaming_lab.delivery.event_log import EventLog

# Imported on use only: each way needs its own client library.
WAYS: Mapping[str, str] = {
    "none": "streaming_lab.delivery.event_log:NoLog",
    "fire-and-forget": "streaming_lab.delivery.fire_and_forget:FireAndForget",
    "buffered": "streaming_lab.delivery.buffered:Buffered",
    "confirmed": "streaming_lab.delivery.confirmed:Confirmed",
    "outbox": "streaming_lab.delivery.outbox:Outbox",
}
DELIVERING = tuple(way for way in WAYS if way != "none")


def log_class(way: str) -> type[EventLog]:
    """The class of the named way; an unknown name raises a `LabError` that lists the ways."""
    if way not in WAYS:
        raise LabError(f"there is no way to deliver called {way!r}", f"Choose one of: {', '.join(WAYS)}.")
    module, _, name = WAYS[way].partition(":")
    found: type[EventLog] = getattr(import_module(module), name)
    return found


def open_log(way: str, connection: Connection, topic: str, **settings: Any) -> EventLog:
    """The event log that delivers in the named way; see its class for the settings (`timeout`, `memory`: all ways)."""
    return log_class(way)(connection, topic, **settings)


def safe_ways() -> tuple[str, ...]:
    """The ways that never lose an event that was answered 200."""
    return tuple(way for way in DELIVERING if log_class(way).safe)


def arguments(way: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings that this way knows, as options of `python -m streaming_lab.game`."""
    known = [option for option in log_class(way).options if option.name in settings]
    return tuple(text for option in known for text in (option.switch, str(settings[option.name])))
