"""A running game looked at from outside, without changing it: what it still waits for, and what its world holds."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import requests

from streaming_lab.errors import LabError
from streaming_lab.game.players import GUILDS
from streaming_lab.game.rules import World
from streaming_lab.waiting import wait_until

Sight: TypeAlias = Mapping[str, tuple[bool, str | None]]  # player -> (has a sword?, guild)

OPEN = re.compile(r"^game_(?:events_queued|players_undecided) (\S+)$", re.MULTILINE)


def look(url: str, players: Iterable[str], timeout: float = 60.0) -> Sight:
    """The players as the game at `url` has them, once every event is decided: `LabError` after `timeout` seconds.

    Asked with HEAD, which has the status that the command would have, and does nothing.
    """
    with requests.Session() as session:
        session.trust_env = False
        _await_decisions(session, url, timeout)
        return {player: _look_at(session, url, player) for player in players}


def sight_of(world: World, players: Iterable[str]) -> Sight:
    """The same of a world at hand."""
    return {name: (world.player(name).swords > 0, world.player(name).guild) for name in players}


def _await_decisions(session: requests.Session, url: str, timeout: float) -> None:
    def decided() -> bool:
        return not any(float(value) for value in OPEN.findall(session.get(f"{url}/metrics", timeout=15).text))

    problem = LabError(f"the game at {url} has undecided events after {timeout:g} s", "Is the broker back?")
    wait_until(decided, timeout, lambda: problem, step=0.02)


def _look_at(session: requests.Session, url: str, player: str) -> tuple[bool, str | None]:
    def would(path: str) -> bool:
        return session.head(f"{url}{path}", timeout=15).status_code == 200

    joined = [guild for guild in GUILDS if not would(f"/join_a_guild?player={player}&guild={guild}")]
    return would(f"/sell_a_sword?player={player}"), joined[0] if joined else None
