"""The ledger names what is planted: each loss, duplicate, reject and stranger, and none of them cancels another out."""

import json
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from streaming_lab.analysis.ledger import Gap, Ledger, RequestThread, close_ledger
from streaming_lab.report.provenance import run_verdict
from streaming_lab.report.render.verdict import Term, equation


def answered(*statuses: int | None, ids: list[str] | None = None) -> pd.DataFrame:
    """The players' frame for requests r0, r1, ...; None was not answered. Players alternate between ann and bob."""
    ids = ids or [f"r{n}" for n in range(len(statuses))]
    players = ["ann" if n % 2 == 0 else "bob" for n in range(len(statuses))]
    return pd.DataFrame(
        {
            "request_id": pd.Series(ids, dtype="str"),
            "player": pd.Series(players, dtype="str"),
            "status": pd.Series(list(statuses), dtype="Int64"),
        }
    )


def topic(*ids: str | None, rejects: tuple[bytes, ...] = ()) -> Any:
    """What was read: a row for each id, ann's on partition 0 and bob's on 1; rejects on partition 2."""
    players = [None if i is None else "ann" if int(i[1:]) % 2 == 0 else "bob" for i in ids]
    events = pd.DataFrame(
        {
            "partition": pd.Series([1 if p == "bob" else 0 for p in players], dtype="int64"),
            "offset": pd.Series(range(len(ids)), dtype="int64"),
            "event_id": pd.Series(list(ids), dtype="str"),
            "player": pd.Series(players, dtype="str"),
        }
    )
    rejected = pd.DataFrame(
        {
            "partition": pd.Series([2] * len(rejects), dtype="int64"),
            "offset": pd.Series(range(len(rejects)), dtype="int64"),
            "reason": pd.Series(["not JSON"] * len(rejects), dtype="str"),
            "raw": pd.Series(list(rejects), dtype="object"),
        }
    )
    return SimpleNamespace(events=events, rejects=rejected)


def acknowledged(n: int) -> Any:
    return SimpleNamespace(acknowledged=n)


def kinds(ledger: Ledger) -> list[tuple[str, str]]:
    return [(gap.gap, gap.event_id) for gap in ledger.entries]


def test_a_whole_run_closes() -> None:
    """Accepted, refused, failed and unanswered requests add up, and every accepted one is a row."""
    ledger = close_ledger(answered(200, 201, 409, 503, None, 200), topic("r0", "r1", "r5"), acknowledged(3))
    ledger.assert_closed()
    assert ledger == Ledger(
        requests=6, accepted=3, refused=1, failed=1, unanswered=1, retried=0, retried_accepted=0, acknowledged=3,
        rows=3, rejects=0, duplicates=0, lost=0, rejected=0, unread=0, unexpected=0, unconfirmed=0, players=2,
        threads=(RequestThread(0, "ann", 1), RequestThread(1, "bob", 2)), entries=(),
    )  # fmt: skip


def test_nothing_closes_with_nothing() -> None:
    """No request and no row: 0 = 0."""
    ledger = close_ledger(answered(), topic(), acknowledged(0))
    assert ledger.closed
    assert (ledger.requests, ledger.rows, ledger.threads, len(ledger.gaps)) == (0, 0, (), 0)


def test_a_lost_event_is_named() -> None:
    """An event answered 200 that is not in the topic opens the ledger under its own name."""
    ledger = close_ledger(answered(200, 200), topic("r1"))
    assert ledger.gaps.to_dict("records") == [
        {"event_id": "r0", "gap": "lost", "player": "ann", "detail": "answered 200, not in the topic"}
    ]
    with pytest.raises(AssertionError, match="1 event answered 2xx and not in the topic: r0"):
        ledger.assert_closed()


def test_loss_and_duplicate_do_not_cancel() -> None:
    """One lost, one doubled: the totals agree, the ledger does not."""
    ledger = close_ledger(answered(200, 200), topic("r1", "r1"), acknowledged(2))
    assert ledger.accepted == ledger.acknowledged == ledger.rows == 2
    assert kinds(ledger) == [("duplicated", "r1"), ("lost", "r0")]
    assert not ledger.closed


def test_loss_and_stranger_do_not_cancel() -> None:
    """A row that no request explains does not stand in for a lost event."""
    ledger = close_ledger(answered(200, 200), topic("r1", "r9"))
    assert kinds(ledger) == [("lost", "r0"), ("unknown", "r9")]
    assert (ledger.lost, ledger.unexpected, ledger.unconfirmed) == (1, 1, 0)


def test_a_row_after_503_is_a_line_of_its_own() -> None:
    """An event whose answer was 503, or none, promised nothing: it is named as unconfirmed and opens nothing."""
    ledger = close_ledger(answered(200, 503, None, 503), topic("r0", "r1", "r2"), acknowledged(3))
    assert kinds(ledger) == [("unconfirmed", "r1"), ("unconfirmed", "r2")]
    assert (ledger.unexpected, ledger.unconfirmed, ledger.closed) == (2, 2, True)


def test_unconfirmed_rows_do_not_stand_in_for_lost_ones() -> None:
    """Totals that agree by accident: one lost after a 200, one present after a 503."""
    ledger = close_ledger(answered(200, 503), topic("r1"), acknowledged(1))
    assert kinds(ledger) == [("lost", "r0"), ("unconfirmed", "r1")]
    assert not ledger.closed


def test_a_row_after_a_refusal_opens_the_ledger() -> None:
    """A 4xx said that nothing would be logged."""
    ledger = close_ledger(answered(200, 409), topic("r0", "r1"))
    assert kinds(ledger) == [("refused but present", "r1")]
    assert not ledger.closed


def test_a_reject_is_matched_by_the_id_in_its_bytes() -> None:
    """A rejected record that reveals an accepted event's id is that event, and not a loss."""
    ledger = close_ledger(
        answered(200, 200), topic("r0", rejects=(b'{"event_id": "r1", "player": 7',)), acknowledged(2)
    )
    assert ledger.accepted == ledger.acknowledged == ledger.rows + ledger.rejects == 2
    assert ledger.entries == (Gap("rejected", "r1", "bob", "partition 2, offset 0: not JSON"),)
    assert (ledger.lost, ledger.rejected, ledger.closed) == (0, 1, False)


def test_an_unreadable_reject_does_not_stand_in_for_a_lost_event() -> None:
    """Bytes that reveal no id are named by their place, and the accepted event without a row stays lost."""
    ledger = close_ledger(answered(200, 200), topic("r0", rejects=(b"\xff\xfe",)), acknowledged(2))
    assert kinds(ledger) == [("lost", "r1"), ("unread", "")]
    assert ledger.problems()[1] == ("1 rejected record of no accepted event: partition 2, offset 0: not JSON")


def test_a_reject_beside_its_row_is_not_the_event() -> None:
    """A broken second copy of an event that has a row is a record of its own."""
    ledger = close_ledger(answered(200), topic("r0", rejects=(b'{"event_id":"r0"',)))
    assert kinds(ledger) == [("unread", "r0")]


def test_a_retry_is_one_event() -> None:
    """A time-out and its retry with the same id: two requests, one event, counted apart."""
    ledger = close_ledger(answered(503, 200, 200, ids=["r0", "r0", "r2"]), topic("r0", "r2"), acknowledged(2))
    assert (ledger.requests, ledger.retried, ledger.promised, ledger.rows) == (3, 1, 2, 2)
    assert ledger.closed


def test_a_retry_answered_twice_promises_once() -> None:
    """Two answers 200 for one id are one promise."""
    ledger = close_ledger(answered(200, 200, ids=["r0", "r0"]), topic("r0"), acknowledged(1))
    assert (ledger.accepted, ledger.retried_accepted, ledger.promised, ledger.closed) == (2, 1, 1, True)


def test_a_retry_that_was_doubled_is_a_duplicate() -> None:
    """The second row of a retried event is named with its place."""
    ledger = close_ledger(answered(503, 200, ids=["r0", "r0"]), topic("r0", "r0"))
    assert ledger.entries == (Gap("duplicated", "r0", "ann", "again at partition 0, offset 1"),)


def test_rows_without_an_id_are_named_by_their_place() -> None:
    """A row without event id belongs to nobody; two of them are not duplicates of each other."""
    ledger = close_ledger(answered(), topic(None, None))
    assert [gap.detail for gap in ledger.entries] == [
        "no request has this id, yet at partition 0, offset 0",
        "no request has this id, yet at partition 0, offset 1",
    ]


@pytest.mark.parametrize(("count", "closed"), [(1, False), (2, True), (3, True), (4, False)])
def test_the_log_may_count_unconfirmed_events_and_no_others(count: int, closed: bool) -> None:
    """Two accepted, one failed: 2 or 3 acknowledgements are possible, fewer or more are a problem."""
    assert close_ledger(answered(200, 200, 503), topic("r0", "r1"), acknowledged(count)).closed is closed


def test_everything_at_once() -> None:
    """Loss, duplicate, reject, stranger, refusal and late arrival in one run: each with its own name."""
    ledger = close_ledger(
        answered(200, 200, 200, 409, 503, 200), topic("r0", "r0", "r3", "r4", "r8", rejects=(b'{"event_id":"r5"}', b""))
    )
    assert kinds(ledger) == [
        ("duplicated", "r0"), ("lost", "r1"), ("lost", "r2"), ("refused but present", "r3"), ("rejected", "r5"),
        ("unconfirmed", "r4"), ("unknown", "r8"), ("unread", ""),
    ]  # fmt: skip


def test_json_round_trip() -> None:
    """What was written is read back equal, and the text also tells readers whether it closed."""
    ledger = close_ledger(answered(200, 503), topic("r1", rejects=(b"x",)), acknowledged(1))
    assert Ledger.from_json(ledger.to_json()) == Ledger.from_json(json.loads(ledger.to_json())) == ledger
    assert json.loads(ledger.to_json())["closed"] is False


def test_a_large_run_is_closed_quickly() -> None:
    """The join is done in columns: 100,000 events with one lost in about a second."""
    ids = [f"r{n}" for n in range(100_000)]
    ledger = close_ledger(answered(*[200] * 100_000), topic(*ids[:777], *ids[778:]))
    assert kinds(ledger) == [("lost", "r777")]


def run_of_nothing() -> tuple[pd.DataFrame, Any]:
    """No request, no row."""
    events = pd.DataFrame({"event_id": [], "player": [], "partition": [], "offset": []}, dtype="str")
    rejects = pd.DataFrame(columns=["partition", "offset", "reason", "raw"])
    return answered(), SimpleNamespace(events=events, rejects=rejects)


def test_nothing_asked_is_no_equation() -> None:
    """Over 0 requests there is nothing to hold: one term, and no equal sign; one request is no plural."""
    nothing = {"requests": 0, "rows": 0}
    assert equation(nothing) == [Term("", 0, "requests")]
    empty = json.loads(close_ledger(*run_of_nothing()).to_json())
    assert run_verdict([], empty, []) == ("passed", "No request was made, so there was nothing to account for.")
    one = dict.fromkeys(["refused", "failed", "unanswered", "retried_accepted", "unconfirmed"], 0)
    one |= {"requests": 1, "accepted": 1, "acknowledged": 1, "rows": 1, "closed": True}
    assert [(term.count, term.name) for term in equation(one)] == [
        (1, "request"), (1, "accepted"), (1, "acknowledged"), (1, "row")
    ]  # fmt: skip
