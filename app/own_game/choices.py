"""What a person chose for a game of their own (game, routes, player, load), checked before anything starts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streaming_lab.errors import LabError
from streaming_lab.own_game.hosted import FoundGame, probe_game
from streaming_lab.own_game.load_file import LoadLine, read_load
from streaming_lab.own_game.route_file import choose_routes
from streaming_lab.own_game.routes import Route
from streaming_lab.own_game.source import FORMS

PLAYER_CURE = "A player is header:Host, query:NAME, form:NAME, json:NAME or path:NAME."


@dataclass(frozen=True)
class GameChoice:
    """A checked choice: the game, the routes to fire, where the player's name goes, the lines of a load file."""

    game: FoundGame
    routes: tuple[Route, ...]
    player: str = ""
    load: tuple[Sequence[LoadLine], str] | None = None


def choose_game(game: str, routes: str = "", player: str = "", load: str = "") -> GameChoice:
    """The choice as its chapters give it; raises `LabError` with what is wrong, which value, and what to do."""
    if not game.strip():
        raise LabError("no game is given", FORMS)
    if player and not re.fullmatch(r"(header|query|form|json|path):\S+", player):
        raise LabError(f"player = {player} says no place of a request", PLAYER_CURE)
    lines = (read_load(load), load) if load else None
    found = probe_game(game)
    fired = choose_routes(found.routes, routes)
    place, _, name = player.partition(":")
    if place == "path" and not any(name in route.arguments for route in fired):
        arguments = sorted({argument for route in fired for argument in route.arguments})
        raise LabError(f"player = {player}: no route has that argument", f"There is: {', '.join(arguments) or 'none'}")
    return GameChoice(found, fired, player, lines)


def absolute_choices(given: Mapping[str, Any]) -> dict[str, Any]:
    """The given parameters, checked, with paths that hold in a chapter's folder as well."""
    names = ("game", "routes", "player", "load")
    choice = choose_game(**{name: str(given[name]) for name in names if name in given})
    files = {name: str(Path(given[name]).resolve()) for name in ("routes", "load") if given.get(name)}
    return {**given, "game": choice.game.source.text, **files}
