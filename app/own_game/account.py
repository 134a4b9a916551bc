"""The account of a hosted game: its answers against its rows, by the surest thing that joins the two.

By `X-Request-Id`, where the game writes the request's headers or id into its events. Otherwise by the ids that the
watched producer gives to its sends. Otherwise by counts: rows a request, learnt for each route.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Literal

import pandas as pd

from streaming_lab.analysis.ledger import Gap, Ledger, close_ledger, kind_of
from streaming_lab.own_game.journal import Send, Story
from streaming_lab.own_game.records import GameRecords
from streaming_lab.wording import counted

JoinKind = Literal["request id", "producer", "counts"]
KINDS: Mapping[JoinKind, str] = {
    "request id": "The rows hold the requests' ids (column `{column}`): each answer is joined with its rows.",
    "producer": "The rows hold no request id; the watched producer knows which request sent which record, so each "
    "answer is joined with its rows by that. A record of another program would be a row that no request explains.",
    "counts": "Neither rows nor producer tell which request caused a row (the game sends outside its requests, or with "
    "another library). So only counts are compared, with the rows a request that each route made when it was asked "
    "alone: which event is missing, and whether a lost one and an extra one cancel out, can't be told.",
}
REQUIRED_SHARE = 0.5  # of the rows must name a request for the join by that column


@dataclass(frozen=True)
class Account:
    """A ledger, the kind of its join, a sentence on it, and the rows with the request of each."""

    ledger: Ledger
    kind: JoinKind
    said: str
    events: pd.DataFrame
    routes: pd.DataFrame


def settle_account(
    asked: pd.DataFrame, records: GameRecords, story: Story, learnt: Mapping[str, int | None] | None = None
) -> Account:
    """The account of a run: the players' answers, the rows, the journal; `learnt` is rows a request for each route."""
    kind, column = choose_join(asked, records.events, story)
    sends = {send.send_id: send for send in story.sends}
    events = with_requests_of(records.events, asked, sends, kind, column)
    outside = tuple(send for send in story.sends if send.request_id is None)
    if kind == "counts":
        expected = expected_by_route(asked, learnt or {})
        ledger = ledger_by_counts(asked, events, records.rejects, expected)
        ledger = with_sends_outside(ledger, events, story.sends)
    else:
        expected = expected_by_request(asked, events, story)
        ledger = ledger_by_ids(asked, events, records.rejects, expected, story)
        ledger = with_sends_outside(ledger, events, outside)
    ledger = replace(ledger, joined_by=kind)
    said = KINDS[kind].format(column=column)
    if outside and kind != "counts":
        said += f" {counted(len(outside), 'record was', 'records were')} sent outside any request."
    return Account(ledger, kind, said, events, route_counts(asked, events, story, expected))


def choose_join(asked: pd.DataFrame, events: pd.DataFrame, story: Story) -> tuple[JoinKind, str]:
    """The surest join that most rows allow, and its column."""
    ids = set(asked["request_id"])
    for name in map(str, events.columns):
        texts = name != "send_id" and pd.api.types.is_string_dtype(events[name])
        if texts and len(events) and events[name].isin(ids).mean() >= REQUIRED_SHARE:
            return "request id", name
    of_requests = sum(send.request_id in ids for send in story.sends)
    if story.sends and of_requests >= REQUIRED_SHARE * len(story.sends):
        return "producer", "send_id"
    if not story.sends and not len(events):
        return "producer", "send_id"  # nothing was sent, and nothing is there
    return "counts", ""


def with_requests_of(
    events: pd.DataFrame, asked: pd.DataFrame, sends: Mapping[str, Send], kind: JoinKind, column: str
) -> pd.DataFrame:
    """The rows with `request_id`, and with the request's `route` and `player`; `event_id` numbers a request's rows."""
    found = events["send_id"].map({send_id: send.request_id for send_id, send in sends.items()})
    if kind == "request id":
        found = events[column].where(events[column].isin(set(asked["request_id"])), found)
    requests = asked.drop_duplicates("request_id").set_index("request_id")
    joined = events.assign(request_id=pd.Series(found, index=events.index, dtype="str"))
    joined["route"] = pd.Series(joined["request_id"].map(requests["action"]), index=events.index, dtype="str")
    if "player" not in joined:
        joined["player"] = pd.Series(joined["request_id"].map(requests["player"]), index=events.index, dtype="str")
    place = [name for name in ("topic", "partition", "offset") if name in joined]
    ordered = joined.sort_values(place, kind="stable")
    nth = ordered.groupby("request_id", dropna=False).cumcount() + 1  # as whole numbers, also beside rows of no request
    ids = [name_event(request, n) for request, n in zip(ordered["request_id"], nth, strict=True)]
    return ordered.assign(event_id=pd.Series(ids, index=ordered.index, dtype="str"))


def name_event(request_id: Any, nth: int) -> str | None:
    """The id of a request's nth event: the first has the request's own."""
    if pd.isna(request_id):
        return None
    return str(request_id) if nth == 1 else f"{request_id}/{nth}"


def expected_by_request(asked: pd.DataFrame, events: pd.DataFrame, story: Story) -> dict[str, int]:
    """The events that each request owes: its sends; where no send was seen, what most requests of its route have."""
    sent = pd.Series([send.request_id for send in story.sends], dtype="str").value_counts()
    if len(sent):
        return {str(one): int(sent.get(one, 0)) for one in asked["request_id"]}
    rows = events["request_id"].value_counts()
    accepted = asked[asked["status"].map(kind_of) == "accepted"]
    made = accepted.assign(rows=accepted["request_id"].map(rows).fillna(0).astype(int))
    usual = made.groupby("action")["rows"].agg(lambda counts: int(counts.mode().max()))
    return {str(one): int(usual.get(route, 0)) for one, route in zip(asked["request_id"], asked["action"], strict=True)}


def expected_by_route(asked: pd.DataFrame, learnt: Mapping[str, int | None]) -> dict[str, int]:
    """The events that each request owes by its route; a route that was not learnt, or varies, is left out."""
    pairs = zip(asked["request_id"], asked["action"], strict=True)
    return {str(one): n for one, route in pairs if (n := learnt.get(route)) is not None}


def ledger_by_ids(
    asked: pd.DataFrame, events: pd.DataFrame, rejects: pd.DataFrame, expected: Mapping[str, int], story: Story
) -> Ledger:
    """The lab's own ledger over events in place of requests: a request owes none, one or several."""
    owed = asked[["request_id", "player", "status"]].copy()
    kinds = owed["status"].map(kind_of)
    there = events["request_id"].value_counts()
    owes = owed["request_id"].map(expected).fillna(0).astype(int)
    size = owes.where(kinds == "accepted", owed["request_id"].map(there).fillna(1).clip(lower=1)).astype(int)
    names = [name_event(one, n) for one, many in zip(owed["request_id"], size, strict=True) for n in range(1, many + 1)]
    expanded = owed.loc[owed.index.repeat(size)].assign(request_id=pd.Series(names, dtype="str").to_numpy())
    inside = events[~events["send_id"].isin([send.send_id for send in story.sends if send.request_id is None])]
    acknowledged = sum(send.outcome == "delivered" and send.request_id is not None for send in story.sends)
    counts = SimpleNamespace(acknowledged=acknowledged) if story.sends else None
    read = SimpleNamespace(events=inside, rejects=rejects)
    closed = close_ledger(expanded, read, counts)
    return with_requests_counted(closed, asked, without=int((size[kinds == "accepted"] == 0).sum()))


def with_requests_counted(ledger: Ledger, asked: pd.DataFrame, without: int) -> Ledger:
    """A ledger over events with the counts of the requests themselves."""
    kinds = asked["status"].map(kind_of).value_counts()
    accepted = int(kinds.get("accepted", 0))
    return replace(
        ledger,
        requests=len(asked),
        accepted=accepted,
        refused=int(kinds.get("refused", 0)),
        failed=int(kinds.get("failed", 0)),
        unanswered=int(kinds.get("unanswered", 0)),
        retried=0,
        retried_accepted=0,
        players=int(asked["player"].nunique()),
        without_event=without,
        further=ledger.promised - (accepted - without),
    )


def with_sends_outside(ledger: Ledger, events: pd.DataFrame, outside: tuple[Send, ...]) -> Ledger:
    """The ledger with the records that were sent outside any request: those that are missing are lost."""
    there = set(events["send_id"])
    missing = [send for send in outside if send.send_id not in there]
    gaps = [Gap("lost", send.send_id, "", f"sent outside any request at {send.where}, not there") for send in missing]
    return replace(ledger, lost=ledger.lost + len(gaps), entries=tuple(sorted([*ledger.entries, *gaps])))


def ledger_by_counts(
    asked: pd.DataFrame, events: pd.DataFrame, rejects: pd.DataFrame, expected: Mapping[str, int]
) -> Ledger:
    """A ledger that compares sums. A route whose rows a request are not known keeps it open."""
    accepted = asked[asked["status"].map(kind_of) == "accepted"]
    known = accepted["request_id"].isin(expected)
    owed, rows = int(accepted["request_id"].map(expected).fillna(0).sum()), len(events)
    unclear = sorted(set(accepted["action"][~known]))
    gaps = [Gap("unknown", "", "", f"how many rows a request of {route} makes is not known") for route in unclear]
    short = f"{counted(owed, 'event')} promised, {counted(rows, 'row')}; which ones are concerned can't be told"
    lost, extra = (0, 0) if unclear else (max(0, owed - rows), max(0, rows - owed))
    gaps += [Gap("lost", "", "", short)] * bool(lost) + [Gap("unknown", "", "", short)] * bool(extra)
    empty = close_ledger(asked.iloc[:0], SimpleNamespace(events=events.iloc[:0], rejects=rejects))
    without = int((accepted["request_id"].map(expected).fillna(0) == 0).sum())
    counted_ = with_requests_counted(empty, asked, without)
    return replace(
        counted_,
        rows=rows,
        lost=lost,
        unexpected=extra,
        further=owed - (len(accepted) - without),
        entries=tuple(sorted([*empty.entries, *gaps])),
    )


def route_counts(asked: pd.DataFrame, events: pd.DataFrame, story: Story, expected: Mapping[str, int]) -> pd.DataFrame:
    """By route: requests, answers (3xx with 2xx), rows, rows a request, and the first line of an error."""
    errors = {one.request_id: one.error for one in story.requests if one.error}
    kinds = asked["status"].map(kind_of)
    rows = events["route"].value_counts()
    found = []
    for route, group in asked.groupby("action"):
        kind = kinds[group.index].value_counts()
        accepted = group["request_id"][kinds[group.index] == "accepted"]
        owed = sorted({expected[one] for one in accepted if one in expected})
        first = next((errors[one] for one in group["request_id"] if one in errors), "") or _first_refusal(group)
        found.append(
            {
                "route": str(route),
                "requests": len(group),
                **{name: int(kind.get(what, 0)) for name, what in ANSWER_COLUMNS.items()},
                "rows": int(rows.get(route, 0)),
                "rows a request": " or ".join(map(str, owed)) or "not known",
                "first error": first,
            }
        )
    return pd.DataFrame(found, columns=ROUTE_COLUMNS)


ANSWER_COLUMNS = {"2xx": "accepted", "4xx": "refused", "5xx": "failed", "no answer": "unanswered"}
ROUTE_COLUMNS = ["route", "requests", *ANSWER_COLUMNS, "rows", "rows a request", "first error"]


def _first_refusal(group: pd.DataFrame) -> str:
    """The first line of the first answer that was no 2xx, or of the first request that had none."""
    bad = group[group["status"].map(kind_of) != "accepted"]
    for status, answer, error in zip(bad["status"], bad["answer"], bad["error"], strict=True):
        text = error if pd.isna(status) else answer
        lines = [line.strip() for line in str(text).splitlines() if line.strip() and not line.startswith("<")]
        return f"{'' if pd.isna(status) else status} {lines[0] if lines else ''}".strip()[:120]
    return ""
