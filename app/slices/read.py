"""One slice, read by the lab's reader: its frame, a digest of its record batches, values that need a wider plan."""

import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

from streaming_lab.client.connection import Connection
from streaming_lab.errors import LabError
from streaming_lab.reader.decode.batches import batch_checksums
from streaming_lab.reader.fetch.fetcher import FetchedChunks
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource, Response
from streaming_lab.reader.frames import TopicFrame, build_frames
from streaming_lab.reader.pipeline import Pipeline, Planner, ResultBuilder, select_decoder
from streaming_lab.slices.plan import Slice, same_topic

DIGEST_SIZE = 1 << 64
SAMPLED_STRAYS = 1000  # values that go back to the driver; what else is wide shows in the next reading
_MIX = 0x9E3779B97F4A7C15  # an odd number: places and checksums of batches do not cancel each other out


@dataclass(frozen=True)
class SliceReading:
    """The frames of a slice. `digest` adds up the batches that begin in the slice: however a range is cut, the sum of
    its slices' digests is the same. `strays` are values that the slice's plan could not hold: the frame has them, in
    wider columns than the other slices'.
    """

    frame: TopicFrame
    digest: int
    strays: tuple[bytes, ...]


@dataclass
class _Learner(Planner):
    """A planner that keeps what made it widen its plan."""

    strays: list[bytes] = field(default_factory=list)

    def learn(self, values: Iterable[bytes]) -> None:
        before, found = self.plan, list(values)
        super().learn(found)
        self.strays += found if self.plan is not before else []


@dataclass
class _BatchWatch:
    """Passes responses on, and adds up the batches that begin in the slice."""

    piece: Slice
    digest: int = 0
    reached: int = -1  # the first offset of the last batch: an answer may bring that batch again

    def over(self, responses: Iterator[Response]) -> Generator[Response, None, None]:
        for response in responses:
            for first, checksum in _checksums(response):
                if self.reached < first and self.piece.start <= first < self.piece.end:
                    self.digest = (self.digest + (first << 32 | checksum) * _MIX) % DIGEST_SIZE
                    self.reached = first
            yield response


def _checksums(response: Response) -> Iterator[tuple[int, int]]:
    """(first offset, checksum) of each batch; where the consumer hands out records, of each record's value."""
    if isinstance(response, FetchedChunks):
        for chunk in response.chunks:
            yield from batch_checksums(chunk)
        return
    for row, offset in enumerate(response.records.offsets.tolist()):
        value = response.records.value(row) if response.records.lengths[row] >= 0 else b"\0tombstone"
        yield offset, zlib.crc32(value)


def read_slice(connection: Connection, piece: Slice, *, timeout: float = 60.0, decoder: str = "auto") -> SliceReading:
    """The records of a slice as `read_topic` gives them; raises what `read_topic` raises."""
    ranges = {piece.partition: (piece.start, piece.end)}
    request = ReadRequest(connection, piece.topic, ranges, isolation=piece.isolation, timeout=timeout)
    planner, watch, gathered = _Learner(piece.plan), _BatchWatch(piece), ResultBuilder()
    chosen = select_decoder(decoder)
    with RecordSource(request) as source:
        if not same_topic(source.topic_id(), piece):
            raise LabError(f"{piece}: the topic was deleted, and made again with the same name", "Plan it anew.")
        for part in Pipeline(planner, chosen.decode).parts(watch.over(source.responses(ranges, answer=chosen.answer))):
            gathered.add(part)
        how = source.decoder or chosen.name
    frame = build_frames(gathered, planner.plan, ranges, how, piece.columns)
    return SliceReading(frame, watch.digest, tuple(planner.strays[:SAMPLED_STRAYS]))
