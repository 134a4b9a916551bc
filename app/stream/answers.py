"""Answers decoded where they lie: kafka-python's compiled decoders, without their copy of every record batch.

With that copy a read with the native core took 18% more CPU (400,000 events of 253 bytes: 0.283 s for 0.239 s, medians
of 9 interleaved rounds, more in each of them). It is kept as long as it is worth more than 5%.
"""

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

_SHORT = 64  # bytes; ids and the like, which their classes want as bytes


def decode_in_place(answer: Any, data: memoryview, version: int) -> Any:
    """An object of the protocol class `answer`, whose record batches are views of `data`: valid as long as that is."""
    return _decoder(answer, version)(data, 0)[0]


@cache
def _decoder(answer: Any, version: int) -> Callable[[memoryview, int], tuple[Any, int]]:
    """The library's own decoder of one version, a copy of it in which `bytes` leaves long slices as they are.

    It is generated code of the form `bytes(data[a:b])`: for a Fetch answer, a copy of nearly all that was received.
    """
    flexible = answer.flexible_version_q(version)
    compiled = answer._struct.compiled_decode_from(version, compact=flexible, tagged=flexible, data_class=answer)
    return FunctionType(compiled.__code__, {**compiled.__globals__, "bytes": _kept})


def _kept(part: memoryview) -> bytes | memoryview:
    return bytes(part) if len(part) <= _SHORT else part
