"""The seeded moves of a crowd: who asks for what, in which order, under which id."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from streaming_lab.game.events import ACTIONS, EVENT_TYPES

GUILDS = ("foxes", "owls", "wolves")

_NAMESPACE = uuid.UUID("5c0a6f7e-2019-5205-8000-77323035a9f1")  # fixed once, so that ids repeat


@dataclass(frozen=True, slots=True)
class Move:
    """One request of one player; `sequence` counts the player's own requests from 0."""

    request_id: str
    player: str
    sequence: int
    action: str
    guild: str | None = None

    @property
    def target(self) -> str:
        """Path and query of the request."""
        return f"{ACTIONS[self.action].path}?player={self.player}" + (f"&guild={self.guild}" if self.guild else "")


def seeded_moves(players: int, requests: int, seed: int, run: str) -> Iterator[Move]:
    """The crowd's requests in order. Some players are busier: the k-th as often as 1/sqrt(k).

    A request id is a name-based UUID (RFC 9562, version 5) of seed, run, player and sequence.
    """
    dice = random.Random(f"{seed}/{players}")  # noqa: S311  # a game's dice, not a secret
    kinds = tuple(EVENT_TYPES.values())
    weights = [kind.weight for kind in kinds]
    for player, sequence in seeded_turns(dice, players, requests):
        kind = dice.choices(kinds, weights)[0]
        guild = dice.choice(GUILDS) if "guild" in kind.fields else None
        request_id = str(uuid.uuid5(_NAMESPACE, f"{seed}/{run}/{player}/{sequence}"))
        yield Move(request_id, player, sequence, kind.action, guild)


def seeded_turns(dice: random.Random, players: int, requests: int) -> Iterator[tuple[str, int]]:
    """The player of each request, and its number among the player's own; all players are drawn before the first."""
    width = max(2, len(str(players)))
    names = [f"player-{number:0{width}}" for number in range(1, players + 1)]
    often = [1 / number**0.5 for number in range(1, players + 1)]
    sequences = dict.fromkeys(names, 0)
    for player in dice.choices(names, often, k=requests):
        yield player, sequences[player]
        sequences[player] += 1
