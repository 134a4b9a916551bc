"""An event and its bytes: one table, one pair of functions, and a reason for everything that is no event."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from streaming_lab.game.events import ACTIONS, COLUMNS, EVENT_TYPES, OWN_FIELDS, REQUIRED, Event

AT = datetime(2019, 3, 16, 5, 8, 40, 123000, tzinfo=UTC)


def test_an_event_is_one_json_object_in_wire_order() -> None:
    """Id, type, player, time, the type's own fields, and the two headers: never more."""
    event = Event("r-1", "joined_guild", "Zoë", AT, "localhost:5000", "curl/8", {"guild": "owls"})
    assert event.to_bytes().decode() == (
        '{"event_id": "r-1", "event_type": "joined_guild", "player": "Zoë", "at": "2019-03-16T05:08:40.123Z", '
        '"guild": "owls", "host": "localhost:5000", "user_agent": "curl/8"}'
    )


def test_the_columns_are_the_union_over_all_types() -> None:
    """The one table of event types gives the reader its columns."""
    assert (list(COLUMNS), REQUIRED) == (
        ["event_id", "event_type", "player", "at", "guild", "host", "user_agent"],
        ("event_id", "event_type", "player", "at"),
    )


def test_an_event_type_is_one_row() -> None:
    """The row has all that the API, the answers, the crowd and the charts need, and no two rows share a name."""
    row = EVENT_TYPES["purchased_sword"]
    assert row is ACTIONS["purchase_a_sword"]
    assert (row.path, row.text, row.weight, row.colour) == ("/purchase_a_sword", "\nSword Purchased!\n", 28, "t2")
    assert len(ACTIONS) == len(EVENT_TYPES)
    assert OWN_FIELDS == ("guild",)


def test_time_leaves_in_utc() -> None:
    """Another time zone is converted, microseconds are cut."""
    local = datetime(2019, 3, 16, 7, 8, 40, 123999, tzinfo=timezone(timedelta(hours=2)))
    assert Event.from_bytes(Event("r-1", "default", "ann", local).to_bytes()).at == AT


text = st.text(st.characters(codec="utf-8"), max_size=50)


@given(
    text,
    st.sampled_from(sorted(EVENT_TYPES)),
    text,
    st.datetimes(timezones=st.just(UTC)),
    text,
    text,
)
def test_every_event_comes_back_as_it_was(
    event_id: str, event_type: str, player: str, at: datetime, host: str, user_agent: str
) -> None:
    """from_bytes(to_bytes(event)) == event, for any text and any millisecond."""
    whole = at.replace(microsecond=at.microsecond // 1000 * 1000)
    fields = dict.fromkeys(EVENT_TYPES[event_type].fields, player)
    event = Event(event_id, event_type, player, whole, host, user_agent, fields)
    assert Event.from_bytes(event.to_bytes()) == event


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"default", "Expecting value"),
        (b"\xff", "can't decode byte 0xff"),
        (b"[1]", "expected a JSON object, got list"),
        (b"{}", "event_type: missing"),
        (
            b'{"event_type": "rode_a_horse"}',
            "event_type: 'rode_a_horse' is none of default, purchased_sword, sold_sword",
        ),
        (b'{"event_type": "default"}', "event_id: missing"),
        (b'{"event_type": "default", "event_id": 7}', "event_id: expected text, got 7"),
        (
            b'{"event_type": "default", "event_id": "1", "player": "a", "at": "noon"}',
            "Invalid isoformat string: 'noon'",
        ),
        (b'{"event_type": "default", "event_id": "1", "player": "a", "at": "2019-03-16T05:08:40"}', "has no time zone"),
        (
            b'{"event_type": "default", "event_id": "1", "player": "a", "at": "0001-01-01T00:00:00+01:00"}',
            "out of range in UTC",
        ),
        (
            b'{"event_type": "joined_guild", "event_id": "1", "player": "a", "at": "2019-03-16T05:08:40Z"}',
            "guild: missing",
        ),
    ],
)
def test_what_is_no_event_says_why(data: bytes, reason: str) -> None:
    """Bytes that are no event raise ValueError with the field and the value."""
    with pytest.raises(ValueError) as caught:
        Event.from_bytes(data)
    assert reason in str(caught.value)
