"""The two ends of a run joined by event id: each event on which answers and rows disagree gets a name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

GapKind = Literal["lost", "duplicated", "rejected", "unread", "refused but present", "unconfirmed", "unknown"]

# from the surest answer to the least: of several answers to one id, the first of these counts
KINDS = ("accepted", "failed", "unanswered", "refused")
REVEALED_ID = re.compile(rb'"event_id"\s*:\s*"([^"\\]{1,200})"')


@dataclass(frozen=True, order=True)
class Gap:
    """One event on which the two ends do not agree; `detail` says what each of them knows."""

    gap: GapKind
    event_id: str
    player: str
    detail: str


def kind_of(status: Any) -> str:
    """What an HTTP status (or a missing one) did for its request; anything but 2xx and 4xx failed."""
    if pd.isna(status):
        return "unanswered"
    return {2: "accepted", 4: "refused"}.get(int(status) // 100, "failed")


def answer_of_each(requests: pd.DataFrame) -> pd.DataFrame:
    """One row for each request id: player, status, and kind of the answer that counts. Index: event_id."""
    kinds = pd.Categorical(requests["status"].map(kind_of), categories=list(KINDS), ordered=True)
    answers = requests[["request_id", "player", "status"]].assign(kind=kinds)
    answers = answers.sort_values("kind", kind="stable").drop_duplicates("request_id")
    return answers.rename(columns={"request_id": "event_id"}).set_index("event_id")


def counted_rows(events: pd.DataFrame) -> pd.DataFrame:
    """The rows in partition and offset order; `copy` is 0 for the first row of its event, 1 for the second."""
    rows = events[["event_id", "player", "partition", "offset"]].sort_values(["partition", "offset"], kind="stable")
    return rows.assign(copy=rows.groupby("event_id").cumcount())


def revealed(rejects: pd.DataFrame) -> pd.DataFrame:
    """The rejects with the event id that their raw bytes reveal; missing where they reveal none."""
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
            *lost_events(lost),
            *rejected_events(rejects[readable], absent),
            *unread_records(rejects[~readable]),
            *duplicated_rows(rows[rows["event_id"].notna() & (rows["copy"] > 0)]),
            *unpromised_rows(rows[rows["event_id"].isna() | (rows["copy"] == 0)], answers),
        ]
    )


def lost_events(lost: pd.DataFrame) -> Iterator[Gap]:
    for event_id, player, status in zip(lost.index, lost["player"], lost["status"], strict=True):
        yield Gap("lost", str(event_id), str(player), f"answered {status}, not in the topic")


def rejected_events(rejects: pd.DataFrame, absent: pd.DataFrame) -> Iterator[Gap]:
    for reject in rejects.itertuples():
        player = str(absent.at[reject.event_id, "player"])
        yield Gap("rejected", str(reject.event_id), player, f"{place(reject)}: {reject.reason}")


def unread_records(rejects: pd.DataFrame) -> Iterator[Gap]:
    for reject in rejects.itertuples():
        yield Gap("unread", text(reject.event_id), "", f"{place(reject)}: {reject.reason}")


def duplicated_rows(rows: pd.DataFrame) -> Iterator[Gap]:
    for row in rows.itertuples():
        yield Gap("duplicated", str(row.event_id), text(row.player), f"again at {place(row)}")


def unpromised_rows(rows: pd.DataFrame, answers: pd.DataFrame) -> Iterator[Gap]:
    """Rows whose request was not answered 2xx, or that no request explains."""
    answer = answers.reindex(rows["event_id"])
    kinds = answer["kind"].astype("str").fillna("unknown").to_numpy()
    odd = kinds != "accepted"
    for row, kind, status in zip(rows[odd].itertuples(), kinds[odd], answer["status"][odd], strict=True):
        gap, said = UNPROMISED.get(kind, ("unknown", "no request has this id"))
        yield Gap(gap, text(row.event_id), text(row.player), f"{said.format(status=status)}, yet at {place(row)}")


UNPROMISED: dict[str, tuple[GapKind, str]] = {
    "failed": ("unconfirmed", "answered {status}"),
    "unanswered": ("unconfirmed", "not answered"),
    "refused": ("refused but present", "answered {status}"),
}


def place(record: Any) -> str:
    return f"partition {record.partition}, offset {record.offset}"


def text(value: Any) -> str:
    """`value` as text; a missing one is empty."""
    return "" if pd.isna(value) else str(value)
