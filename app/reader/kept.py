"""Record batches kept as they came: taken from a topic byte by byte, and decoded again later without a broker."""

import struct
from collections.abc import Iterator

import numpy as np
import pandas as pd

from streaming_lab.client.connection import Connection
from streaming_lab.client.metadata import Ranges
from streaming_lab.reader.decode.batches import Chunk, CorruptBatch
from streaming_lab.reader.decode.codecs import Bounds
from streaming_lab.reader.decode.schema import Schema, compile_plan
from streaming_lab.reader.fetch.fetcher import FetchedChunks
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource
from streaming_lab.reader.frames import TopicFrame, build_frames
from streaming_lab.reader.pipeline import Part, ResultBuilder, select_decoder

LENGTH_END = 12  # a batch begins with its first offset (8 bytes) and the length of what follows (4 bytes)
KEPT_INFLATED = 64 << 20  # bytes that one kept batch may inflate to


def read_record_batches(connection: Connection, topic: str, ranges: Ranges, timeout: float = 60.0) -> pd.DataFrame:
    """The topic's record batches in `ranges`, as brokers store them: partition, offset (the first one), batch (bytes).

    Sorted by partition and offset. Empty where only kafka-python's consumer can read, which hands out records alone.
    """
    found: dict[tuple[int, int], bytes] = {}
    with RecordSource(ReadRequest(connection, topic, ranges, timeout=timeout)) as source:
        for response in source.responses(source.ranges):
            if isinstance(response, FetchedChunks):
                for chunk in response.chunks:
                    found |= {(chunk.partition, offset): batch for offset, batch in split_batches(bytes(chunk.data))}
            response.done()
    places = sorted(found)
    return pd.DataFrame(
        {
            "partition": np.array([partition for partition, _ in places], np.int32),
            "offset": np.array([offset for _, offset in places], np.int64),
            "batch": pd.Series([found[place] for place in places], dtype=object),
        }
    )


def split_batches(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(first offset, bytes) of each whole batch in `data`."""
    at = 0
    while len(data) - at > LENGTH_END:
        offset, length = struct.unpack_from(">qi", data, at)
        stop = at + LENGTH_END + length
        if length <= 0 or stop > len(data):
            return
        yield offset, data[at:stop]
        at = stop


def decode_record_batches(batches: pd.DataFrame, schema: Schema, ranges: Ranges, decoder: str = "auto") -> TopicFrame:
    """The frames that `read_topic` gives for these batches and ranges; raises what decoders raise."""
    plan, chosen, gathered = compile_plan(schema, None), select_decoder(decoder), ResultBuilder()
    for partition, (start, end) in sorted(ranges.items()):
        mine = batches[batches["partition"] == partition].sort_values("offset")
        data = b"".join(mine["batch"])
        if sum(len(batch) for _, batch in split_batches(data)) != len(data):
            raise CorruptBatch(partition, start, "the kept bytes are no whole record batches")
        chunk = Chunk(partition, start, end, memoryview(data), bounds=Bounds(KEPT_INFLATED, False, None))
        for decoded in chosen.decode(plan, chunk):
            gathered.add(Part(partition, plan, decoded))
    return build_frames(gathered, plan, ranges, chosen.name, None)


def describe_batches(batches: pd.DataFrame) -> pd.DataFrame:
    """The headers of the batches (KIP-98), a row each: partition, producer, sequence, records."""
    rows = [
        (partition, *struct.unpack_from(">q2xii", batch, 43))  # the producer's epoch is passed over
        for partition, batch in batches[["partition", "batch"]].itertuples(index=False, name=None)
    ]
    return pd.DataFrame(rows, columns=["partition", "producer", "sequence", "records"])
