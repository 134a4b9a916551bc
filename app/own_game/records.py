"""The records of a hosted game's topics as one frame, whatever they are: JSON of any shape, text, several topics."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from streaming_lab.analysis.shapes import META, flatten_objects
from streaming_lab.client.connection import Connection
from streaming_lab.client.metadata import Ranges
from streaming_lab.own_game.journal import SEND_HEADER
from streaming_lab.own_game.masks import MASKED_VALUE, is_secret_name, masked_value
from streaming_lab.reader import TopicFrame, read_topic
from streaming_lab.reader.decode.headers import Headers
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource
from streaming_lab.reader.pipeline import REJECT_BYTES

VALUE = "value"  # the column of what is no JSON object: text, numbers, lists, as text


@dataclass(frozen=True)
class GameRecords:
    """`events`: a row for each record, with `topic`, and `send_id` where the lab's producer sent it; without secrets.

    `rejects`: records too long to be kept whole. `ranges`: by the topics' names in the cluster. `aside` rows of
    requests that were no part of the run are left out.
    """

    events: pd.DataFrame
    rejects: pd.DataFrame
    ranges: Mapping[str, Ranges]
    aside: int = 0

    @property
    def written(self) -> int:
        """The number of records that the run left in the game's topics."""
        return sum(end - start for ranges in self.ranges.values() for start, end in ranges.values()) - self.aside


def read_records(connection: Connection, topics: Mapping[str, str]) -> GameRecords:
    """Everything in the game's topics (its own name -> the name in the cluster), in the order of topic and offset."""
    frames, rejects, ranges = [], [], {}
    for name, written in sorted(topics.items()):
        read = read_topic(connection, written)
        events, rejected = every_record(read)
        places = [*zip(map(int, events["partition"]), map(int, events["offset"]), strict=True)]
        found = find_marks(connection, written, read.ranges)
        marks = [found.get(place, NO_MARK) for place in places]
        stamps = pd.Series([mark.timestamp for mark in marks], index=events.index, dtype="Int64")
        events = events.assign(
            topic=name,
            timestamp=stamps.astype("datetime64[ms]").dt.tz_localize("UTC"),
            key=pd.Series([mark.key for mark in marks], index=events.index, dtype="str"),
            send_id=pd.Series([mark.send_id for mark in marks], index=events.index, dtype="str"),
        )
        frames.append(flatten_objects(events))
        rejects.append(rejected.assign(topic=name))
        ranges[written] = read.ranges
    events = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*META, "send_id"])
    rejected = pd.concat(rejects, ignore_index=True) if rejects else pd.DataFrame(columns=REJECT_COLUMNS)
    first = [name for name in META if name in events]
    events = events[[*first, *(name for name in events.columns if name not in first)]]
    return GameRecords(masked_frame(events.astype({"topic": "str", "send_id": "str"})), masked_frame(rejected), ranges)


REJECT_COLUMNS = ["partition", "offset", "reason", "raw", "topic"]


def storable_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame for a parquet file: columns of several kinds of values as text, each value as JSON."""

    def text(cell: Any) -> Any:
        return cell if cell is None or isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=repr)

    mixed = [name for name in frame.columns if frame[name].dtype == object and name != "raw"]
    return frame.assign(**{name: pd.Series(frame[name].map(text), dtype="str") for name in mixed})


def every_record(read: TopicFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A topic's records as rows: what is no JSON object, but text, stands in the column `value`; and what is left."""
    texts = [text_of(raw) for raw in read.rejects["raw"]]
    is_text = pd.Series([text is not None for text in texts], index=read.rejects.index, dtype=bool)
    found = read.rejects.loc[is_text, ["partition", "offset"]].assign(
        **{VALUE: [text for text in texts if text is not None]}
    )
    empty = read.tombstones[["partition", "offset"]]
    parts = [read.events, *(part for part in (found, empty) if len(part))]
    events = pd.concat(parts, ignore_index=True) if len(parts) > 1 else read.events
    events = events.sort_values(["partition", "offset"], kind="stable", ignore_index=True)
    return events, read.rejects[~is_text]


def text_of(raw: bytes) -> str | None:
    r"""Bytes as text, those that are no UTF-8 as \xNN; None where the reader has cut them."""
    return raw.decode(errors="backslashreplace") if len(raw) < REJECT_BYTES else None


class RecordMark(NamedTuple):
    """What a record has beside its value: the broker's time in ms UTC, the key as text, and its send's id."""

    timestamp: int | None = None
    key: str | None = None
    send_id: str | None = None


NO_MARK = RecordMark()


def find_marks(
    connection: Connection, topic: str, ranges: Ranges, timeout: float = 60.0
) -> dict[tuple[int, int], RecordMark]:
    """(partition, offset) -> the mark of each record, also of one that is no JSON; raises `ReadTimeout`."""
    found = {}
    with RecordSource(ReadRequest(connection, topic, ranges, timeout=timeout)) as source:
        for response in source.responses(source.ranges):
            sends = {(partition, offset): send_id_in(headers) for partition, offset, headers in response.headers()}
            for partition, indexed in response.indexed():
                records = indexed.records
                columns = (records.offsets.tolist(), records.timestamps.tolist(), records.keys().to_pylist())
                for offset, stamp, key in zip(*columns, strict=True):
                    text = None if key is None else key.decode(errors="backslashreplace")
                    found[partition, offset] = RecordMark(max(stamp, 0) or None, text, sends.get((partition, offset)))
            response.done()
    return found


def send_id_in(headers: Headers) -> str | None:
    """The id that the watched producer gave to a record's send."""
    return next((value.decode() for name, value in headers if name == SEND_HEADER and value), None)


def masked_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame without secrets: whole columns by their name, and secrets inside the texts of the others."""
    columns: dict[str, Any] = {}
    for name in frame.columns:
        cells = frame[name]
        if is_secret_name(str(name)):
            masked = [MASKED_VALUE if present else None for present in cells.notna()]
            columns[name] = pd.Series(masked, index=cells.index, dtype="str")
        elif cells.dtype == object or pd.api.types.is_string_dtype(cells):
            changed = [masked_value(str(name), value) for value in cells]
            columns[name] = pd.Series(changed, index=cells.index, dtype=cells.dtype)
        else:
            columns[name] = cells
    return pd.DataFrame(columns, index=frame.index)
