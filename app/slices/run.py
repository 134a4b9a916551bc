"""Slices read by an executor, and their parts merged in order: one call for any topic and any function."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streaming_lab.errors import LabError
from streaming_lab.reader.decode.infer import widen_plan
from streaming_lab.slices.executors import Executor
from streaming_lab.slices.plan import Slice
from streaming_lab.slices.read import DIGEST_SIZE
from streaming_lab.slices.work import OtherCode, SliceAnswer, SliceFailed, SliceTask, code_of_this_process

SlicePlace = tuple[int, int, int]  # a slice's partition, start and end


class SliceChanged(LabError):
    """A slice whose second reading is not the first one."""


@dataclass
class SlicedRun:
    """What the slices gave: the merged part, and what was counted beside it, over all of them.

    rows + rejects + tombstones + aborted is the number of records. `digests` are those of the slices' batches by place,
    `peak` is the memory in bytes of the largest process, `processes` are those that answered.
    """

    part: Any = None
    slices: int = 0
    rows: int = 0
    rejects: int = 0
    tombstones: int = 0
    aborted: int = 0
    seconds: float = 0.0
    peak: int = 0
    digests: dict[SlicePlace, int] = field(default_factory=dict)
    processes: set[str] = field(default_factory=set)

    @property
    def digest(self) -> int:
        """The sum of the slices' digests: equal for equal batches, however the range was cut."""
        return sum(self.digests.values()) % DIGEST_SIZE


def run_slices(
    brokers: str,
    slices: Sequence[Slice],
    function: Callable[..., Any],
    merge: Callable[[Any, Any], Any],
    executor: Executor,
    *,
    extra: Mapping[int, tuple[Any, ...]] | None = None,
    digests: Mapping[SlicePlace, int] | None = None,
    timeout: float = 60.0,
    decoder: str = "auto",
) -> SlicedRun:
    """`merge` over `function(frame, *extra)` of each slice, in the order of partition and offset.

    `function` gets a slice's `TopicFrame`, and `extra[partition]` beside it; it must have no effect but its part, since
    a slice whose worker ended is read again. `merge(left, right)` must be associative: left covers offsets before
    right's in one partition, or a lower partition. It may change and return `left`.

    A value that the plan of an inferred schema cannot hold widens the plan of its slice, which is read again. `digests`
    are those of an earlier run. Raises `SliceFailed` with the slice for whatever kept it from being read to its end,
    `SliceChanged` if a slice was read twice with different batches, `OtherCode` for workers with other code.
    """
    began, merged, found = time.monotonic(), _InOrder(merge), SlicedRun()
    known, code = dict(digests or {}), code_of_this_process()
    todo = list(enumerate(slices))
    while todo:
        tasks = [
            SliceTask(each, brokers, function, (extra or {}).get(each.partition, ()), code, timeout, decoder)
            for _, each in todo
        ]
        wider = []
        for number, answer in executor.answers(tasks):
            place, piece = todo[number]
            _check(piece, answer, known)
            if answer.strays:
                wider.append((place, replace(piece, plan=widen_plan(piece.plan, answer.strays))))
                continue
            merged.add(place, answer.part)
            _count(found, piece, answer)
        todo = sorted(wider, key=lambda entry: entry[0])
    found.part, found.seconds = merged.whole, time.monotonic() - began
    return found


def _check(piece: Slice, answer: SliceAnswer, known: dict[SlicePlace, int]) -> None:
    """Raise the trouble of an answer, or the difference from an earlier reading of the same slice."""
    if answer.trouble is not None:
        raise (OtherCode if answer.other_code else SliceFailed)(*answer.trouble)
    before = known.setdefault(piece.place, answer.digest)
    if before != answer.digest:
        raise SliceChanged(
            f"{piece}: a second reading found other batches than the first ({answer.digest:016x}, not {before:016x})",
            "Compaction or retention changed the log meanwhile, or the topic was made again: plan and read it anew.",
        )


def _count(found: SlicedRun, piece: Slice, answer: SliceAnswer) -> None:
    found.slices += 1
    for name in ("rows", "rejects", "tombstones", "aborted"):
        setattr(found, name, getattr(found, name) + getattr(answer, name))
    found.digests[piece.place] = answer.digest
    found.peak = max(found.peak, answer.peak)
    found.processes.add(answer.process)


@dataclass
class _InOrder:
    """Merges parts in the order of their numbers; a part that comes early waits for those before it."""

    merge: Callable[[Any, Any], Any]
    whole: Any = None
    _next: int = 0
    _early: dict[int, Any] = field(default_factory=dict)

    def add(self, number: int, part: Any) -> None:
        self._early[number] = part
        while self._next in self._early:
            found = self._early.pop(self._next)
            self.whole = found if self._next == 0 else self.merge(self.whole, found)
            self._next += 1
