"""The account of a run: every request is found again, or the gap has its name.

    requests = accepted (2xx) + refused (4xx) + failed (5xx) + unanswered
    accepted = acknowledged = rows + rejects

The players' answers and the topic's rows come from opposite ends of the system. They are joined by event id, so that
a lost event and an extra one never cancel out. A row whose answer promised nothing (503, or none) is a line of its own.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pandas as pd

from streaming_lab.analysis.gaps import Gap, answer_of_each, counted_rows, find_gaps, kind_of, revealed


class TopicRead(Protocol):
    """What a reader brought: `events` (event_id, player, partition, offset), `rejects` (reason, raw, and the same)."""

    @property
    def events(self) -> pd.DataFrame: ...
    @property
    def rejects(self) -> pd.DataFrame: ...


class LogCounts(Protocol):
    """What the log says it delivered."""

    @property
    def acknowledged(self) -> int: ...


@dataclass(frozen=True, order=True)
class Thread:
    """One player's rows on one partition: a thread of the ledger's ribbon."""

    partition: int
    player: str
    rows: int


@dataclass(frozen=True)
class Ledger:
    """The counts of a run, the gaps event by event, and the threads that the drawing shows.

    `retried` are requests beyond the first with their id, `retried_accepted` answers 2xx beyond the first for their id.
    `acknowledged` is None when no log said. `rejects` are all rejected records: `rejected` those that are known to be
    an accepted event, `unread` the others. `unexpected` are events with a row but without a 2xx answer; of them
    `unconfirmed` were answered 5xx or not at all. `players` is the number of players who sent requests.
    """

    requests: int
    accepted: int
    refused: int
    failed: int
    unanswered: int
    retried: int
    retried_accepted: int
    acknowledged: int | None
    rows: int
    rejects: int
    duplicates: int
    lost: int
    rejected: int
    unread: int
    unexpected: int
    unconfirmed: int
    players: int
    threads: tuple[Thread, ...]
    entries: tuple[Gap, ...]

    @property
    def gaps(self) -> pd.DataFrame:
        """Every gap, event by event: columns event_id, gap, player, detail; sorted by gap and event id."""
        columns = ["event_id", "gap", "player", "detail"]
        return pd.DataFrame([asdict(entry) for entry in self.entries], columns=columns, dtype="str")

    @property
    def promised(self) -> int:
        """Distinct events that were answered 2xx."""
        return self.accepted - self.retried_accepted

    @property
    def closed(self) -> bool:
        """Whether each promised event is one row, and each row was promised or left open by its answer."""
        return not self.problems()

    def problems(self) -> list[str]:
        """What keeps the ledger open, a sentence each; empty when it closes."""
        counted = Counter(entry.gap for entry in self.entries if entry.gap != "unconfirmed")
        found = [
            f"{SENTENCES[gap].format(n=n, s='' if n == 1 else 's')}: {self.named(gap)}"
            for gap, n in sorted(counted.items())
        ]
        return [*found, *self.disagreement()]

    def disagreement(self) -> list[str]:
        """The log's own count against the answers; beyond those, only unconfirmed events can have been acknowledged."""
        if (
            self.acknowledged is None
            or self.promised <= self.acknowledged <= self.promised + self.failed + self.unanswered
        ):
            return []
        return [f"the log counts {self.acknowledged:,} acknowledged events, but {self.promised:,} were answered 2xx"]

    def named(self, gap: str, most: int = 5) -> str:
        ids = [entry.event_id or entry.detail for entry in self.entries if entry.gap == gap]
        return ", ".join(ids[:most]) + (f" and {len(ids) - most:,} more" if len(ids) > most else "")

    def assert_closed(self) -> None:
        """Raise AssertionError with every problem, when there is one."""
        problems = self.problems()
        assert not problems, "the ledger does not close:\n" + "\n".join(problems)

    def to_json(self) -> str:
        """This ledger as a JSON object; `closed` and `problems` are in it for readers, `from_json` ignores them."""
        return json.dumps({**asdict(self), "closed": self.closed, "problems": self.problems()}, indent=1)

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> "Ledger":
        """The ledger that `to_json` wrote, from its text or the object parsed from it."""
        raw = dict(json.loads(text)) if isinstance(text, str) else dict(text)
        raw.pop("closed", None)
        raw.pop("problems", None)
        raw["threads"] = tuple(Thread(**thread) for thread in raw["threads"])
        raw["entries"] = tuple(Gap(**entry) for entry in raw["entries"])
        return cls(**raw)


SENTENCES: Mapping[str, str] = {
    "lost": "{n:,} event{s} answered 2xx and not in the topic",
    "duplicated": "{n:,} row{s} beyond the first of an event",
    "rejected": "{n:,} event{s} answered 2xx, in the topic, and rejected by the reader",
    "unread": "{n:,} rejected record{s} of no accepted event",
    "refused but present": "{n:,} event{s} answered 4xx and in the topic all the same",
    "unknown": "{n:,} row{s} that no request explains",
}


def close_ledger(requests: pd.DataFrame, topic: TopicRead, counts: LogCounts | None = None) -> Ledger:
    """The ledger of a run: the players' answers (request_id, player, status), what was read, what the log counted.

    `closed` is for the caller to ask or assert; nothing here raises on a gap.
    """
    answers = answer_of_each(requests)
    rows, rejects = counted_rows(topic.events), revealed(topic.rejects)
    entries = find_gaps(answers, rows, rejects)
    found = Counter(entry.gap for entry in entries)
    kinds = requests["status"].map(kind_of).value_counts()
    accepted, distinct = int(kinds.get("accepted", 0)), int((answers["kind"] == "accepted").sum())
    return Ledger(
        requests=len(requests),
        accepted=accepted,
        refused=int(kinds.get("refused", 0)),
        failed=int(kinds.get("failed", 0)),
        unanswered=int(kinds.get("unanswered", 0)),
        retried=len(requests) - len(answers),
        retried_accepted=accepted - distinct,
        acknowledged=None if counts is None else counts.acknowledged,
        rows=len(rows),
        rejects=len(rejects),
        duplicates=found["duplicated"],
        lost=found["lost"],
        rejected=found["rejected"],
        unread=found["unread"],
        unexpected=found["unconfirmed"] + found["refused but present"] + found["unknown"],
        unconfirmed=found["unconfirmed"],
        players=int(requests["player"].nunique()),
        threads=threads_of(rows),
        entries=tuple(entries),
    )


def threads_of(rows: pd.DataFrame) -> tuple[Thread, ...]:
    """Rows for each partition and player, in that order; a row without a player counts under an empty name."""
    sizes = rows.assign(player=rows["player"].fillna("")).groupby(["partition", "player"]).size()
    found = sizes.rename("rows").reset_index()
    return tuple(map(Thread, map(int, found["partition"]), map(str, found["player"]), map(int, found["rows"])))
