"""Topic to lines of text: `read_text`, which prints values as kcat does; pandas is not imported."""

from streaming_lab.client.connection import Connection
from streaming_lab.client.metadata import Ranges
from streaming_lab.reader.decode.codecs import INFLATED_LIMIT
from streaming_lab.reader.fetch.request import ReadRequest, RecordSource


def read_text(
    connection: Connection,
    topic: str,
    *,
    ranges: Ranges | None = None,
    timeout: float = 60.0,
    batch_limit: int = INFLATED_LIMIT,
) -> list[str]:
    """The values as lines of text, by partition and offset, as kcat prints them; bytes that are not UTF-8 as \\xNN.

    A record batch that inflates to more than `batch_limit` bytes is the error `BatchTooLarge`.
    """
    lines: dict[int, list[str]] = {}
    with RecordSource(ReadRequest(connection, topic, ranges, timeout=timeout, batch_limit=batch_limit)) as source:
        for response in source.responses(source.ranges):
            for partition, indexed in response.indexed():
                values = indexed.records.values(len(indexed.records))
                lines.setdefault(partition, []).extend(value.decode(errors="backslashreplace") for value in values)
            response.done()
    return [line for partition in sorted(lines) for line in lines[partition]]
