"""Chapter 04's tables and charts: what is promised repeats from run to run, what a fault decides is measured."""

import pandas as pd
import pytest

from streaming_lab.analysis import chart_specs, deliveries
from streaming_lab.analysis.answer_kinds import ANSWER_KINDS, ANSWERS, LOST, PROMISES, answer_kind
from streaming_lab.analysis.deliveries import OUTCOME_COLUMNS, Mark
from streaming_lab.analysis.display import FIGURE
from streaming_lab.delivery.ways import DELIVERING, log_class

MOMENTS = [Mark("kill broker", 1.0, 1.1), Mark("restart broker", 2.0, 4.5)]


def row(variant: str, **numbers: float) -> dict[str, object]:
    """A row of counts; what is not named is 0."""
    return {
        "fault": "broker killed",
        "variant": variant,
        "safe": variant == "confirmed",
        "requests": 10,
        **dict.fromkeys(OUTCOME_COLUMNS.values(), 0),
        "again": 0,
        "stall": 0.5,
        **numbers,
    }


COUNTS = pd.DataFrame(
    [
        row("forget", **{"200": 10, "in topic": 7, "lost": 3}),
        row("confirmed", **{"200": 8, "in topic": 9, "unpromised": 1, "503 unknown": 2}, stall=2.0),
        row("forget", **{"200": 10, "in topic": 9, "lost": 1, "duplicates": 2}, stall=0.7),
        row("confirmed", **{"200": 10, "in topic": 10}),
    ]
)

PLAYED = pd.DataFrame(
    {
        "variant": ["forget"] * 4 + ["confirmed"] * 4,
        "seconds": [0.2, 1.2, 1.4, 5.0, 0.3, 2.1, 2.1, 4.9],
        "answer": ["200", LOST, "200", "200", "200", "503 unknown", "503 refused", "200"],
    }
)


def test_repetitions_are_one_row() -> None:
    """Counts add up, the longest stall stays, in the order in which they came."""
    table = deliveries.outcome(COUNTS)
    lines = [[str(getattr(cell, "text", cell)) for cell in line] for line in table.rows]
    assert lines == [
        ["forget", "4", "20", "0", "0", "0", "0", "16", "0", "2", "0", "0", "0.70"],
        ["confirmed", "0", "18", "0", "0", "2", "0", "19", "1", "0", "0", "0", "2.00"],
    ]
    assert table.note == "20 requests to each game, in 2 experiments; then in events"


def test_only_promises_are_not_measured() -> None:
    """A zero that was promised must repeat from run to run; what fire-and-forget lost need not."""
    html = deliveries.lost_table(COUNTS)._repr_html_()
    lost = '<td class=n><span class="measured"><b class="off">4</b></span></td><td class=n>0</td>'
    assert lost in html
    n = deliveries.count_formatter(COUNTS)
    assert (f"{n('confirmed', 'lost')}", f"{n('forget', 'lost')}") == ("0", '<span class="measured">4</span>')
    assert (n("confirmed", "lost", "event"), f"{n('forget', 'lost', 'event')}") == (
        "0 events",
        '<span class="measured">4 events</span>',
    )


def test_a_fault_in_which_a_way_took_no_part_is_empty() -> None:
    """Ways x faults has a cell for each, an empty one where there was no experiment."""
    other = pd.DataFrame([{**row("forget"), "fault": "broker frozen"}])
    table = deliveries.lost_table(pd.concat([COUNTS, other]))
    assert [column.name for column in table.columns] == ["fault", "forget", "confirmed"]
    assert table.rows[1][0::2] == ("broker frozen", None)


def test_losses_are_added_up_for_the_verdict() -> None:
    """For each way its answers of 200 and the lost events, over all experiments."""
    assert deliveries.losses_by_variant(COUNTS) == {
        "experiments": 1,
        "variants": [
            {"variant": "forget", "answered": 20, "lost": 4, "safe": False},
            {"variant": "confirmed", "answered": 18, "lost": 0, "safe": True},
        ],
        "checked": 0,
    }


def test_lost_events_are_named_and_bounded() -> None:
    """The first of each way and fault, at most a dozen in all; none at all is said."""
    columns = ["fault", "variant", "event_id", "player", "sequence", "action", "detail"]
    found = pd.DataFrame(
        [("f", c, f"{c}-{n}", "ann", n, "default", "") for c in "ab" for n in range(9)], columns=columns
    )
    assert [line[2] for line in deliveries.lost_events_table(found).rows] == [
        f"{c}-{n}" for c in "ab" for n in range(6)
    ]
    assert "nothing was lost" in repr(deliveries.lost_events_table(found[:0]))


def test_the_longest_time_without_a_200() -> None:
    """From the first request to the last answer; a lost 200 was a 200 to whoever heard it."""
    assert deliveries.longest_stalls(PLAYED) == "Longest time without a 200: forget 3.6 s, confirmed 4.6 s"


def test_answers_over_time_are_drawn_with_the_fault() -> None:
    """A panel for each way, every moment named, the same numbers as a table, measured as a whole."""
    drawn = deliveries.answers_over_time(PLAYED, MOMENTS, "broker killed")
    assert drawn.measured
    assert drawn.data is not None
    assert [column.name for column in drawn.data.columns][2:] == ["200", LOST, "503 refused", "503 unknown"]
    assert drawn.data.rows[:2] == (("forget", 0.0, 1, 0, 0, 0), ("forget", 1.0, 0, 1, 0, 0))
    assert [name in drawn.wide for name in ("kill broker", "restart broker", "forget", "confirmed", LOST)] == [True] * 5
    assert "restart broker at 2.0 s, done at 4.5 s" in drawn.alt
    assert FIGURE in drawn._repr_mimebundle_()[0]


def test_bars_stand_on_each_other() -> None:
    """In each bin of a panel the bars lie between 0 and the number of its requests, without gap or overlap."""
    drawn = deliveries.answers_over_time(PLAYED, MOMENTS, "broker killed")
    assert drawn.spec is not None
    layers = [panel["layer"][0] for panel in drawn.spec["vconcat"] if panel.get("title")]
    bars = [drawn.spec["datasets"][layer["data"]["name"]] for layer in layers]
    assert [[(bar["from"], bar["bottom"], bar["top"]) for bar in panel] for panel in bars] == [
        [(0.0, 0, 1), (1.0, 0, 1), (1.25, 0, 1), (5.0, 0, 1)],
        [(0.25, 0, 1), (2.0, 0, 1), (2.0, 1, 2), (4.75, 0, 1)],
    ]


def test_no_fault_and_no_requests_can_be_drawn() -> None:
    """Nothing happened, or nobody asked: a figure all the same."""
    assert "nothing happened" in deliveries.answers_over_time(PLAYED, [], "no fault").note
    assert "no requests" in deliveries.answers_over_time(PLAYED[:0], [], "no fault").wide


@pytest.mark.parametrize(
    ("status", "delivery", "kind"),
    [
        (200, None, "200"),
        (409, None, "refused by the rules"),
        (503, "refused", "503 refused"),
        (503, "unknown", "503 unknown"),
        (None, None, "no answer"),
    ],
)
def test_each_answer_has_its_kind(status: int | None, delivery: str | None, kind: str) -> None:
    """Status and what a 503 says of the delivery decide; every kind that can be answered is among them."""
    assert answer_kind(status, delivery) == kind
    assert kind in ANSWERS


def test_each_kind_of_answer_has_a_colour_of_its_own() -> None:
    """Kinds are told apart by their colours, and only a 200 promised something, also one whose event is lost."""
    assert len(set(chart_specs.ANSWER_COLOURS.values())) == len(ANSWER_KINDS)
    assert PROMISES == ("200", LOST)


def test_the_heart_of_each_way_fits_into_five_lines() -> None:
    """As it is in the class, escaped for the page."""
    shown = deliveries.hearts({way: log_class(way) for way in DELIVERING})
    bodies = {way: shown.lines(way).splitlines() for way in DELIVERING}
    assert max(map(len, bodies.values())) == 5
    assert "    raise Undecided(outcome, self.timeout, self._watch.reason)" in bodies["confirmed"]
    assert shown._repr_html_().count("<figure>") == len(DELIVERING)
