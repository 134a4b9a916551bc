"""Frames of any shape go through the tables and charts of chapter 03, which choose themselves by their columns."""

from typing import Any

import pandas as pd
import pytest

from streaming_lab.analysis import charts, replay, tables
from streaming_lab.analysis.chart_specs import series_colours
from streaming_lab.analysis.shapes import flatten_objects, shape_events
from streaming_lab.analysis.theme import EVENT_COLOURS
from streaming_lab.errors import LabError


def rows(payload: dict[str, list[Any]]) -> pd.DataFrame:
    """A frame as `read_topic` gives it: the record's own columns, then these of the payload, one row 10 ms apart."""
    size = len(next(iter(payload.values())))
    stamps = pd.Series(pd.date_range("2019-03-16T05:08:40Z", periods=size, freq="10ms"), dtype="datetime64[ms, UTC]")
    meta = {"partition": [n % 2 for n in range(size)], "offset": [*range(size)], "timestamp": stamps, "key": None}
    return pd.DataFrame({**meta, **payload})


COURSE = rows({"event_type": ["default", "buy"] * 3, "Host": ["user1", "user2", "user1"] * 2, "Accept": ["*/*"] * 6})
SHAPES = {
    "text": rows({"value": ["default", "purchased_sword", "default", "x"]}),
    "the course's": COURSE,
    "a time as text": rows({"type": ["a", "b"], "at": ["yesterday", "today"], "user": ["u1", None]}),
    "nested": flatten_objects(rows({"event": [{"name": "buy", "user": {"id": 7}}, {"name": "sell"}, None]})),
    "numbers for types": rows({"kind": [1, 2, 2], "player_id": [5, 5, 6]}),
    "objects for types": rows({"event": [["a"], ["b"], None], "user": [{"x": 1}, None, "y"]}),
    "several topics": COURSE.assign(topic=["users", "events"] * 3),
    "free names": rows({"event_type": [f"chest {n}" for n in range(300)], "player": [f"p{n}" for n in range(300)]}),
    "nobody named": rows({"value": ["a", "b"], "player": [None, None]}),
    "no time": rows({"value": ["a", "b"]}).assign(timestamp=pd.Series([None, None], dtype="datetime64[ms, UTC]")),
    "a time for some": rows({"value": ["a", "b"]}).assign(timestamp=pd.to_datetime(["2026-01-01", None], utc=True)),
    "one row": rows({"value": ["x"]}),
}  # fmt: skip
SHOWN = {
    "columns": tables.columns_of,
    "first rows": tables.first_rows,
    "by type": tables.events_by_type,
    "top players": tables.top_players,
    "partitions": tables.events_by_partition_table,
    "over time": charts.events_over_time_chart,
    "by player": charts.events_by_player_chart,
    "by partition": charts.events_by_partition_chart,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("what", SHOWN)
def test_a_frame_of_any_shape_is_shown(what: str, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No KeyError, some text, and never an alternative text of thousands of characters or hundreds of columns."""
    monkeypatch.setattr(charts, "rendered", lambda spec: '<svg width="1"></svg>')
    shown = SHOWN[what](SHAPES[shape])
    assert repr(shown)
    assert len(getattr(shown, "alt", "")) < 1500
    assert len(getattr(shown, "columns", ())) <= 15


def test_every_row_is_counted_whatever_its_type() -> None:
    """Rows without a type, and those of the rarest types, are in the sum of the table by type."""
    free = rows({"event_type": [*(f"t{n:02}" for n in range(15)), None, "t00"]})
    table = tables.events_by_type(free)
    assert [row[0] for row in table.rows] == ["(none)", *(f"t{n:02}" for n in range(9)), "6 more types", "all"]
    assert table.rows[-1][1] == sum(row[1] for row in table.rows[:-1]) == 17


def test_the_player_is_found_under_its_names() -> None:
    """A player's own column comes before the Host header that `ab` sends; without any there is a word for that."""
    assert shape_events(COURSE)["player"].tolist() == COURSE["Host"].tolist()
    assert shape_events(COURSE.assign(username="ann"))["player"].unique().tolist() == ["ann"]
    assert tables.top_players(SHAPES["text"]).empty == "no column names a player"
    assert tables.top_players(COURSE).rows[0] == ("user1", 2, 2, 4)


def test_time_is_the_broker_s_where_there_is_no_at() -> None:
    """A column `at` that is no time is left to the reader; the chart's time is the record's timestamp."""
    shaped = shape_events(SHAPES["a time as text"])
    assert (shaped["at"] == shaped["timestamp"]).all()


def test_nested_fields_become_dotted_columns() -> None:
    """Objects become columns down to four levels; lists and what has no room stay JSON; nothing is dropped."""
    frame = rows({"event": [{"name": "buy", "item": {"id": 1, "tags": ["a"]}}, {"name": "x"}, "y", None], "n": [1] * 4})
    flat = flatten_objects(frame)
    assert [*flat.columns[4:]] == ["event", "event.item.id", "event.item.tags", "event.name", "n"]
    assert flat["event"].tolist()[2:] == ["y", None]
    assert flat.loc[0, "event.item.tags"] == '["a"]'
    wide = flatten_objects(rows({"event": [{f"f{n}": n for n in range(200)}]}))
    assert [*wide.columns[4:]] == ["event"]
    assert '"f199": 199' in wide.loc[0, "event"]


def test_a_chart_of_free_names_is_drawn() -> None:
    """Eleven stacked types, the last grey, in both widths; the reading names the most frequent one."""
    events = SHAPES["free names"].assign(event_type=["loot"] * 100 + [f"t{n}" for n in range(200)])
    drawn = charts.events_by_player_chart(events)
    assert drawn.wide.startswith("<svg")
    assert drawn.data is not None
    assert len(drawn.data.columns) == 1 + 11 + 1
    assert "33% of all events are `loot`" in charts.events_over_time_chart(events).reading


def test_free_names_beside_the_lab_s_own_have_colours_of_their_own() -> None:
    """`default` keeps its colour, and no other type gets that one."""
    colours = series_colours(["default", "join_guild", "purchase_sword", "x"])
    assert colours[0] == EVENT_COLOURS["default"]
    assert len(set(colours)) == 4


def test_a_payload_s_columns_that_differ_come_first() -> None:
    """Of many columns the table of first rows has those that tell rows apart."""
    events = rows({**{f"h{n}": ["same"] * 3 for n in range(8)}, "what": ["a", "b", "c"]})
    assert tables.first_rows(events).columns[-6].name == "what"


def test_a_topic_of_another_game_has_no_replay_here() -> None:
    """The error names the columns that are missing."""
    with pytest.raises(LabError, match="they have no event_id, player, at, guild"):
        replay.replay_events(COURSE)
