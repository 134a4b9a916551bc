"""The ledger of a run: requests and rows joined by event id, and a name for each gap between them.

    requests = accepted (2xx) + refused (4xx) + failed (5xx) + unanswered
    accepted = acknowledged = rows + rejects

The players' answers and the topic's rows come from opposite ends of the system. The join by event id keeps a lost event
and an extra one from cancelling out. Rows whose answer promised nothing (503, or none) are counted apart.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import pandas as pd

from streaming_lab.wording import counted

GapKind = Literal["lost", "duplicated", "rejected", "unread", "refused but present", "unconfirmed", "unknown"]

# the first of these counts where one id has several answers
GAP_KINDS = ("accepted", "failed", "unanswered", "refused")
REVEALED_ID = re.compile(rb'"event_id"\s*:\s*"([^"\\]{1,200})"')


@dataclass(frozen=True, order=True)
class Gap:
    """One event on which answers and rows disagree; `detail` says what each of them knows."""

    gap: GapKind
    event_id: str
    player: str
    detail: str


def kind_of(status: Any) -> str:
    """The kind of an answer by its status: accepted (2xx, 3xx), refused (4xx), unanswered (missing), else failed."""
    if pd.isna(status):
        return "unanswered"
    return {2: "accepted", 3: "accepted", 4: "refused"}.get(int(status) // 100, "failed")


def answer_of_each(requests: pd.DataFrame) -> pd.DataFrame:
    """One row for each request id (index: event_id): player, status, and kind of its surest answer."""
    kinds = pd.Categorical(requests["status"].map(kind_of), categories=list(GAP_KINDS), ordered=True)
    answers = requests[["request_id", "player", "status"]].assign(kind=kinds)
    answers = answers.sort_values("kind", kind="stable").drop_duplicates("request_id")
    return answers.rename(columns={"request_id": "event_id"}).set_index("event_id")


def counted_rows(events: pd.DataFrame) -> pd.DataFrame:
    """The rows in partition and offset order; `copy` is 0 for the first row of its event, 1 for the second."""
    rows = events[["event_id", "player", "partition", "offset"]].sort_values(["partition", "offset"], kind="stable")
    return rows.assign(copy=rows.groupby("event_id").cumcount())


def revealed(rejects: pd.DataFrame) -> pd.DataFrame:
    """The rejects with the event id found in their raw bytes; missing where there is none."""
    ids = [match[1].decode("utf-8", "replace") if (match := id_in(raw)) else None for raw in rejects["raw"]]
    return rejects[["partition", "offset", "reason"]].assign(event_id=pd.Series(ids, index=rejects.index, dtype="str"))


def id_in(raw: Any) -> re.Match[bytes] | None:
    return REVEALED_ID.search(raw) if isinstance(raw, bytes) else None


def find_gaps(answers: pd.DataFrame, rows: pd.DataFrame, rejects: pd.DataFrame) -> list[Gap]:
    """Every gap, sorted by kind and event id."""
    absent = answers[(answers["kind"] == "accepted") & ~answers.index.isin(rows["event_id"])]
    readable = rejects["event_id"].isin(absent.index) & ~rejects["event_id"].duplicated()
    lost = absent[~absent.index.isin(rejects["event_id"])]
    return sorted(
        [
            *lost_gaps(lost),
            *rejected_gaps(rejects[readable], absent),
            *unread_gaps(rejects[~readable]),
            *duplicated_gaps(rows[rows["event_id"].notna() & (rows["copy"] > 0)]),
            *unpromised_gaps(rows[rows["event_id"].isna() | (rows["copy"] == 0)], answers),
        ]
    )


def lost_gaps(lost: pd.DataFrame) -> Iterator[Gap]:
    for event_id, player, status in zip(lost.index, lost["player"], lost["status"], strict=True):
        yield Gap("lost", str(event_id), str(player), f"answered {status}, not in the topic")


def rejected_gaps(rejects: pd.DataFrame, absent: pd.DataFrame) -> Iterator[Gap]:
    for reject in rejects.itertuples():
        player = str(absent.at[reject.event_id, "player"])
        yield Gap("rejected", str(reject.event_id), player, f"{place(reject)}: {reject.reason}")


def unread_gaps(rejects: pd.DataFrame) -> Iterator[Gap]:
    for reject in rejects.itertuples():
        yield Gap("unread", text_or_empty(reject.event_id), "", f"{place(reject)}: {reject.reason}")


def duplicated_gaps(rows: pd.DataFrame) -> Iterator[Gap]:
    for row in rows.itertuples():
        yield Gap("duplicated", str(row.event_id), text_or_empty(row.player), f"again at {place(row)}")


def unpromised_gaps(rows: pd.DataFrame, answers: pd.DataFrame) -> Iterator[Gap]:
    """Rows of requests that were not answered 2xx, and rows without a request."""
    answer = answers.reindex(rows["event_id"])
    kinds = answer["kind"].astype("str").fillna("unknown").to_numpy()
    odd = kinds != "accepted"
    for row, kind, status in zip(rows[odd].itertuples(), kinds[odd], answer["status"][odd], strict=True):
        gap, said = UNPROMISED.get(kind, ("unknown", "no request has this id"))
        yield Gap(
            gap,
            text_or_empty(row.event_id),
            text_or_empty(row.player),
            f"{said.format(status=status)}, yet at {place(row)}",
        )


UNPROMISED: dict[str, tuple[GapKind, str]] = {
    "failed": ("unconfirmed", "answered {status}"),
    "unanswered": ("unconfirmed", "not answered"),
    "refused": ("refused but present", "answered {status}"),
}


def place(record: Any) -> str:
    return f"partition {record.partition}, offset {record.offset}"


def text_or_empty(value: Any) -> str:
    """`value` as text; a missing one is empty."""
    return "" if pd.isna(value) else str(value)


class TopicRead(Protocol):
    """A reader's result: `events` (event_id, player, partition, offset), `rejects` (partition, offset, reason, raw)."""

    @property
    def events(self) -> pd.DataFrame: ...
    @property
    def rejects(self) -> pd.DataFrame: ...


class LogCounts(Protocol):
    """The event log's own counts."""

    @property
    def acknowledged(self) -> int: ...


@dataclass(frozen=True, order=True)
class RequestThread:
    """One player's rows on one partition: a thread of the sankey."""

    partition: int
    player: str
    rows: int


@dataclass(frozen=True)
class Ledger:
    """The counts of a run, its gaps event by event, and its threads for the sankey.

    `retried` are requests beyond the first with their id, `retried_accepted` answers 2xx beyond the first for their id.
    `acknowledged` is None without a log that counts. `rejects` are all rejected records: `rejected` those known to be
    an accepted event, `unread` the others. `unexpected` are events with a row but without a 2xx answer; of them
    `unconfirmed` were answered 5xx or not at all. `players` is the number of players who sent requests.
    `joined_by` says what joins rows and requests; only sums are compared where it is counts.
    Another game's request may make no event (`without_event` accepted ones) or several (`further` beyond the first).
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
    threads: tuple[RequestThread, ...]
    entries: tuple[Gap, ...]
    without_event: int = 0
    further: int = 0
    joined_by: str = "request id"

    @property
    def gaps(self) -> pd.DataFrame:
        """Every gap, event by event: columns event_id, gap, player, detail; sorted by gap and event id."""
        columns = ["event_id", "gap", "player", "detail"]
        return pd.DataFrame([asdict(entry) for entry in self.entries], columns=columns, dtype="str")

    @property
    def promised(self) -> int:
        """Distinct events that were answered 2xx."""
        return self.accepted - self.retried_accepted - self.without_event + self.further

    @property
    def closed(self) -> bool:
        """Whether each promised event is one row, and each row belongs to a promised event or to an open answer."""
        return not self.problems()

    def problems(self) -> list[str]:
        """A sentence for each reason that keeps the ledger open; empty for a closed one."""
        found_gaps = Counter(entry.gap for entry in self.entries if entry.gap != "unconfirmed")
        found = [
            f"{counted(n, SENTENCES[gap][0])} {SENTENCES[gap][1]}: {self.named(gap)}"
            for gap, n in sorted(found_gaps.items())
        ]
        return [*found, *self.log_disagreement()]

    def log_disagreement(self) -> list[str]:
        """The log's count against the answers; beyond the promised events only unconfirmed ones may be acknowledged."""
        if (
            self.acknowledged is None
            or self.promised <= self.acknowledged <= self.promised + self.failed + self.unanswered
        ):
            return []
        return [f"the log counts {counted(self.acknowledged, 'acknowledged event')}, but {self.promised:,} had a 2xx"]

    def event_ids(self, gap: str) -> list[str]:
        """The event ids of one kind of gap."""
        return [entry.event_id for entry in self.entries if entry.gap == gap]

    def named(self, gap: str, most: int = 5) -> str:
        ids = [entry.event_id or entry.detail for entry in self.entries if entry.gap == gap]
        return ", ".join(ids[:most]) + (f" and {len(ids) - most:,} more" if len(ids) > most else "")

    def assert_closed(self) -> None:
        """Raise AssertionError with all problems, if there are any."""
        problems = self.problems()
        assert not problems, "the ledger does not close:\n" + "\n".join(problems)

    def to_json(self) -> str:
        """This ledger as a JSON object, with `closed` and `problems` for readers; `from_json` ignores these two."""
        return json.dumps({**asdict(self), "closed": self.closed, "problems": self.problems()}, indent=1)

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> "Ledger":
        """The ledger that `to_json` wrote, from its text or the object parsed from it."""
        raw = dict(json.loads(text)) if isinstance(text, str) else dict(text)
        raw.pop("closed", None)
        raw.pop("problems", None)
        raw["threads"] = tuple(RequestThread(**thread) for thread in raw["threads"])
        raw["entries"] = tuple(Gap(**entry) for entry in raw["entries"])
        return cls(**raw)


# Gap -> its noun and what is the matter with it.
SENTENCES: Mapping[str, tuple[str, str]] = {
    "lost": ("event", "answered 2xx and not in the topic"),
    "duplicated": ("row", "beyond the first of an event"),
    "rejected": ("event", "answered 2xx, in the topic, and rejected by the reader"),
    "unread": ("rejected record", "of no accepted event"),
    "refused but present": ("event", "answered 4xx and in the topic all the same"),
    "unknown": ("row", "that no request explains"),
}


def close_ledger(requests: pd.DataFrame, topic: TopicRead, counts: LogCounts | None = None) -> Ledger:
    """The ledger of a run from the players' answers (request_id, player, status), the rows read, and the log's counts.

    A gap raises nothing here: ask `closed`, or call `assert_closed`.
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
        threads=request_threads(rows),
        entries=tuple(entries),
    )


def request_threads(rows: pd.DataFrame) -> tuple[RequestThread, ...]:
    """Rows for each partition and player, in that order; a row without a player counts under an empty name."""
    sizes = rows.assign(player=rows["player"].fillna("")).groupby(["partition", "player"]).size()
    found = sizes.rename("rows").reset_index()
    return tuple(map(RequestThread, map(int, found["partition"]), map(str, found["player"]), map(int, found["rows"])))
