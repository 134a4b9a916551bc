"""Examines one hand-in as it was handed in: every check with its word, and what runs may not share."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from streaming_lab.errors import LabError
from streaming_lab.handin.check import Check, Contradiction, Word, cannot_tell, count_words
from streaming_lab.handin.crowd_checks import CROWD_CHECKS
from streaming_lab.handin.faults_check import check_faults
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.handin.load import HandIn, load
from streaming_lab.handin.outgrow_check import check_outgrow
from streaming_lab.handin.own_game_checks import OWN_GAME_CHECKS, has_own_game
from streaming_lab.handin.record_checks import RECORD_CHECKS, UNTOLD, check_verdict
from streaming_lab.handin.remake import compare_chapter, reference_chapters
from streaming_lab.handin.unpack import BadHandIn, unpacked

MARKED_IDS = 40  # event ids of a hand-in that are compared with those of others


@dataclass(frozen=True)
class Examined:
    """One hand-in's row: its checks, or why it could not be looked at (`broken`); `marks` are what runs can't share."""

    name: str
    student: str = ""
    author: str = ""
    version: str = ""
    status: str = ""
    checks: tuple[Check, ...] = ()
    broken: str = ""
    marks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def word(self) -> Word:
        """Contradicts if a check does; cannot tell for a broken one, and where no check agrees; otherwise agrees."""
        words = count_words(self.checks)
        if words["contradicts"]:
            return "contradicts"
        return "agrees" if words["agrees"] and not self.broken else "cannot tell"

    def to_json(self) -> dict[str, Any]:
        """This row as plain JSON."""
        return {**asdict(self), "marks": {name: list(values) for name, values in self.marks.items()}}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Examined":
        """The row that `to_json` gave."""
        checks = tuple(
            Check(**{**one, "findings": tuple(Contradiction(**each) for each in one["findings"])})
            for one in raw["checks"]
        )
        marks = {name: tuple(values) for name, values in raw["marks"].items()}
        return cls(**{**raw, "checks": checks, "marks": marks, "left_out": tuple(raw["left_out"])})


def examine(place: Path, name: str = "", work: Path | None = None) -> Examined:
    """Examine the hand-in at `place`, unpacked in `work`; a broken or hostile one is a row with its reason."""
    name, began = name or place.name, time.monotonic()
    try:
        with unpacked(place, work) as found:
            kept = KeptRun(load(found))
            checks = tuple(run_checks(kept))
            run = kept.run
            return Examined(
                name,
                str(run.parameters.get("student", "")),
                str(run.parameters.get("author", "")),
                kept.hand_in.version,
                run.status,
                checks,
                marks=marks_of(kept),
                left_out=found.left_out[:20],
                seconds=round(time.monotonic() - began, 3),
            )
    except BadHandIn as error:
        return Examined(name, broken=error.problem, seconds=round(time.monotonic() - began, 3))


def run_checks(kept: KeptRun, only: Collection[str] = ()) -> Iterator[Check]:
    """All checks, or `only` these, with their seconds; one that meets the unforeseen can't tell, and stops none."""
    ran = {one.name for one in kept.run.chapters}
    wanted = own_game_checks() if has_own_game(kept) else all_checks(ran)
    for name, check in wanted.items():
        if not only or name in only:
            yield attempt(name, partial(check, kept))


def own_game_checks() -> dict[str, Callable[[KeptRun], Check]]:
    """The checks of a run with a game of one's own; of chapters in which the game plays nothing is made again."""
    none = {"verdict": lambda kept: check_verdict(kept, {}), "origin": lambda kept: cannot_tell("origin", UNTOLD)}
    return {**RECORD_CHECKS, **OWN_GAME_CHECKS, **none}


def all_checks(ran: Collection[str]) -> dict[str, Callable[[KeptRun], Check]]:
    """Every check by name, in order: the last ones use what the reference's chapters gave before.

    A chapter that runs by name only has its checks where it `ran`.
    """
    results: dict[str, Any] = {}

    def remade(name: str, chapter: Any, kept: KeptRun) -> Check:
        check, found = compare_chapter(kept, name, chapter)
        results.update(found)
        return check

    given = {name: one for name, one in reference_chapters().items() if not one.by_name or name in ran}
    outgrow = {"outgrow": check_outgrow} if any(one.by_name and one.number == 5 for one in given.values()) else {}
    chapters = {f"outputs {one.number:02d}": partial(remade, name, one) for name, one in given.items()}
    return {
        **RECORD_CHECKS,
        **CROWD_CHECKS,
        **chapters,
        "faults": lambda kept: check_faults(kept, results),
        **outgrow,
        "verdict": lambda kept: check_verdict(kept, results),
        "origin": lambda kept: cannot_tell("origin", UNTOLD),
    }


def attempt(name: str, check: Callable[[], Check]) -> Check:
    """The check's result with its seconds; cannot tell with the reason where data are missing or of another shape."""
    began = time.monotonic()
    try:
        result = check()
    except LabError as error:
        result = cannot_tell(name, error.problem)
    except Exception as error:  # a hand-in may hold anything; what it does to a check is said, not raised
        result = cannot_tell(name, f"the check met something unforeseen: {type(error).__name__}: {str(error)[:200]}")
    return replace(result, seconds=round(time.monotonic() - began, 3))


def marks_of(kept: KeptRun) -> dict[str, tuple[str, ...]]:
    """What two runs cannot share: run id, cluster id, event ids, times of sending."""
    hand_in: HandIn = kept.hand_in
    found: dict[str, tuple[str, ...]] = {"run id": (kept.run.run_id,) if kept.run.code else ()}
    cluster = str((kept.run.cluster or {}).get("cluster_id") or "")
    embedded = str(kept.run.parameters.get("cluster", "")).startswith("embedded")
    found["cluster id"] = (cluster,) if cluster and embedded else ()
    if "events" in hand_in.frames:
        found["event ids"] = tuple(sorted(map(str, hand_in.frames["events"]["event_id"]))[:MARKED_IDS])
    if "requests" in hand_in.frames and len(hand_in.frames["requests"]):
        requests = hand_in.frames["requests"]
        found["times"] = (f"{requests['sent_at'].iloc[0]} {requests['latency_ms'].sum():.6f}",)
    return found
