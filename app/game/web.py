"""The game's web API and its metrics: a request becomes a command, an answer becomes a response."""

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address

from flask import Flask, Response, jsonify, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound

from streaming_lab.game.events import ACTIONS, Event
from streaming_lab.game.game import ANSWERS_REMEMBERED, Answer, Game, Log, explain_broken_rule
from streaming_lab.game.rules import Command, RuleBroken, World

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)  # seconds

COUNTED = {
    "accepted": "Events whose append returned: the player was answered 200.",
    "acknowledged": "Events that the broker has acknowledged.",
    "failed": "Events whose delivery was reported as failed.",
    "unknown": "Events that were undecided when the request's wait was over, whatever came later.",
    "refused": "Events that the log did not take.",
    "relayed": "Rows of the outbox that the broker has acknowledged.",
}


class Metrics:
    """The metrics of one game for Prometheus; a registry for each game keeps two games in one process apart.

    The log's counts are read when Prometheus asks for them, and kept nowhere else.
    """

    def __init__(self, game: Game) -> None:
        self._game = game
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._requests = Counter(
            "game_requests", "Requests answered, by action and status.", ["action", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "game_request_seconds", "From request to answer.", ["action"], buckets=BUCKETS, registry=self._registry
        )

    def seen(self, action: str, status: int, seconds: float) -> None:
        """Count one answered request and its time."""
        self._requests.labels(action, str(status)).inc()
        self._seconds.labels(action).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """The log's counts at this moment; prometheus_client calls this method."""
        counts = self._game.log.counts
        for name, meaning in COUNTED.items():
            yield CounterMetricFamily(f"game_events_{name}", meaning, value=getattr(counts, name))
        reasons = GaugeMetricFamily(
            "game_events_last_reason", "Why the last event of a count is in it.", labels=["count", "reason"]
        )
        for name, reason in self._game.log.last_reasons.items():
            reasons.add_metric([name, reason], 1)
        yield reasons
        yield GaugeMetricFamily("game_events_queued", "Events handed over and not decided yet.", value=counts.queued)
        yield GaugeMetricFamily(
            "game_players_undecided", "Players who wait for a delivery report.", value=self._game.undecided
        )
        yield GaugeMetricFamily(
            "game_answers_remembered", "Request ids whose answer is remembered.", value=len(self._game.answers)
        )

    def exposition(self) -> Response:
        """All metrics in Prometheus' text format."""
        return Response(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)


LONGEST_ID = 100  # characters of an X-Request-Id
LONGEST_HEADER = 200  # characters of Host and User-Agent that an event keeps
LARGEST_BODY = 4096  # bytes
TRACEBACK = "this is a bug of the game; its standard error (or `printed` of its server) has the traceback"
OWN_PAGES = "a browser may play from the address line or from this game's own pages, not from another site"
OWN_SITES = ["same-origin", "none"]  # Sec-Fetch-Site of the game's own pages, and of an address typed by hand
PATHS = {action: one.path for action, one in ACTIONS.items()}


def _now() -> datetime:
    return datetime.now(UTC)


def create_app(
    log: Log,
    *,
    world: World | None = None,
    history: Iterable[Event] = (),
    clock: Callable[[], datetime] = _now,
    ids: Callable[[], object] = uuid.uuid4,
    remember: int = ANSWERS_REMEMBERED,
    hosts: Collection[str] = (),
) -> Flask:
    """The game as a Flask application that logs to `log`; `app.extensions["game"].world` is its world.

    `history` (events in their players' order, duplicates allowed) is folded into the world first, its ids remembered.
    The newest `remember` answers (2xx and 409) are repeated to requests with the same X-Request-Id.
    A browser on behalf of another site is refused (403); `hosts` are further names under which a browser may ask.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]  # field, value, rule: in that order
    game = Game(log, world or World(), history, remember)
    metrics = Metrics(game)
    app.extensions.update(game=game, metrics=metrics)

    def view(action: str) -> Response:
        started = time.perf_counter()
        request_id = None
        try:
            command = _command(action, clock, ids)
            request_id = command.request_id
            answer = game.preview(command) if request.method == "HEAD" else game.answer(command)
        except RuleBroken as broken:
            answer = explain_broken_rule(broken)
        metrics.seen(action, answer.status, time.perf_counter() - started)
        return _respond(answer, request_id)

    for action, path in PATHS.items():
        app.add_url_rule(path, action, partial(view, action), methods=["GET", "POST"])
    app.add_url_rule("/healthz", "healthz", partial(_health, game))
    app.add_url_rule("/metrics", "metrics", metrics.exposition)
    app.register_error_handler(HTTPException, _refuse)
    app.before_request(partial(_refuse_other_sites, frozenset(hosts)))
    return app


def _refuse_other_sites(hosts: Collection[str]) -> Response | None:
    """A 403 where a browser asks for a page of another site; programs (curl, ab, a crowd) send nothing to judge by."""
    try:
        _check_site(request.environ, hosts)
    except RuleBroken as broken:
        return _respond(explain_broken_rule(broken))
    return None


def _check_site(environ: Mapping[str, str], hosts: Collection[str]) -> None:
    """RuleBroken (403) for a request that another site's page makes a browser send, or that has a foreign Host.

    Browsers say where a request comes from: Sec-Fetch-Site (W3C Fetch Metadata), and Origin with each POST. A name
    that another site points to this machine (DNS rebinding) makes its page "same-origin", so a browser's Host counts,
    too. Browsers keep Sec-Fetch-Site to themselves under such a name; their User-Agent begins with Mozilla.
    """
    host = environ.get("HTTP_HOST", "")
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is not None and site not in OWN_SITES:
        raise RuleBroken("Sec-Fetch-Site", site, OWN_PAGES, 403)
    if origin is not None and origin.partition("://")[2] != host:
        raise RuleBroken("Origin", origin, OWN_PAGES, 403)
    browser = site or origin or environ.get("HTTP_USER_AGENT", "").startswith("Mozilla/")
    if browser and not _is_own_host(host, hosts):
        raise RuleBroken("Host", host, "a browser asks for this game by its address or as localhost", 403)


def _is_own_host(host: str, hosts: Collection[str]) -> bool:
    """An IP address, a name without a dot (a machine or a container nearby), *.localhost, or one of `hosts`."""
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    name = name.rstrip(".").lower()
    if "." not in name and ":" not in name:
        return True
    with suppress(ValueError):
        return bool(ip_address(name))
    return name.endswith(".localhost") or name in hosts


def _command(action: str, clock: Callable[[], datetime], ids: Callable[[], object]) -> Command:
    """The request as a command; RuleBroken (400) names the field that is wrong."""
    given = _fields(("player", *ACTIONS[action].fields))
    headers = request.environ  # not request.headers: werkzeug would search them for each name
    return Command(
        action=action,
        player=given.get("player", "anonymous"),
        request_id=_request_id(headers.get("HTTP_X_REQUEST_ID"), ids),
        at=clock(),
        guild=given.get("guild"),
        host=headers.get("HTTP_HOST", "")[:LONGEST_HEADER],
        user_agent=headers.get("HTTP_USER_AGENT", "")[:LONGEST_HEADER],
    )


def _fields(allowed: tuple[str, ...]) -> dict[str, str]:
    """The fields of query and form by name; RuleBroken (400) for one that is unknown or repeated."""
    given = request.args
    if request.content_length:
        if not request.form:
            rule = "fields come in the query or as a form (application/x-www-form-urlencoded)"
            raise RuleBroken("Content-Type", request.headers.get("Content-Type", ""), rule, 400)
        given = request.values
    for name, values in given.lists():
        if name not in allowed:
            raise RuleBroken(name, values[0], f"this command takes: {', '.join(allowed)}", 400)
        if len(values) > 1:
            raise RuleBroken(name, values[1], f"{name} comes once", 400)
    return given.to_dict()


def _request_id(given: str | None, ids: Callable[[], object]) -> str:
    if given is None:
        return str(ids())
    if not (0 < len(given) <= LONGEST_ID and given.isascii() and given.isprintable()):
        raise RuleBroken("X-Request-Id", given, f"1 to {LONGEST_ID} printable ASCII characters", 400)
    return given


def _respond(answer: Answer, request_id: str | None = None) -> Response:
    if isinstance(answer.body, str):
        response = Response(answer.body, answer.status, mimetype="text/plain")
    else:
        response = jsonify(answer.body)
        response.status_code = answer.status
    if answer.status == 503:
        response.headers["Retry-After"] = "1"
    if request_id is not None:
        response.headers["X-Request-Id"] = request_id
    return response


def _refuse(error: HTTPException) -> Response:
    """An error of Flask's own (404, 405, 413, 500) in the form of the game's refusals."""
    response = _respond(explain_broken_rule(_as_broken_rule(error)))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = _methods(error)
    return response


def _methods(error: MethodNotAllowed) -> str:
    return ", ".join(sorted(error.valid_methods or ()))


def _as_broken_rule(error: HTTPException) -> RuleBroken:
    status = error.code or 500
    match error:
        case NotFound():
            return RuleBroken("path", request.path, f"one of {', '.join(PATHS.values())}", status)
        case MethodNotAllowed():
            return RuleBroken("method", request.method, f"one of {_methods(error)}", status)
        case InternalServerError():
            return RuleBroken("server", "error", TRACEBACK, status)
        case _:
            return RuleBroken("request", error.name, error.description or error.name, status)


def _health(game: Game) -> Response:
    ready = not game.waits_for and game.log.ready()
    response = jsonify({"ready": ready, "reason": game.waits_for} if game.waits_for else {"ready": ready})
    response.status_code = 200 if ready else 503
    return response
