"""One answer of a leader, with its bytes still in the buffer that they came in."""

from dataclasses import dataclass

from streaming_lab.client.broker_connection import BrokerConnection
from streaming_lab.stream.batches import beginning
from streaming_lab.stream.chunk import Chunk, Decode, Decoded
from streaming_lab.stream.records import Walked, walk
from streaming_lab.stream.schema import Plan


@dataclass(frozen=True)
class Fetched:
    """One answer's chunks; `done` must be called when nobody looks at their bytes any more."""

    chunks: list[Chunk]
    link: BrokerConnection
    buffer: bytearray

    def walked(self) -> list[tuple[int, Walked]]:
        """(partition, its records) for each chunk, not decoded."""
        return [(chunk.partition, walk(chunk)) for chunk in self.chunks]

    def sample(self, most: int) -> list[bytes]:
        """The first values of each chunk, without a look at more of its batches than it takes."""
        return [value for chunk in self.chunks for value in _first_values(chunk, most)]

    def decoded(self, plan: Plan, decode: Decode) -> list[tuple[int, Decoded]]:
        """(partition, its rows) for each chunk."""
        return [(chunk.partition, decode(plan, chunk)) for chunk in self.chunks]

    def done(self) -> None:
        """Give the answer's buffer back."""
        self.link.give_back(self.buffer)


def _first_values(chunk: Chunk, most: int) -> list[bytes]:
    """The values among so many records, or among more where those are tombstones, aborted or markers."""
    records = most
    while True:
        part = beginning(chunk, records)
        values = walk(part).records.values(most)
        if values or part is chunk:
            return values
        records *= 4
