"""Which decoder reads: the native core where it is there, the Python way elsewhere, or the one that was asked for."""

from typing import NamedTuple

from streaming_lab.errors import LabError
from streaming_lab.stream import decode, native
from streaming_lab.stream.chunk import Decode
from streaming_lab.stream.fetch import ANSWER

_PURE = ANSWER // 2  # pyarrow's JSON parser takes several times a chunk while it works


class Decoder(NamedTuple):
    """A way to decode, with what the reader has to know of it."""

    decode: Decode
    name: str  # what the result says about it
    answer: int  # bytes at once that serve it best


def of(name: str) -> Decoder:
    """The decoder for auto, native or python; `LabError` for other names, or for a native core that is not there."""
    if name not in ("auto", "native", "python"):
        raise LabError(f"decoder {name!r} is unknown", "Use auto, native or python.")
    if name != "python" and native.available():
        return Decoder(native.decode_chunk, "native", ANSWER)
    if name == "native":
        raise LabError(f"the native decoder is not there: {native.status()}", "Use decoder='auto'.")
    why = "asked for" if name == "python" else native.status()
    return Decoder(decode.decode_chunk, f"python: {why}", _PURE)
