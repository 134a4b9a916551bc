"""The log alone rebuilds the game's world, whatever order the rows arrived in."""

from datetime import UTC, datetime
from random import Random

import pandas as pd
from hypothesis import given, settings, strategies as st

from streaming_lab.analysis.replay import replay_events, world_differences
from streaming_lab.game.rules import Command, Player, RuleBroken, World, decide

NOW = datetime(2019, 3, 16, 5, 8, 40, tzinfo=UTC)
PLAYERS = ("ann", "bob", "cy")
MOVE = st.tuples(
    st.sampled_from(PLAYERS),
    st.sampled_from(("default", "purchase_a_sword", "sell_a_sword", "join_a_guild")),
    st.sampled_from(("red", "blue")),
)


def played(moves: list[tuple[str, str, str]]) -> tuple[World, pd.DataFrame]:
    """The game's own world after the moves, and the rows that they left on the players' partitions."""
    world, rows = World(), []
    for n, (player, action, guild) in enumerate(moves):
        try:
            events = decide(world, Command(action, player, f"r{n}", NOW, guild))
        except RuleBroken:
            continue
        for event in events:
            world.move(event)
            row = {"event_id": event.event_id, "event_type": event.event_type, "player": player, "at": event.at}
            place = {"partition": PLAYERS.index(player) % 2, "offset": n}
            rows.append({**row, **place, "guild": event.fields.get("guild")})
    columns = ["event_id", "event_type", "player", "at", "partition", "offset", "guild"]
    return world, pd.DataFrame(rows, columns=columns).astype({"event_id": "str", "guild": "str"})


@settings(deadline=None, max_examples=40)
@given(st.lists(MOVE, max_size=40), st.integers())
def test_replay_equals_the_game(moves: list[tuple[str, str, str]], seed: int) -> None:
    """Any play, its rows in any order: the folded log is the game's world."""
    world, rows = played(moves)
    shuffled = rows.sample(frac=1, random_state=Random(seed).randrange(2**32))
    assert replay_events(shuffled) == world
    assert world_differences(replay_events(shuffled), world).empty


def test_a_duplicate_counts_once() -> None:
    """A row that is there twice is one event."""
    world, rows = played([("ann", "purchase_a_sword", "red"), ("ann", "purchase_a_sword", "red")])
    doubled = pd.concat([rows, rows.tail(1).assign(offset=9)])
    assert replay_events(doubled) == world == World({"ann": Player(2)})


def test_a_lost_row_is_a_named_difference() -> None:
    """Without one purchase and one guild the two worlds differ, player by player."""
    world, rows = played(
        [("ann", "purchase_a_sword", ""), ("bob", "join_a_guild", "red"), ("cy", "purchase_a_sword", "")]
    )
    found = world_differences(replay_events(rows.iloc[2:]), world)
    assert found.to_dict("records") == [
        {"player": "ann", "what": "swords", "left": "0", "right": "1"},
        {"player": "bob", "what": "guild", "left": "None", "right": "red"},
    ]


def test_an_empty_log_is_the_world_before_the_game() -> None:
    """No rows, no players."""
    world, rows = played([])
    assert replay_events(rows) == world == World()
    assert list(world_differences(world, world).columns) == ["player", "what", "left", "right"]
