"""Checks of a run with a game of one's own: ids, offsets and ledger; what that game decides, nothing here can tell."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pandas as pd

from streaming_lab.analysis.ledger import kind_of
from streaming_lab.handin.check import Check, Contradiction, cannot_tell, conclude, found
from streaming_lab.handin.kept_run import KeptRun, Missing
from streaming_lab.wording import counted

STRANGERS = "a game of one's own decides this, and nothing of a hand-in is executed"
UNKNOWABLE = ("moves", "events", "times", "batches", "faults")


def has_own_game(kept: KeptRun) -> bool:
    """Did a game of the student's own play?"""
    return bool(kept.run.parameters.get("game"))


def check_own_ids(kept: KeptRun) -> Check:
    """Each request has an id of its own, and each row that names a request names one that was sent."""
    requests, events = kept.frame("requests"), own_frame(kept, "events")
    twice = requests["request_id"][requests["request_id"].duplicated()]
    findings = [found("requests.parquet", f"{one} twice", "once") for one in twice]
    named = events["request_id"].dropna()
    unknown = named[~named.isin(set(requests["request_id"]))]
    findings += [found(f"events.parquet, row {row}", one, "the id of a request") for row, one in unknown.items()]
    said = f"{counted(len(requests), 'request')}, {counted(len(named), 'row')} that name one"
    return conclude("ids", said, findings)


def check_own_offsets(kept: KeptRun) -> Check:
    """Rows and rejects of each topic are the offsets that the run wrote, each once."""
    places = pd.concat([own_frame(kept, name)[["topic", "partition", "offset"]] for name in ("events", "rejects")])
    findings = list(odd_places(kept, places))
    doubt = ""
    if (kept.run.ledger or {}).get("joined_by") == "counts":  # requests that only taught counts are left out
        doubt = "offsets of requests that were asked alone are left out" if findings else ""
    return conclude("offsets", f"{counted(len(places), 'offset')}", findings, doubt=doubt)


def odd_places(kept: KeptRun, places: pd.DataFrame) -> Iterator[Contradiction]:
    """Partitions whose offsets are not those of the record."""
    there = {place: sorted(rows["offset"]) for place, rows in places.groupby(["topic", "partition"])}
    for written, partitions in (kept.run.ranges or {}).items():
        topic = str(written).split("-", 2)[-1]  # game-ID-NAME
        for partition, (start, end) in partitions.items():
            offsets = there.pop((topic, int(partition)), [])
            if len(offsets) != int(end) - int(start) or (offsets and offsets != list(range(int(start), int(end)))):
                again = f"{start} to {end}, each once"
                yield found(f"events.parquet, {topic} {partition}", f"{len(offsets)} offsets", again)
    for place in there:
        yield found(f"events.parquet, {place}", "rows", "no such topic and partition in run.json")


def check_own_ledger(kept: KeptRun) -> Check:
    """The ledger's counts of requests are those of the kept answers, and its rows are no more than there are."""
    if not kept.run.ledger:
        return cannot_tell("ledger", "the run has no ledger")
    kinds = kept.frame("requests")["status"].map(kind_of).value_counts()
    counts = {name: int(kinds.get(name, 0)) for name in ("accepted", "refused", "failed", "unanswered")}
    expected = {"requests": int(kinds.sum()), **counts}
    findings = [
        found(f"run.json, ledger, {name}", kept.run.ledger.get(name), count)
        for name, count in expected.items()
        if kept.run.ledger.get(name) != count
    ]
    rows = len(own_frame(kept, "events"))
    if int(kept.run.ledger.get("rows", 0)) > rows:
        findings.append(found("run.json, ledger, rows", kept.run.ledger["rows"], f"at most {rows}"))
    return conclude("ledger", f"{counted(expected['requests'], 'answer')} and {counted(rows, 'row')}", findings)


def decided_elsewhere(name: str, kept: KeptRun) -> Check:
    """What nobody can make again without the student's game."""
    del kept
    return cannot_tell(name, STRANGERS)


def own_frame(kept: KeptRun, name: str) -> pd.DataFrame:
    """A kept frame in the columns of the student's game; raises `Missing`."""
    if name not in kept.hand_in.frames:
        raise Missing(f"there is no {name}.parquet: {kept.hand_in.unreadable.get(f'{name}.parquet', 'not handed in')}")
    return kept.hand_in.frames[name]


OWN_GAME_CHECKS: Mapping[str, Callable[[KeptRun], Check]] = {
    "ids": check_own_ids,
    "offsets": check_own_offsets,
    "ledger": check_own_ledger,
    **{name: partial(decided_elsewhere, name) for name in UNKNOWABLE},
}
