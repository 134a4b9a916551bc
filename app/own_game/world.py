"""The world of a game that brings an `evolve`, as plain JSON, and what a fold of its records gives.

A game's module has `evolve(world, event)`, which returns the next world or changes the one it gets, and a `world`. The
event is the record's JSON. The fold begins with the `world` of a fresh import.
"""

import json
from collections.abc import Iterable
from types import ModuleType
from typing import Any

WORLD_FILE = "world.json"  # in the scratch folder, written when the game ends
RECORDS_FILE = "records.jsonl"


def plain_world(world: Any) -> Any:
    """A world as plain JSON: objects by their attributes, sets sorted, anything else by its repr."""

    def plain(value: Any) -> Any:
        if isinstance(value, (set, frozenset)):
            return sorted(value, key=repr)
        return vars(value) if hasattr(value, "__dict__") else repr(value)

    return json.loads(json.dumps(world, default=plain, sort_keys=True))


def brings_evolve(module: ModuleType) -> bool:
    """Does a game's module have an `evolve` and a `world`?"""
    return callable(vars(module).get("evolve")) and "world" in vars(module)


def fold_world(module: ModuleType, events: Iterable[Any]) -> Any:
    """The world of a freshly imported module after these events."""
    world = module.world
    for event in events:
        following = module.evolve(world, event)
        world = world if following is None else following
    return world
