"""A stream of JSON over the values of a topic: one array fed line by line, or several objects in one record.

The values of a partition, one line each and in their order, are one text. Each JSON object in that text is a row at the
record in which the object begins; arrays are opened, commas between objects are skipped.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from streaming_lab.reader.decode.batches import Decoded, Reject
from streaming_lab.reader.decode.python import decode_records
from streaming_lab.reader.decode.records import index_values
from streaming_lab.reader.decode.values import describe_type
from streaming_lab.reader.pipeline import Part, Planner

_BETWEEN = " \t\r\n,[]\ufeff"  # what may stand between two objects


def split_stream(parts: list[Part], planner: Planner) -> Iterator[Part]:
    """The parts of a read with values="text" as parts whose rows are the objects of their partition's text."""
    for partition in sorted({part.partition for part in parts}):
        mine = [part for part in parts if part.partition == partition]
        table = pa.concat_tables([part.decoded.table for part in mine])
        places, values, rejects = _split(partition, table["offset"].to_pylist(), table["value"].to_pylist())
        planner.learn(values)
        times = [moment.value for moment in table["timestamp"]]
        keys = table["key"].to_pylist()
        index = index_values(
            [table["offset"][at].as_py() for at in places],
            [times[at] for at in places],
            [keys[at] for at in places],
            values,
        )
        rows = decode_records(planner.plan, partition, index, 0)
        yield Part(partition, planner.plan, replace(rows, rejects=[*rejects, *rows.rejects]))
        for part in mine:  # what was no value: tombstones, rejected batches, aborted records
            yield Part(partition, part.plan, _without_rows(part.decoded))


def _without_rows(decoded: Decoded) -> Decoded:
    return replace(decoded, table=decoded.table.slice(0, 0))


def _split(partition: int, offsets: list[int], lines: list[str]) -> tuple[list[int], list[bytes], list[Reject]]:
    """The objects of the joined lines: the line in which each begins, its JSON, and lines that belong to none."""
    text = "\n".join(lines)
    begins = [0]
    for each in lines:
        begins.append(begins[-1] + len(each) + 1)
    decoder, at = json.JSONDecoder(), 0
    places: list[int] = []
    values: list[bytes] = []
    rejects: list[Reject] = []
    while (at := _skip(text, at)) < len(text):
        line = bisect_right(begins, at) - 1
        try:
            found, stop = decoder.raw_decode(text, at)
            problem = "" if isinstance(found, dict) else f"not an object but {describe_type(found)}"
        except (ValueError, RecursionError) as error:
            problem, stop = f"not JSON: {error}", at
        if problem:
            raw = lines[line].encode(errors="surrogatepass")
            rejects.append(Reject(partition, offsets[line], f"no object of the stream begins here: {problem}", raw))
            at = begins[line + 1]
        else:
            places.append(line)
            values.append(text[at:stop].encode(errors="surrogatepass"))
            at = stop
    return places, values, rejects


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BETWEEN:
        at += 1
    return at
