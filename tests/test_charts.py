"""Charts are drawn for both widths and both themes, say what they show, and repeat."""

import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from streaming_lab.analysis import charts
from streaming_lab.analysis.display import FIGURE, VEGALITE_MIME, Figure
from streaming_lab.analysis.ledger import Ledger, close_ledger
from streaming_lab.analysis.sankey import ledger_sankey
from streaming_lab.analysis.theme import CSS, EVENT_COLOURS, TOKENS, page_svg
from streaming_lab.game.rules import Player, World
from streaming_lab.report import kernel_main

START = pd.Timestamp("2019-03-16T05:08:40.000Z")


def run_of(size: int, *, players: int = 4, partitions: int = 2, lost: int = 0) -> tuple[pd.DataFrame, Any]:
    """Requests a few milliseconds apart, each answered 200, and their rows but for the first `lost`."""
    numbers = range(size)
    sent = pd.Series([START + pd.Timedelta(7 * n, unit="ms") for n in numbers], dtype="datetime64[us, UTC]")
    who = pd.Series([f"player-{n % players:02d}" for n in numbers], dtype="str")
    ids = pd.Series([f"id{n}" for n in numbers], dtype="str")
    status = pd.Series([200] * size, dtype="Int64")
    requests = pd.DataFrame({"request_id": ids, "player": who, "sent_at": sent, "status": status, "latency_ms": 2.5})
    kinds = pd.Series([list(EVENT_COLOURS)[n % 3] for n in numbers], dtype="str")
    rows = pd.DataFrame({"event_id": ids, "player": who, "event_type": kinds, "offset": numbers})
    rows = rows.assign(partition=[n % players % partitions for n in numbers], at=sent, timestamp=sent)
    rejects = pd.DataFrame({"partition": [], "offset": [], "reason": [], "raw": []})
    return requests, SimpleNamespace(events=rows.astype({"partition": "int64"}).iloc[lost:], rejects=rejects)


REQUESTS, TOPIC = run_of(120)
WORLD = World({"ann": Player(3, "red"), "bob": Player(1, "blue"), "cy": Player(1)})
DRAWN = {
    "over time": lambda events: charts.events_over_time_chart(events),
    "by player": lambda events: charts.events_by_player_chart(events),
    "by partition": lambda events: charts.events_by_partition_chart(events),
    "latency": lambda events: charts.latency_chart(REQUESTS, events),
}


@pytest.fixture(scope="module", params=[*DRAWN, "guilds"])
def figure(request: pytest.FixtureRequest) -> Figure:
    """Each chart of chapter 03 in turn."""
    return charts.guild_chart(WORLD) if request.param == "guilds" else DRAWN[request.param](TOPIC.events)


def test_each_figure_is_whole(figure: Figure) -> None:
    """A title, alt text that names the chart and its numbers, a reading, two drawings, and the data as a table."""
    html = figure.html()
    assert html.count('<figure class="figure">') == html.count('<p class="reading">') == 1
    assert re.search(r'<div class="plot" role="img" aria-label="[^"]*chart[^"]*\d|distributions[^"]*\d', html)
    assert html.count("<svg ") == html.count('aria-hidden="true"') == 2
    assert '<details class="data">' in html
    assert figure.data is not None
    assert figure.data.rows


def test_drawings_are_in_the_pages_colours(figure: Figure) -> None:
    """Every colour is a token with its light value to fall back on, so that both themes share one drawing."""
    colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', figure.wide + figure.narrow)) - {"none", "transparent"}
    known = {f"var(--{token},{colour})" for token, colour in TOKENS.items()}
    assert colours - known == set()


def test_drawings_are_well_formed_and_fit(figure: Figure) -> None:
    """Both drawings are XML; the narrow one fits a phone, and none names fonts, scripts or labels of its own."""
    wide, narrow = (ET.fromstring(svg) for svg in (figure.wide, figure.narrow))
    assert 600 < float(wide.attrib["width"]) <= 780
    assert 250 < float(narrow.attrib["width"]) <= 360
    assert not re.search(r"font-family|<script|<style|role=|aria-label", figure.wide + figure.narrow)


def test_a_figure_is_interactive_in_jupyterlab(figure: Figure) -> None:
    """The bundle has the page's fragment, Vega-Lite 5 with data and tooltips, an image, and text; no HTML."""
    bundle, metadata = figure._repr_mimebundle_()
    assert set(bundle) == {FIGURE, VEGALITE_MIME, "image/svg+xml", "text/plain"}
    assert bundle[VEGALITE_MIME]["$schema"] == "https://vega.github.io/schema/vega-lite/v5.json"
    heading = bundle[VEGALITE_MIME]["title"]
    shown = " ".join([figure.note, figure.reading]).replace("`", "").split()
    assert (heading["text"], " ".join(heading["subtitle"]).split()) == (figure.title.replace("`", ""), shown)
    assert '"tooltip": true' in str(bundle[VEGALITE_MIME]).replace("'", '"').replace("True", "true")
    assert ET.fromstring(bundle["image/svg+xml"]).tag == "{http://www.w3.org/2000/svg}svg"
    assert metadata == ({"measured": True} if figure.title in MEASURED else {})


MEASURED = {"Events per second, by type", "From request to broker"}


@pytest.mark.parametrize("name", DRAWN)
def test_charts_repeat(name: str) -> None:
    """The same events in another order give the same drawing, to the byte."""
    shuffled = TOPIC.events.sample(frac=1, random_state=7)
    assert DRAWN[name](shuffled).html() == DRAWN[name](TOPIC.events).html()


@pytest.mark.parametrize("name", DRAWN)
def test_no_events(name: str) -> None:
    """An empty topic gives a figure that says so, with nothing left out of its markup."""
    html = DRAWN[name](TOPIC.events.iloc[:0]).html()
    assert "No events." in html
    assert html.count("<svg ") == 2


def test_nobody_in_the_world() -> None:
    """A world without players gives a figure that says so."""
    assert "No players." in charts.guild_chart(World()).html()


def test_a_type_has_one_colour_everywhere() -> None:
    """purchased_sword is the same token in each chart, also when other types are missing."""
    only = TOPIC.events[TOPIC.events["event_type"] == "purchased_sword"]
    for name in ("over time", "by player", "by partition"):
        drawing = DRAWN[name](only).wide
        assert "var(--t2," in drawing
        assert not re.search(r"var\(--t[134],", drawing)


def test_readings_are_computed() -> None:
    """Numbers in the words are those of the frame."""
    assert charts.events_by_player_chart(TOPIC.events).reading == (
        "The median player caused 30 events; the 4 busiest of 4 players caused 100% of all, and player-00 alone 30."
    )
    assert charts.events_by_partition_chart(TOPIC.events).reading == (
        "Partition 0 holds 50% of the events, 1.00 times its even share: 2 of 4 keys hash to it."
    )
    assert charts.guild_chart(WORLD).reading == (
        "3 players hold 5 swords, 60% of them in red; 1 of the players joined no guild."
    )


def test_players_beyond_the_chart_are_told() -> None:
    """With more players than bars, the busiest are shown and the rest is said."""
    _, topic = run_of(130, players=60)
    figure = charts.events_by_player_chart(topic.events)
    assert figure.note.startswith("the 50 busiest of 60, ")
    assert figure.data is not None
    assert len(figure.data.rows) == 50


def test_player_names_cannot_act() -> None:
    """A player's name is text in the drawing and in the words."""
    events = TOPIC.events.assign(player='</text><script>"x"</script>-1')
    html = charts.events_by_player_chart(events).html()
    assert "<script" not in html
    ET.fromstring(charts.events_by_player_chart(events).wide)


def test_recolouring_leaves_unknown_colours_alone() -> None:
    """Only the tokens' own colours become tokens."""
    assert page_svg('<svg><path fill="#0072b2" stroke="#123456"/></svg>', "wide") == (
        '<svg class="wide" aria-hidden="true"><path fill="var(--t1,#0072b2)" stroke="#123456"/></svg>'
    )


def test_labels_keep_their_decimals() -> None:
    """Coordinates are cut to one decimal, and an axis with 0.05 and 0.10 says so."""
    drawn = page_svg('<svg><text x="3.4567">0.05</text><text x="-1.04">0.15</text></svg>', "wide")
    assert drawn.endswith('<text x="3.5">0.05</text><text x="-1">0.15</text></svg>')


def account(size: int, **planted: int) -> Ledger:
    requests, topic = run_of(size, **planted)
    return close_ledger(requests, topic)


def test_the_ledger_is_drawn_twice() -> None:
    """Both drawings are XML, the ribbon has a band for each partition and the alt text every number."""
    html = ledger_sankey(account(120, partitions=3))
    wide, narrow = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    for svg in (wide, narrow):
        assert len(ET.fromstring(svg).findall("path[@class='band']")) == 3
    assert html.startswith('<figure class="figure ledger">')
    assert "Over partitions: p0 60, p1 30, p2 30." in html
    assert "120 requests, 120 accepted, – acknowledged, 120 offsets, 120 rows" in html
    assert "gap off" not in html


def test_what_is_lost_falls_off_in_red() -> None:
    """An open ledger is marked as failed, and only the broken sign is off."""
    html = ledger_sankey(account(100, lost=12))
    assert html.startswith('<figure class="figure ledger failed">')
    assert len(re.findall(r'class="fall"', html)) == len(re.findall(r'class="fall tail"', html)) == 2
    assert re.findall(r'<text class="gap off"[^>]*>([^<]*)', html) == ["12 lost", "12 lost"]


def test_what_was_refused_turns_away() -> None:
    """Refused requests leave the ribbon without being a fault; each is one of the 20."""
    requests, topic = run_of(20)
    requests.loc[:4, "status"] = 409
    ledger = close_ledger(requests, SimpleNamespace(events=topic.events.iloc[5:], rejects=topic.rejects))
    html = ledger_sankey(ledger)
    assert ledger.closed
    assert html.count('class="fall turned"') == 2
    assert html.count(">5 refused<") == 3
    assert "gap off" not in html


def test_an_empty_ledger_is_drawn() -> None:
    """Nothing asked and nothing written: five stations with 0 and no ribbon."""
    html = ledger_sankey(account(0))
    assert "No requests and no events." in html
    assert 'class="band"' not in html
    assert html.count(">0</text>") == 8


def test_the_ribbon_keeps_its_breadth() -> None:
    """Whatever is lost or refused, all strips together are as broad as the ribbon."""
    html = ledger_sankey(account(100, lost=30))
    low, high = re.findall(r'<path class="gate" d="M1 ([\d.]+)L1 ([\d.]+)"/>', html)[0]
    assert float(high) - float(low) == pytest.approx(104 + 14)


def test_the_pages_extra_rules_are_css() -> None:
    """The rules that the drawings add close what they open."""
    assert CSS.count("{") == CSS.count("}") > 0


def stamped(requests: pd.DataFrame, events: pd.DataFrame, shift_ms: float) -> Figure:
    """The latency chart of a broker whose clock is this far from the players'."""
    stamps = (events["timestamp"] + pd.Timedelta(shift_ms, unit="ms")).dt.as_unit("ms")
    return charts.latency_chart(requests, events.assign(timestamp=stamps), acknowledged=True)


@pytest.mark.parametrize(
    ("shift_ms", "apart"),
    [
        (-35_200, "up to 35.2 s before their requests"),
        (-2, "up to 1.0 ms before their requests"),
        (-7 * 365 * 24 * 3.6e6, "up to 2,555 days before their requests"),
        (9_000, "up to 9.0 s after the answers that followed them"),
    ],
)
def test_two_clocks_are_said_in_place_of_a_time_between_them(shift_ms: float, apart: str) -> None:
    """A stamp before its request, or after its answer, can't be: the offset is told, and no time to the broker."""
    figure = stamped(REQUESTS, TOPIC.events, shift_ms)
    assert apart in figure.reading
    assert "on the broker within" not in figure.alt + figure.reading
    assert [column.name for column in figure.data.columns] == ["share", "answered (ms)"]  # type: ignore[union-attr]


def test_one_clock_gives_the_times_to_the_broker() -> None:
    """Stamps between request and answer, cut to the millisecond: an upper bound for each event."""
    assert stamped(REQUESTS, TOPIC.events, 0).reading.startswith("Half of the events were on the broker within 1.0 ms")
    assert stamped(REQUESTS, TOPIC.events, 2).reading.startswith("Half of the events were on the broker within 3.0 ms")


def test_an_answer_within_a_millisecond_is_no_other_clock() -> None:
    """Sent at 0.9 ms, which is cut to 0, on the broker at 1.2 ms, answered at 1.4 ms: one clock explains it all."""
    quick = REQUESTS.assign(latency_ms=0.5)
    reading = stamped(quick, TOPIC.events, 1).reading
    assert reading.startswith("Half of the events were on the broker within 2.0 ms")
    assert "up to 0.5 ms after the answers" in stamped(quick, TOPIC.events, 2).reading


def test_a_single_player_and_a_single_event_are_no_plurals() -> None:
    """Readings, notes and alt texts of the smallest run."""
    _, topic = run_of(1)
    figures = [chart(topic.events) for name, chart in DRAWN.items() if name != "latency"]
    told = " ".join(f"{one.note} {one.alt} {one.reading}" for one in figures)
    told += charts.guild_chart(World({"ann": Player(1, "red")})).reading
    assert not re.search(r"\b1 (?!events per|of the players)\w{2,}s\b", told), told
    assert "player-00 alone caused all 1 event." in told
    assert "1 player holds 1 sword, 100% of them in red" in told


def test_no_rows_have_no_quickest_way() -> None:
    """Reading nothing measures nothing."""
    assert charts.ways_to_read({"a": 0.1, "b": 0.2}, 0).reading == "No events."


def test_a_ledger_of_one_request_is_no_plural() -> None:
    """In the drawing's words and beside its counts."""
    html = ledger_sankey(account(1))
    assert "1 request, 1 accepted, – acknowledged, 1 offset, 1 row." in html
    assert ">requests</text>" not in html


def test_a_kernel_draws_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chapter that draws, whatever module of the lab it draws by, does not wait for its first chart."""
    drawn = list[str]()
    monkeypatch.setattr(charts, "rendered", lambda spec: drawn.append(spec["mark"]))
    kernel_main.preload(["streaming_lab.analysis.deliveries", "no.such.module"])
    assert drawn == ["point"]
