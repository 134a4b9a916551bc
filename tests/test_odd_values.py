"""Tables, charts and replay show whatever a topic brings: no value ends the process, stalls it, or breaks a page."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from streaming_lab.analysis import charts, counts, deliveries, summary, tables
from streaming_lab.analysis.chart_specs import common_prefix
from streaming_lab.analysis.display import Figure, Table, TableColumn
from streaming_lab.analysis.ledger import close_ledger
from streaming_lab.analysis.measured import measured
from streaming_lab.analysis.replay import replay_events, world_differences
from streaming_lab.analysis.sankey import ledger_sankey
from streaming_lab.game.events import EVENT_TYPES
from streaming_lab.wording import HIDDEN, counted, rounded, visible

HOSTILE = "\x00\x07\x0b\x1b[2J\x7f\x9b\u2028\u2029\ufffe\uffff"
YEAR_1, YEAR_9999 = -62_135_596_800_000, 253_402_300_799_999  # milliseconds: all that an ISO 8601 time can say

# Every character that a JSON text can hold (the reader rejects lone surrogates), the hostile ones often.
TEXT = st.text(st.one_of(st.sampled_from(HOSTILE + "-/'\"\\<&`é\u202e😀"), st.characters(exclude_categories=["Cs"])))
ROW = st.tuples(
    TEXT,
    st.one_of(
        st.sampled_from([*EVENT_TYPES, "all", "players", "events", "type", "rank", "rate", "from", "player"]), TEXT
    ),
    st.integers(YEAR_1, YEAR_9999),
    st.integers(-(2**63) + 1, 2**63 - 1),  # a record's own timestamp: whatever its producer wrote
    st.integers(0, 3),
    TEXT,
)


def frame_of(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows of (player, type, at, timestamp, partition, guild) with the reader's columns and types."""
    columns = ["player", "event_type", "at", "timestamp", "partition", "guild"]
    frame = pd.DataFrame(rows, columns=columns).assign(offset=range(len(rows)), host="", user_agent="")
    frame["event_id"] = pd.Series([f"id{n}" for n in range(len(rows))], dtype="str")
    stamp = "datetime64[ms, UTC]"
    for name in ("at", "timestamp"):
        frame[name] = frame[name].astype("int64").astype(stamp)
    texts = dict.fromkeys(["player", "event_type", "guild", "host", "user_agent"], "str")
    return frame.astype({**texts, "partition": "int32", "offset": "int64"})


def requests_of(events: pd.DataFrame) -> pd.DataFrame:
    """A request for each event, all of today."""
    sent = pd.Series(pd.Timestamp("2026-11-27T01:00:00Z"), index=events.index, dtype="datetime64[us, UTC]")
    status = pd.Series([200] * len(events), dtype="Int64")
    return pd.DataFrame(
        {
            "request_id": events["event_id"],
            "player": events["player"],
            "sent_at": sent,
            "status": status,
            "latency_ms": 2.5,
        }
    )


def check_table(table: Table) -> None:
    """A table is well-formed, and neither its markup nor its plain text has a hidden character."""
    ET.fromstring(table._repr_html_().replace("class=n", 'class="n"').replace("class=raw", 'class="raw"')
                  .replace("class=text", 'class="text"').replace("class=total", 'class="total"'))  # fmt: skip
    assert not HIDDEN.search(table._repr_html_() + repr(table))


def check_figure(figure: Figure) -> None:
    """Both drawings are XML; nothing of the bundle has a hidden character."""
    for svg in (figure.wide, figure.narrow):
        ET.fromstring(svg)
    assert not HIDDEN.search(str(figure._repr_mimebundle_()[0]))


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(ROW, max_size=12))
def test_tables_and_replay_take_what_a_reader_brings(rows: list[tuple[Any, ...]]) -> None:
    """Any text, any time, any partition: each table is whole, and a replay equals itself."""
    events = frame_of(rows)
    for table in (
        tables.columns_of(events),
        tables.first_rows(events),
        tables.events_by_type(events),
        tables.events_by_partition_table(events),
        tables.top_players(events),
    ):
        check_table(table)
    world = replay_events(events[events["event_type"].isin(EVENT_TYPES)])
    assert world_differences(world, world).empty
    check_table(tables.guild_table(world))
    check_table(tables.replay_table(world, world))


LONG = "player-" + "𝖍😀" * 40  # Vega cuts such a name between the two halves of a character


@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(rows=[(LONG, LONG, 0, 0, 0, LONG), (LONG + "x", "joined_guild", 0, 0, 0, LONG + "x")])
@given(rows=st.lists(ROW, min_size=1, max_size=6))
def test_charts_take_what_a_reader_brings(rows: list[tuple[Any, ...]]) -> None:
    """Any text, any time, any partition: each chart is drawn."""
    events = frame_of(rows)
    for figure in (
        charts.events_over_time_chart(events),
        charts.events_by_player_chart(events),
        charts.events_by_partition_chart(events),
        charts.latency_chart(requests_of(events), events),
        charts.guild_chart(replay_events(events[events["event_type"].isin(EVENT_TYPES)])),
    ):
        check_figure(figure)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(ROW, max_size=6), raw=st.lists(st.binary(max_size=300), max_size=4), reason=TEXT)
def test_the_ledger_takes_what_a_reader_brings(rows: list[tuple[Any, ...]], raw: list[bytes], reason: str) -> None:
    """Odd rows and odd rejects: the ledger's tables and its sankey are whole."""
    events = frame_of(rows)
    rejects = pd.DataFrame(
        [(0, n, reason, one) for n, one in enumerate(raw)], columns=["partition", "offset", "reason", "raw"]
    )
    ledger = close_ledger(requests_of(events).iloc[1:], SimpleNamespace(events=events, rejects=rejects))
    check_table(tables.ledger_table(ledger))
    check_table(tables.gap_table(ledger))
    check_table(tables.reject_table(rejects, HOSTILE))
    assert not HIDDEN.search(ledger_sankey(ledger))


SCRIPT = """
import pandas as pd
from streaming_lab.analysis import charts
stamps = pd.Series([0, 5], dtype="int64").astype("datetime64[ms, UTC]")
for name in map(chr, (0, 7, 0x1B, 0xFFFE, 0xFFFF, 0x2028)):
    events = pd.DataFrame({"player": [name, "p-" + name], "event_type": [name, "default"], "at": stamps,
                            "partition": [0, 1], "offset": [0, 1]})
    drawings = [charts.events_over_time_chart(events), charts.events_by_player_chart(events)]
    print(ord(name), *(chr(92) in drawing.wide for drawing in drawings))
"""


@pytest.mark.slow
def test_a_character_that_xml_does_not_know_ends_no_process() -> None:
    """In a process of its own, since the drawing library aborts it: each label shows the character's escape."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    shown = [f"{code} True True" for code in (0, 7, 0x1B, 0xFFFE, 0xFFFF, 0x2028)]
    assert (ran.returncode, ran.stdout.splitlines()) == (0, shown), ran.stderr[-500:]


def test_each_place_of_a_table_or_figure_shows_escapes() -> None:
    """Title, note, column, cell, measured value, alt text, reading: the escape, in HTML and in a terminal."""
    table = Table(HOSTILE, (TableColumn(HOSTILE), TableColumn("b")), ((HOSTILE, measured(HOSTILE)),), HOSTILE)
    check_table(table)
    check_table(Table("t", (TableColumn("c"),), (), empty=HOSTILE))
    check_figure(Figure(HOSTILE, HOSTILE, HOSTILE, "<svg/>", "<svg/>", HOSTILE, table))
    check_figure(charts.empty_figure(HOSTILE, f"<{HOSTILE}"))
    assert visible("a\x1b\u2028\ufffe\tb") == r"a\x1b\u2028\ufffe" + "\tb"
    assert r"\x1b" in table._repr_html_()


def test_answers_over_time_show_escapes() -> None:
    """A variant's name and a fault's are texts like any others."""
    answers = pd.DataFrame({"variant": [HOSTILE], "seconds": [0.5], "answer": ["200"]})
    check_figure(deliveries.answers_over_time(answers, [deliveries.Mark(HOSTILE, 0.1, 0.2)], HOSTILE))
    check_figure(charts.ways_to_read({HOSTILE: 0.1, "b": 0.2}, 3))


def test_a_chart_over_time_has_a_bounded_number_of_bins() -> None:
    """From the year 1 to 9999: as many bins as ever, each as wide as it takes."""
    rates, width = counts.bin_times(frame_of([("p", "default", at, 0, 0, "") for at in (YEAR_1, YEAR_9999)]))
    assert (len(rates) <= summary.BINS + 1, rates.sum().sum() * width) == (True, pytest.approx(2))


def test_counts_have_their_nouns() -> None:
    """One of a thing is no plural, and a whole number has no decimals."""
    assert [counted(n, "request") for n in (0, 1, 2000)] == ["0 requests", "1 request", "2,000 requests"]
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
    assert [rounded(value) for value in (30.0, 30.5, 1234.56, 0.04)] == ["30", "30.5", "1,234.6", "0"]
    assert common_prefix(["player-01", "player-12"]) == "player-"
