"""The work on one slice, wherever it is done: a task goes in, an answer comes out, and trouble is an answer, too."""

import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from streaming_lab.client.client_properties import connection_named
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, tree_hash
from streaming_lab.reader.frames import TopicFrame
from streaming_lab.slices.plan import Slice
from streaming_lab.slices.read import read_slice
from streaming_lab.wording import counted

ALLOWED_DEATHS = 10  # of workers on one slice, before that slice is given up
SLICE_PATIENCE = 120.0  # seconds beyond a read's own deadline for the function and the answer


class SliceFailed(LabError):
    """A slice that was not read: its place, and what went wrong there."""


class OtherCode(LabError):
    """A worker whose code or libraries are not the driver's."""


@dataclass(frozen=True)
class SliceTask:
    """A slice, and the function that makes a part of its frame: `function(frame, *extra)`.

    `brokers` is an address or the name of a properties file, which each worker reads for itself: no secret travels.
    `code` is the driver's `code_of_this_process`.
    """

    piece: Slice
    brokers: str
    function: Callable[..., Any]
    extra: tuple[Any, ...]
    code: str
    timeout: float
    decoder: str = "auto"


@dataclass(frozen=True)
class SliceAnswer:
    """What a worker says of a slice: the part, what was counted beside it, or the trouble (problem and cure)."""

    part: Any = None
    digest: int = 0
    rows: int = 0
    rejects: int = 0
    tombstones: int = 0
    aborted: int = 0
    strays: tuple[bytes, ...] = ()
    seconds: float = 0.0
    peak: int = 0
    process: str = ""
    trouble: tuple[str, str] | None = None
    other_code: bool = False


def answer_task(task: SliceTask) -> SliceAnswer:
    """Read the task's slice, make its part, and say what was found; never raises for what a person can act on."""
    began, here = time.monotonic(), f"{platform.node()}:{os.getpid()}"
    if task.code != code_of_this_process():
        return SliceAnswer(process=here, trouble=code_trouble(here, task.code, code_of_this_process()), other_code=True)
    try:
        reading = read_slice(connection_named(task.brokers), task.piece, timeout=task.timeout, decoder=task.decoder)
        frame = reading.frame
        part = _part(task, frame) if not reading.strays else None
    except LabError as error:
        return SliceAnswer(process=here, trouble=(f"{task.piece}: {error.problem}", error.cure))
    return SliceAnswer(
        part,
        reading.digest,
        len(frame.events),
        len(frame.rejects),
        len(frame.tombstones),
        frame.aborted,
        reading.strays,
        time.monotonic() - began,
        peak_memory(),
        here,
    )


def _part(task: SliceTask, frame: TopicFrame) -> Any:
    try:
        return task.function(frame, *task.extra)
    except LabError:
        raise
    except Exception as error:
        what = f"the function raised {type(error).__name__}: {error}"
        raise LabError(what, "Call the function with the frame of this range to see where.") from error


def give_up(piece: Slice, deaths: int) -> SliceFailed:
    """The error for a slice whose worker ended again and again."""
    return SliceFailed(
        f"{piece}: its worker ended {counted(deaths, 'time')} while it worked on this slice",
        "Look at the worker's log and memory; smaller slices (offsets=...) take less.",
    )


@cache
def code_of_this_process() -> str:
    """The hash of the lab's own code, and the versions that decide what a frame is."""
    import pandas as pd
    import pyarrow as pa

    python = ".".join(map(str, sys.version_info[:2]))
    return f"{tree_hash(PROJECT / 'app')[:16]} Python {python} pandas {pd.__version__} pyarrow {pa.__version__}"


def code_trouble(where: str, wanted: str, found: str) -> tuple[str, str]:
    """Problem and cure where a worker has other code than the driver."""
    return (
        f"worker {where} has other code than this process: {found}, not {wanted}",
        "Give all workers this checkout and its lock, and start them again: parts of two versions are not added up.",
    )


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")  # not getrusage: a child on Linux begins with its parent's maximum there
    if status.exists():
        found = next((line for line in status.read_text(encoding="ascii").splitlines() if "VmHWM:" in line), "VmHWM: 0")
        return int(found.split()[1]) << 10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
