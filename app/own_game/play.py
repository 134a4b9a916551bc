"""A seeded crowd for the routes of any game: values for arguments and fields, players, answers as rows."""

import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pandas as pd
import requests as http

from streaming_lab.game.moves import GUILDS, seeded_turns
from streaming_lab.game.players import USER_AGENT, PlayerReply, frame_of_replies, watch_workers
from streaming_lab.own_game.masks import masked_text
from streaming_lab.own_game.routes import ANY, Route

_NAMESPACE = uuid.UUID("5c0a6f7e-2019-5205-8000-77323035a9f2")  # fixed once, so that ids repeat
PLAYER_FIELDS = ("player", "player_id", "user", "username", "user_name", "user_id", "name", "userid", "gamer")
NUMBERS = (
    "n",
    "number",
    "count",
    "amount",
    "quantity",
    "price",
    "level",
    "gold",
    "score",
    "damage",
    "health",
    "age",
    "id",
)
ARGUMENT = re.compile(r"<(?:\w+(?:\([^>]*?\))?:)?(?P<name>\w+)>")  # <name>, <int:name>, <any(a,b):name>
KEPT_ANSWER = 500  # characters of an answer that a row keeps


@dataclass(frozen=True)
class Ask:
    """One request: its route, player, target, headers, and a form or a JSON body."""

    request_id: str
    player: str
    sequence: int
    route: Route
    target: str
    headers: Mapping[str, str]
    form: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None


def seeded_asks(
    routes: Sequence[Route], *, players: int, requests: int, seed: int, run: str, player: str = ""
) -> list[Ask]:
    """The requests in order; routes by their weights, some players busier. The same seed gives the same requests.

    `player` says where a request names its player: header:Host, query:NAME, form:NAME, json:NAME or path:NAME; without
    it a field or an argument that is called like one, otherwise the Host header.
    """
    dice = random.Random(f"{seed}/{players}")  # noqa: S311  # a game's dice, not a secret
    asks = []
    for name, sequence in seeded_turns(dice, players, requests) if routes else ():
        route = dice.choices(routes, [one.weight for one in routes])[0]
        request_id = str(uuid.uuid5(_NAMESPACE, f"{seed}/{run}/{name}/{sequence}"))
        asks.append(_ask(route, name, sequence, request_id, dice, player))
    return asks


def _ask(route: Route, name: str, sequence: int, request_id: str, dice: random.Random, player: str) -> Ask:
    place, _, field = player.partition(":")
    values: dict[str, dict[str, Any]] = {"path": {}, **{one: {} for one in route.fields}}
    for argument, converter in route.arguments.items():
        values["path"][argument] = route.fixed.get(argument) or _value(argument, converter, dice)
    for where, fields in route.fields.items():
        values[where] = {one: route.fixed.get(one) or _value(one, "", dice) for one in fields}
    where, field = (place, field) if place else _player_place(route)
    headers = {"User-Agent": USER_AGENT, "X-Request-Id": request_id, **route.headers}
    if where == "header":
        headers[field] = name
    elif where != "path" or field in route.arguments:
        values.setdefault(where, {})[field] = name
    body = values.get("json") if "json" in values and route.method != "GET" else None
    form = values.get("form") if "form" in values and route.method != "GET" and body is None else None
    return Ask(request_id, name, sequence, route, _target(route, values), headers, form, body)


def _player_place(route: Route) -> tuple[str, str]:
    for name in PLAYER_FIELDS:
        if name in route.arguments:
            return "path", name
        for where in ("json", "form", "query"):
            if name in route.fields.get(where, ()) and (where == "query" or route.method != "GET"):
                return where, name
    return "header", "Host"


def _value(name: str, converter: str, dice: random.Random) -> Any:
    low = name.lower()
    if converter.startswith(ANY):
        return dice.choice(converter.removeprefix(ANY).split(", "))
    if converter == "UUID":
        return str(uuid.UUID(int=dice.getrandbits(128), version=4))
    if converter == "Float":
        return f"{dice.uniform(0, 10):.1f}"
    if converter == "Integer" or low in NUMBERS or low.endswith(("_id", "_count", "_number")):
        return dice.randint(1, 3)
    return dice.choice(GUILDS) if "guild" in low else dice.choice(("iron", "gold", "wood"))


def _target(route: Route, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Path and query, quoted; several arguments may stand between two slashes."""
    path = ARGUMENT.sub(lambda at: quote(str(values["path"].get(at["name"], at["name"])), safe=""), route.rule)
    query = values.get("query")
    return f"{path}?{urlencode(query)}" if query else path


def play(
    url: str,
    asks: Sequence[Ask],
    *,
    concurrency: int = 4,
    rate: float = 0.0,
    timeout: float = 15.0,
    stopped: threading.Event | None = None,
    check: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """Send the requests, each player's in order; a row each as the lab's own crowd gives it, `action` is the route.

    Redirects that only add a slash are followed; other answers 3xx stand as they are. `check` is called each second.
    """
    stop = stopped or threading.Event()
    began = time.perf_counter()
    shares: list[list[tuple[float, Ask]]] = [[] for _ in range(concurrency)]
    for number, ask in enumerate(asks):
        shares[int(ask.player.rpartition("-")[2]) % concurrency].append((number / rate if rate else 0.0, ask))
    with ThreadPoolExecutor(concurrency, "player") as pool:
        futures = [pool.submit(_work, url, share, began, timeout, stop) for share in shares if share]
        watch_workers(futures, stop, check)
    return frame_of_replies(reply for one in futures for reply in one.result())


def _work(
    url: str, share: Sequence[tuple[float, Ask]], began: float, timeout: float, stopped: threading.Event
) -> list[PlayerReply]:
    replies = []
    with http.Session() as session:
        session.trust_env = False
        for due, ask in share:
            if stopped.wait(max(0.0, began + due - time.perf_counter()) if due else 0.0):
                break
            replies.append(_reply(session, url, ask, timeout))
    return replies


def _reply(session: http.Session, url: str, ask: Ask, timeout: float) -> PlayerReply:
    sent_at, started = datetime.now(UTC), time.perf_counter()
    status, answer, error = None, None, None
    try:
        answered = _send(session, url, ask.target, ask, timeout)
        if answered.status_code in (301, 302, 307, 308) and _adds_a_slash(
            ask.target, answered.headers.get("Location", "")
        ):
            path, _, query = ask.target.partition("?")
            answered = _send(session, url, f"{path}/{'?' + query if query else ''}", ask, timeout)
        status, answer = answered.status_code, masked_text(answered.text[:KEPT_ANSWER])
    except http.RequestException as failure:
        error = f"{type(failure).__name__}: {failure}"[:200]
    latency = (time.perf_counter() - started) * 1000
    return PlayerReply(
        ask.request_id, ask.player, ask.sequence, ask.route.name, sent_at, status, latency, answer, error, 1
    )


def _send(session: http.Session, url: str, target: str, ask: Ask, timeout: float) -> http.Response:
    # an address without a name: the Host header is the player's
    return session.request(
        ask.route.method,
        url + target,
        headers=dict(ask.headers),
        data=dict(ask.form) if ask.form is not None else None,
        json=dict(ask.body) if ask.body is not None else None,
        timeout=timeout,
        allow_redirects=False,
    )


def _adds_a_slash(target: str, location: str) -> bool:
    path = target.partition("?")[0]
    return urlsplit(location).path == f"{path}/"
