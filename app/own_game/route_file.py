"""A person's file of routes, in TOML: weights, arguments and headers for the routes that were found."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from streaming_lab.errors import LabError
from streaming_lab.own_game.routes import Route
from streaming_lab.wording import did_you_mean

KEYS: dict[str, Any] = {"rule": str, "method": str, "weight": (int, float), "arguments": dict, "headers": dict}
CURE = 'A route is a table: [[route]] rule = "/swords/<name>", weight = 3, arguments = { name = "x" }, headers = { }.'


def choose_routes(found: Sequence[Route], file: str = "") -> tuple[Route, ...]:
    """The routes that are fired: those found, with what the file says of them; a weight of 0 leaves a route out.

    `only = true` at the file's top leaves out what the file does not name. Raises `LabError` for what the game has not.
    """
    if not file:
        return tuple(found)
    raw = _read(Path(file))
    known = {(route.rule, route.method): route for route in found}
    chosen = {key: replace(route, weight=0.0) if raw.get("only") else route for key, route in known.items()}
    for entry in raw.get("route", []):
        for route in _named(entry, found, file):
            chosen[route.rule, route.method] = _with(route, entry)
    fired = tuple(route for route in chosen.values() if route.weight > 0)
    if not fired:
        raise LabError(f"routes = {file}: every route has weight 0", CURE)
    return fired


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"routes = {file}: {error.strerror}", "Name a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LabError(f"routes = {file} is no TOML: {error}", CURE) from error
    if unknown := sorted(raw.keys() - {"route", "only"}):
        raise LabError(f"routes = {file}: {unknown[0]} is unknown{did_you_mean(unknown[0], ('route', 'only'))}", CURE)
    return raw


def _named(entry: Any, found: Sequence[Route], file: str) -> list[Route]:
    if not isinstance(entry, dict) or not isinstance(entry.get("rule"), str):
        raise LabError(f"routes = {file}: a route without a rule", CURE)
    for name, value in entry.items():
        if name not in KEYS or not isinstance(value, KEYS[name]) or isinstance(value, bool):
            raise LabError(f"routes = {file}: {name} = {value!r} of {entry['rule']}{did_you_mean(name, KEYS)}", CURE)
    if entry.get("weight", 1) < 0:
        raise LabError(f"routes = {file}: the weight of {entry['rule']} is below 0", CURE)
    same = [one for one in found if one.rule == entry["rule"] and entry.get("method", one.method).upper() == one.method]
    if not same:
        rules = [route.rule for route in found]
        wanted = f"{entry.get('method', '')} {entry['rule']}".strip()
        near = did_you_mean(entry["rule"], rules)
        raise LabError(f"routes = {file}: the game has no route {wanted}{near}", f"It has: {', '.join(rules)}")
    return same


def _with(route: Route, entry: Mapping[str, Any]) -> Route:
    values = {str(name): str(value) for name, value in entry.get("arguments", {}).items()}
    known = {*route.arguments, *(name for names in route.fields.values() for name in names)}
    place = "query" if route.method == "GET" else "json" if "json" in route.fields else "form"
    new = tuple(name for name in values if name not in known)
    fields = {**route.fields, place: (*route.fields.get(place, ()), *new)} if new else route.fields
    headers = {str(name): str(value) for name, value in entry.get("headers", {}).items()}
    return replace(route, weight=float(entry.get("weight", 1)), fixed=values, fields=fields, headers=headers)
