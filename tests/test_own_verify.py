"""A run with a game of one's own, checked: ids, offsets and ledger agree with each other, or the row is named."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from streaming_lab.handin.load import check_own_columns
from streaming_lab.handin.own_game_checks import OWN_GAME_CHECKS, has_own_game


def kept_run(**ledger: Any) -> Any:
    """Three requests of a stranger's game, two of them with a row."""
    requests = pd.DataFrame({"request_id": ["a", "b", "c"], "status": [200, 302, 404]})
    events = pd.DataFrame({"topic": ["my-events"] * 2, "partition": [0, 0], "offset": [0, 1], "request_id": ["a", "b"]})
    counts = {"requests": 3, "accepted": 2, "refused": 1, "failed": 0, "unanswered": 0, "rows": 2, **ledger}
    run = SimpleNamespace(
        parameters={"game": "game_api.py"}, ranges={"game-0a1b2c3d-my-events": {"0": [0, 2]}}, ledger=counts
    )
    frames = {"events": events, "rejects": events.iloc[:0], "requests": requests}
    return SimpleNamespace(run=run, frame=frames.__getitem__, hand_in=SimpleNamespace(frames=frames, unreadable={}))


def words(kept: Any) -> dict[str, str]:
    return {name: check(kept).word for name, check in OWN_GAME_CHECKS.items()}


def test_an_honest_run_agrees_and_the_rest_can_t_be_told() -> None:
    """Nothing that a stranger's game decides is called a contradiction."""
    found = words(kept_run())
    assert has_own_game(kept_run())
    assert {name for name, word in found.items() if word == "agrees"} == {"ids", "offsets", "ledger"}
    assert {word for name, word in found.items() if name not in ("ids", "offsets", "ledger")} == {"cannot tell"}


def test_what_was_changed_afterwards_contradicts() -> None:
    """A row taken out, a row of no request, and a ledger with another count."""
    short, stranger = kept_run(), kept_run()
    short.hand_in.frames["events"] = short.hand_in.frames["events"].iloc[:1]
    stranger.hand_in.frames["events"] = stranger.hand_in.frames["events"].assign(request_id=["a", "z"])
    assert words(short)["offsets"] == words(short)["ledger"] == "contradicts"
    assert words(stranger)["ids"] == "contradicts"
    assert words(kept_run(accepted=3))["ledger"] == "contradicts"


def test_columns_of_a_stranger_s_frame_are_bounded() -> None:
    """Any flat columns beside a record's place; nested ones and thousands are refused."""
    place = [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64())]
    check_own_columns(pa.schema([*place, ("user.name", pa.string())]))
    for odd in (
        [*place, ("x", pa.list_(pa.int8()))],
        place[1:],
        [*place, *((f"c{n}", pa.int8()) for n in range(1000))],
    ):
        with pytest.raises(ValueError, match="not those of a game's records"):
            check_own_columns(pa.schema(odd))
