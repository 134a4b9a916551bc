"""The command `lag`: how far the consumer groups of a topic are behind its end, partition by partition."""

import argparse
import sys

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from streaming_lab.cli import write_error
from streaming_lab.client import topics
from streaming_lab.client.admin import ask_admin
from streaming_lab.client.connection import Connection
from streaming_lab.errors import LabError
from streaming_lab.topic.printing import print_frame
from streaming_lab.topic.reading import frame_of

LAG_COLUMNS = ("group", "partition", "committed", "end", "lag")
_TIMEOUT = 8.0  # seconds for all questions


def lag_command(connection: Connection, options: argparse.Namespace) -> int:
    """Print group, partition, committed offset, end and lag; a group that never committed on this topic has no row."""
    ends = topics.end_offsets(connection, options.name)
    committed = find_committed(connection, options.name, options.group)
    rows: list[dict[str, object]] = [
        {"group": group, "partition": at, "committed": offset, "end": ends[at], "lag": max(0, ends[at] - offset)}
        for group, offsets in sorted(committed.items())
        for at, offset in sorted(offsets.items())
        if at in ends
    ]
    if options.group and not rows:
        raise LabError(
            f"group {options.group!r} has committed nothing on topic {options.name!r}",
            f"Groups that have: {', '.join(sorted(find_committed(connection, options.name))) or 'none'}.",
        )
    print_frame(frame_of(rows, LAG_COLUMNS), options.format, sys.maxsize)
    if not rows:
        write_error(f"no consumer group has committed an offset on topic {options.name!r}")
    return 0


def find_committed(connection: Connection, topic: str, only: str | None = None) -> dict[str, dict[int, int]]:
    """Group -> partition -> committed offset, of every group that has committed on the topic."""

    def ask(admin: KafkaAdminClient) -> dict[str, dict[int, int]]:
        groups = [only] if only else [str(group["group_id"]) for group in admin.list_groups()]
        found = {}
        for group in groups:
            offsets = admin.list_group_offsets({group: None})[group]
            mine = {place.partition: at.offset for place, at in offsets.items() if place.topic == topic}
            if reached := {partition: offset for partition, offset in mine.items() if offset >= 0}:
                found[group] = reached
        return found

    try:
        return ask_admin(connection, _TIMEOUT, ask)
    except KafkaError as error:
        raise LabError(f"the consumer groups can't be listed: {error}", "May this user describe groups?") from error
