"""The commands `read` and `tail`: a range of a topic as a frame, printed; `tail --follow` goes on until Ctrl-C."""

import argparse
import time
from collections.abc import Iterable
from functools import partial

import pandas as pd

from streaming_lab.cli import write_error
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection
from streaming_lab.client.metadata import Ranges
from streaming_lab.errors import LabError
from streaming_lab.reader import TopicFrame, read_topic
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource
from streaming_lab.topic.places import TopicPlace, count_back
from streaming_lab.topic.printing import print_frame
from streaming_lab.wording import counted

_FOLLOW_STEP = 0.5  # seconds between two looks for new records
_CAUSES_SHOWN = 5


def read_command(connection: Connection, options: argparse.Namespace) -> int:
    """Print the records of the range; 1 where some records are no rows (stderr says which, and why)."""
    ranges = find_ranges(connection, options.name, options.start, options.end, options.partition)
    frame = _read(connection, options, ranges)
    print_frame(frame.events, options.format, options.rows)
    return report_rest(frame)


def tail_command(connection: Connection, options: argparse.Namespace) -> int:
    """Print the last records by time, and with --follow each new one; 1 where some are no rows."""
    last = partial(find_ranges, connection, options.name, partitions=options.partition)
    ranges = last(-options.lines if options.lines else None, None)
    if not options.lines:
        ranges = {partition: (end, end) for partition, (_, end) in ranges.items()}
    frame = _read(connection, options, ranges)
    newest = frame.events.sort_values("timestamp", kind="stable").tail(options.lines or 1)
    if options.lines:
        print_frame(newest, options.format, options.lines)
    code = report_rest(frame)
    while options.follow:
        time.sleep(_FOLLOW_STEP)
        ends = topics.end_offsets(connection, options.name)
        ranges = {p: (reached, ends[p]) for p, (_, reached) in ranges.items() if p in ends}
        if any(start < end for start, end in ranges.values()):
            frame = _read(connection, options, ranges)
            print_frame(frame.events.sort_values("timestamp", kind="stable"), options.format, len(frame.events))
            code = report_rest(frame) or code
    return code


def _read(connection: Connection, options: argparse.Namespace, ranges: Ranges) -> TopicFrame:
    return read_topic(
        connection,
        options.name,
        columns=options.columns,
        ranges=ranges,
        values=options.values,
        flat=options.flat,
        headers=options.headers,
        isolation="read_committed" if options.committed else "read_uncommitted",
        timeout=options.timeout,
    )


def find_ranges(
    connection: Connection, topic: str, start: TopicPlace, end: TopicPlace, partitions: Iterable[int] | None
) -> Ranges:
    """The offsets between two places now, of these partitions or of all."""
    ends: dict[int, int] = {}
    if any(isinstance(place, int) and place < 0 for place in (start, end)):
        ends = topics.end_offsets(connection, topic)
    with RecordSource(ReadRequest(connection, topic, start=count_back(start, ends), end=count_back(end, ends))) as read:
        ranges = read.ranges
    if missing := sorted(set(partitions or ()) - ranges.keys()):
        raise LabError(f"topic {topic!r} has no partition {missing[0]}", f"Its partitions are 0 to {max(ranges)}.")
    return {partition: ranges[partition] for partition in sorted(partitions or ranges)}


def report_rest(frame: TopicFrame) -> int:
    """Say on stderr what is no row, and why; 1 if there are rejects, otherwise 0."""
    for note in frame.notes:
        write_error(f"note: {_as_options(note)}")
    if len(frame.tombstones):
        write_error(f"{counted(len(frame.tombstones), 'tombstone')}: a key without a value")
    if frame.rejects.empty:
        return 0
    causes = frame.causes()
    write_error(f"{counted(len(frame.rejects), 'record')} are no rows:" if len(frame.rejects) > 1 else "1 is no row:")
    for count, cause, hint, partition, offset in causes.head(_CAUSES_SHOWN).itertuples(index=False, name=None):
        place = f"first at partition {partition}, offset {offset}"
        write_error(f"  {count:,}: {cause}, {place}{f'; {hint}' if hint else ''}")
    if len(causes) > _CAUSES_SHOWN:
        write_error(f"  and {len(causes) - _CAUSES_SHOWN} more causes")
    return 1


def _as_options(note: str) -> str:
    """A note with `read_topic`'s options in the words of the command line."""
    for word in ("nearly", "stream"):
        note = note.replace(f"values='{word}'", f"--values {word}")
    return note.replace("flat=True", "--flat")


def frame_of(rows: list[dict[str, object]], columns: Iterable[str]) -> pd.DataFrame:
    """A small frame with these columns, also without a row."""
    return pd.DataFrame(rows, columns=list(columns))
