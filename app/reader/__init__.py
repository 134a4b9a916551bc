"""From a topic to a DataFrame, or to Arrow batches: the reader's public face.

Each name is imported at its first use (PEP 562): `read_batches` and `Schema` load no pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streaming_lab.reader.arrow import read_batches
    from streaming_lab.reader.decode.native import core_status
    from streaming_lab.reader.decode.schema import Schema
    from streaming_lab.reader.frames import TopicFrame
    from streaming_lab.reader.kept import read_record_batches
    from streaming_lab.reader.reading import read_topic
    from streaming_lab.reader.text import read_text

__all__ = ["Schema", "TopicFrame", "core_status", "read_batches", "read_record_batches", "read_text", "read_topic"]

_HOMES = {"Schema": "decode.schema", "core_status": "decode.native", "read_batches": "arrow", "TopicFrame": "frames"}
_HOMES |= {"read_text": "text", "read_topic": "reading", "read_record_batches": "kept"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
