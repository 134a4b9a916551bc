"""Tables say what the frames say, escape everything, repeat from run to run, and have words for nothing."""

import re
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from streaming_lab.analysis import plain_tables, tables
from streaming_lab.analysis.display import LEFT, Figure, Table, TableColumn, number, numbered, prose_html
from streaming_lab.analysis.ledger import close_ledger
from streaming_lab.analysis.measured import measured
from streaming_lab.analysis.theme import CSS, EVENT_COLOURS
from streaming_lab.game.events import EVENT_TYPES
from streaming_lab.game.rules import Player, World

EVIL = "</td><script>alert(1)</script>`x`"


def events(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """Event rows from (player, event type, partition)."""
    frame = pd.DataFrame(rows, columns=["player", "event_type", "partition"])
    stamps = pd.Series(pd.to_datetime("2019-03-16T05:08:40.118Z"), index=range(len(frame)), dtype="datetime64[ms, UTC]")
    ids = pd.Series([f"id-{n}-of-a-run" for n in range(len(frame))], dtype="str")
    frame = frame.assign(offset=range(len(frame)), timestamp=stamps, at=stamps, event_id=ids)
    return frame.astype({"player": "str", "event_type": "str", "partition": "int64", "offset": "int64"})


def rejects(*raw: bytes) -> pd.DataFrame:
    rows = [(0, n, "not JSON", bytes_) for n, bytes_ in enumerate(raw)]
    return pd.DataFrame(rows, columns=["partition", "offset", "reason", "raw"])


CROWD = events(
    ("ann", "default", 0), ("bob", "purchased_sword", 1), ("ann", "purchased_sword", 0), ("cy", "joined_guild", 1),
    ("bob", "sold_sword", 1), ("ann", "stole_sword", 0),
)  # fmt: skip


def cells(table: Table) -> list[list[str]]:
    """The text of each row's cells, as a reader of the page sees it."""
    rows = re.findall(r"<tr.*?</tr>", table._repr_html_())
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def test_each_type_has_a_colour_of_its_own() -> None:
    """Colours follow the game's own table of event types, in its order, and no two types share one."""
    assert tuple(EVENT_COLOURS) == tuple(EVENT_TYPES)
    assert len(set(EVENT_COLOURS.values())) == len(EVENT_COLOURS)


def test_markup_of_a_table() -> None:
    """A table is the page's markup: a scrolling box with a name, a caption, scopes, numbers to the right."""
    table = Table(
        "Topic `events`", (TableColumn("station"), number("count")), (("rows", 2000),), "in records", total=True
    )
    assert table._repr_html_() == (
        '<div class="table" tabindex="0" role="group" aria-label="Topic events">\n<table>\n'
        f'<caption{LEFT}><b><span class="no table"></span>Topic <code>events</code></b> '
        "<span>in records</span></caption>\n"
        f'<thead><tr><th scope="col"{LEFT}>station</th><th scope="col" class=n>count</th></tr></thead>\n<tbody>\n'
        f'<tr class=total><th scope="row"{LEFT}>rows</th><td class=n>2,000</td></tr>\n</tbody>\n</table>\n</div>'
    )


def test_plain_text_of_a_table() -> None:
    """In a terminal the columns are aligned, numbers to the right."""
    table = Table(
        "Topic `events`", (TableColumn("station"), number("count")), (("requests", 2000), ("rows", 7)), "in records"
    )
    assert repr(table).splitlines() == [
        "Topic events (in records)",
        "station   count",
        "requests  2,000",
        "rows          7",
    ]


@pytest.mark.parametrize("kind", ["text", "long", "code", "raw"])
def test_every_cell_is_escaped(kind: Any) -> None:
    """What comes from outside cannot act on the page, nor become code by backticks."""
    html = Table("t", (TableColumn("c", kind),), ((EVIL,),))._repr_html_()
    assert "<script" not in html
    assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;`x`" in html


def test_labels_and_titles_are_escaped() -> None:
    """A quote in a title does not end the label."""
    html = Table('a "quoted" <title>', (TableColumn("<c>"),), (), '"<note>"')._repr_html_()
    assert 'aria-label="a &quot;quoted&quot; &lt;title&gt;"' in html
    assert "<title>" not in html
    assert "<note>" not in html
    assert "<c>" not in html


def test_missing_values_are_empty_cells() -> None:
    """None, NaN and NA show as nothing."""
    table = Table("t", (TableColumn("a"), number("b"), number("c", 2)), ((None, pd.NA, float("nan")),))
    assert cells(table)[1] == ["", "", ""]


def test_measured_cells_are_marked() -> None:
    """A measured column and a measured value are spans that a comparison blanks."""
    table = Table("t", (TableColumn("a"), number("ms", 2, measured=True)), ((measured(7), 1.234),))
    html = table._repr_html_()
    assert (
        f'<th scope="row"{LEFT}><span class="measured">7</span></th><td class=n><span class="measured">1.23</span></td>'
        in html
    )
    assert repr(table).splitlines()[-1] == "7  1.23"


def test_numbers_are_written_over_the_whole_page() -> None:
    """Tables and figures are counted apart in document order, and a figure's data knows its figure."""
    table = Table("A", (TableColumn("a"),), ())
    figure = Figure("B", "", "alt", "<svg/>", "<svg/>", "reading", table)
    page = numbered("\n".join([table._repr_html_(), figure.html(), table._repr_html_(), figure.html()]))
    found = re.findall(r"(?:Table|Figure) \d\. |Data of figure \d", page)
    assert found == ["Table 1. ", "Figure 1. ", "Data of figure 1", "Table 2. ", "Figure 2. ", "Data of figure 2"]
    assert numbered(page) == page


def test_events_by_type() -> None:
    """Types in the game's order, strangers last, with shares and players."""
    assert cells(tables.events_by_type(CROWD))[1:] == [
        ["default", "1", "16.7", "1"],
        ["purchased_sword", "2", "33.3", "2"],
        ["sold_sword", "1", "16.7", "1"],
        ["joined_guild", "1", "16.7", "1"],
        ["stole_sword", "1", "16.7", "1"],
        ["all", "6", "100.0", "3"],
    ]


def test_events_by_partition() -> None:
    """Each partition with its players, its events by type, and its share."""
    head = ["partition", "players", "default", "purchased_sword", "sold_sword", "joined_guild", "stole_sword", "all"]
    assert cells(tables.events_by_partition_table(CROWD)) == [
        [*head, "share (%)"],
        ["0", "1", "1", "1", "0", "0", "1", "3", "50.0"],
        ["1", "2", "0", "1", "1", "1", "0", "3", "50.0"],
    ]


def test_top_players_break_ties_by_name() -> None:
    """The busiest first; of equals, the first in the alphabet."""
    frame = events(*[(player, "default", 0) for player in ("dan", "bob", "cy", "bob", "ann", "cy")])
    assert [row[0] for row in cells(tables.top_players(frame, 3))[1:]] == ["bob", "cy", "ann"]


def test_arrival_does_not_matter() -> None:
    """The same events in another order give the same tables, measured cells aside."""
    shuffled = CROWD.sample(frac=1, random_state=7)
    for table in (
        tables.events_by_type,
        tables.events_by_partition_table,
        tables.top_players,
        tables.columns_of,
        tables.first_rows,
    ):
        assert table(shuffled)._repr_html_() == table(CROWD)._repr_html_()


def test_first_rows_keep_each_players_order() -> None:
    """Sorted by player, then by the player's own offsets; ids and times are measured."""
    rows = cells(tables.first_rows(CROWD, 4))[1:]
    assert [row[:4] for row in rows] == [
        ["ann", "1", "default", "0"], ["ann", "2", "purchased_sword", "0"], ["ann", "3", "stole_sword", "0"],
        ["bob", "1", "purchased_sword", "1"],
    ]  # fmt: skip
    assert rows[0][4:] == ["0", "05:08:40.118", "id-0-of-"]


def test_requests_by_status() -> None:
    """Actions against statuses, with totals; a missing status is no answer."""
    requests = pd.DataFrame(
        {"action": ["default", "sell_a_sword", "default"], "status": pd.Series([200, 409, None], dtype="Int64")}
    )
    assert cells(tables.requests_by_status(requests)) == [
        ["action", "200", "409", "no answer", "all"],
        ["default", "1", "0", "1", "2"],
        ["sell_a_sword", "0", "1", "0", "1"],
        ["all", "1", "1", "1", "3"],
    ]


def test_cluster_and_topic() -> None:
    """What the cluster says of itself; ports and offsets are measured."""
    broker = SimpleNamespace(id=1, role="broker and controller", host="127.0.0.1", port=40127)
    described = plain_tables.cluster_table(SimpleNamespace(version="4.4.0", brokers=(broker,)), 0.913)
    assert cells(described)[1] == ["1", "broker and controller", "127.0.0.1:40127", "4.4.0", "0.91"]
    assert '<span class="measured">127.0.0.1:40127</span>' in described._repr_html_()
    assert cells(plain_tables.cluster_table(SimpleNamespace(version=None, brokers=(broker,))))[1][-1] == "unknown"
    partition = SimpleNamespace(id=0, leader=None, replicas=(1, 2), isr=(1,), begin=None, end=7)
    assert cells(plain_tables.topic_table(SimpleNamespace(name="events", partitions=(partition,))))[1] == [
        "0",
        "none",
        "2",
        "1",
        "",
        "7",
    ]


def test_seed_requests() -> None:
    """Requests in the order they were sent."""
    rows = cells(
        plain_tables.seed_requests([("/", 200, "\nThis is the default response!\n"), ("/purchase_a_sword", 200, EVIL)])
    )
    assert rows[1] == ["1", "/", "200", "This is the default response!"]
    assert "script" in rows[2][3]


def test_rejects_are_literals_and_bounded() -> None:
    """Raw bytes are Python literals; long ones are cut, and the rest is counted."""
    rows = cells(tables.reject_table(rejects(b"<script>", b"\xff\xfe", b"x" * 1300), "strangers"))[1:]
    assert [row[4] for row in rows] == [
        "b'&lt;script&gt;'", r"b'\xff\xfe'", f"b'{'x' * 200}' and 1,100 bytes more"
    ]  # fmt: skip
    assert [row[2] for row in rows] == ["8", "2", "1,300"]


def test_the_ledger_as_a_table() -> None:
    """Stations with the gap before each, and the gaps event by event."""
    requests = pd.DataFrame(
        {
            "request_id": ["a", "b", "c"],
            "player": ["ann", "ann", "bob"],
            "status": pd.Series([200, 200, 409], dtype="Int64"),
        }
    )
    rows = events(("ann", "default", 0), ("ann", "default", 0)).assign(event_id=["a", "a"])
    ledger = close_ledger(requests, SimpleNamespace(events=rows, rejects=rejects()))
    assert cells(tables.ledger_table(ledger))[1:] == [
        ["requests", "3", "", ""],
        ["accepted", "2", "1", "1 refused"],
        ["acknowledged", "", "1", "1 lost"],
        ["offsets", "2", "1", "1 duplicated"],
        ["rows", "2", "0", "0 rejected"],
    ]
    assert [row[:3] for row in cells(tables.gap_table(ledger))[1:]] == [
        ["a", "duplicated", "ann"],
        ["b", "lost", "ann"],
    ]
    assert "1 more" in repr(tables.gap_table(ledger, most=1))


def test_replay_beside_the_game() -> None:
    """Equal sums do not hide players who differ."""
    left, right = World({"ann": Player(2, "red"), "bob": Player(0)}), World({"ann": Player(1, "red"), "bob": Player(1)})
    assert cells(tables.replay_table(left, right))[1:] == [
        ["players", "2", "2", "0"], ["swords", "2", "2", "2"], ["guild members", "1", "1", "0"]
    ]  # fmt: skip


def test_guilds() -> None:
    """Guilds by name, and the players of none at the end."""
    world = World({"ann": Player(2, "red"), "bob": Player(1), "cy": Player(0, "blue"), "dan": Player(3, "red")})
    assert cells(tables.guild_table(world))[1:] == [["blue", "1", "0"], ["red", "2", "5"], ["no guild", "1", "1"]]


@pytest.mark.parametrize(
    "table",
    [tables.events_by_type, tables.events_by_partition_table, tables.top_players, tables.first_rows],
)
def test_no_events(table: Any) -> None:
    """An empty topic gives a table that says so."""
    assert cells(table(events()))[1:] == [["no events"]]


def test_nothing_to_show() -> None:
    """No requests, rejects, gaps or players: said in words."""
    nobody = pd.DataFrame({"action": pd.Series(dtype="str"), "status": pd.Series(dtype="Int64")})
    topic = SimpleNamespace(events=events(), rejects=rejects())
    empty = close_ledger(nobody.assign(request_id="", player=""), topic)
    shown = [
        tables.requests_by_status(nobody),
        tables.reject_table(rejects(), "t"),
        tables.gap_table(empty),
        tables.guild_table(World()),
    ]
    assert [cells(table)[1] for table in shown] == [["no requests"], ["no rejects"], ["no gaps"], ["no players"]]


def test_the_number_that_matters_is_in_the_colour_of_failure() -> None:
    """Above 0, measured or not; a zero beside it is as any other number."""
    table = Table("t", (TableColumn("way"), number("lost", alarm=True)), (("a", 237), ("b", measured(3)), ("c", 0)))
    html = table._repr_html_()
    assert re.findall(r"<td class=n>(.*?)</td>", html) == [
        '<b class="off">237</b>',
        '<span class="measured"><b class="off">3</b></span>',
        "0",
    ]
    assert ".table b.bad" in CSS


def test_a_number_keeps_its_unit_and_a_name_its_number() -> None:
    """No line breaks in `4 s` and `player-06`; other hyphens and code stay as they are."""
    assert prose_html("broker down for 4 s, by player-06 (fire-and-forget)") == (
        'broker down for 4\u00a0s, by <span class="whole">player-06</span> (fire-and-forget)'
    )
