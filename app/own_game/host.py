"""The process of a hosted game: python -m streaming_lab.own_game.host SOURCE --scratch FOLDER

With --probe it prints what it found (routes, or the reason why there is no game) as one JSON line, and ends. Otherwise
it reads the connection to Kafka, a line of JSON, from stdin, prints `ready http://127.0.0.1:PORT` and serves until
SIGTERM; then the sends under way have --drain seconds to come through, and those that did not are named on stderr. The
game's own prints go to stderr, whatever it prints to.
"""

import argparse
import faulthandler
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Self
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, got_request_exception
from flask.globals import request
from werkzeug.exceptions import HTTPException

from streaming_lab.cli import positive, whole
from streaming_lab.client.connection import Connection
from streaming_lab.errors import LabError
from streaming_lab.game.server import GameServer
from streaming_lab.own_game.journal import JOURNAL_FILE, Journal, error_line
from streaming_lab.own_game.loading import load_app
from streaming_lab.own_game.masks import masked_text
from streaming_lab.own_game.producer import ProducerWatch, prefixed_names, requests_counted
from streaming_lab.own_game.routes import find_routes
from streaming_lab.own_game.source import find_source
from streaming_lab.own_game.world import RECORDS_FILE, WORLD_FILE, brings_evolve, fold_world, plain_world
from streaming_lab.processes import end_with_stdin
from streaming_lab.waiting import wait_until
from streaming_lab.wording import counted

HOST_HEARING = 0.5  # seconds until a signal is heard that did not wake the main thread
HOST_LINES_KEPT = 1000
NO_ROUTE = "(no route)"


class CountedBody:
    """An answer's body; what a view sends while its answer streams is counted for the request as well."""

    def __init__(self, body: Iterable[bytes], request_id: str) -> None:
        self._body, self._parts, self._request_id = body, iter(body), request_id

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        with requests_counted(self._request_id):
            return next(self._parts)

    def close(self) -> None:
        """End the body, as WSGI asks."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with requests_counted(self._request_id):
                close()


class CountedApp:
    """A Flask app whose requests are journalled: each has an id, and its sends are counted for it."""

    def __init__(self, app: Flask, journal: Journal) -> None:
        self.app, self.config = app, app.config
        self._journal = journal
        got_request_exception.connect(self._keep_error, app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request_id = environ.setdefault("HTTP_X_REQUEST_ID", str(uuid.uuid4()))
        status, began, started = [500], time.time(), time.perf_counter()

        def start(line: str, headers: Any, *rest: Any) -> Any:
            status[0] = int(line[:3])
            return start_response(line, headers, *rest)

        try:
            with requests_counted(request_id):
                return CountedBody(self.app(environ, start), request_id)
        finally:
            self._journal.note(
                "request",
                request_id=request_id,
                method=environ["REQUEST_METHOD"],
                rule=self._rule(environ),
                status=status[0],
                error=environ.get("lab.error", ""),
                host=environ.get("HTTP_HOST", ""),
                began=began,
                milliseconds=1000 * (time.perf_counter() - started),
            )

    def _rule(self, environ: WSGIEnvironment) -> str:
        try:
            rule, _ = self.app.url_map.bind_to_environ(environ).match(return_rule=True)
            return str(rule.rule)
        except HTTPException:
            return NO_ROUTE

    def _keep_error(self, app: Flask, exception: BaseException, **_: Any) -> None:
        request.environ["lab.error"] = masked_text(error_line(exception))


def main(arguments: Sequence[str] | None = None) -> int:
    """Probe or serve; returns the exit code."""
    options = _options(arguments)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")  # the line for the parent; the game's prints go to the log
    os.dup2(2, 1)
    connection = {} if options.probe else json.loads(sys.stdin.readline() or "{}")  # empty: whoever started it is gone
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # for as long as the process
    if not options.probe:  # a probe ends by its own timer
        end_with_stdin(partial(os._exit, 3))
    try:
        return probe(options, out) if options.probe else serve(options, connection, out)
    except LabError as error:
        print(json.dumps({"problem": error.problem, "cure": error.cure}), file=out, flush=True)
        sys.stderr.write(f"{error}\n")
        return 2


def probe(options: argparse.Namespace, out: Any) -> int:
    """Import the game without a broker and print its routes."""
    app, _, module = _loaded(options, None, Journal(None))
    if options.replay:
        world = fold_world(module, map(json.loads, Path(RECORDS_FILE).read_text(encoding="utf-8").splitlines()))
        print(json.dumps({"world": plain_world(world)}), file=out, flush=True)
        return 0
    routes = [route.to_json() for route in find_routes(app, find_source(options.source).root)]
    print(json.dumps({"routes": routes}), file=out, flush=True)
    return 0


def serve(options: argparse.Namespace, connection: Connection, out: Any) -> int:
    """Serve the game until a signal ends it."""
    stopped, journal = threading.Event(), Journal(options.scratch / JOURNAL_FILE)
    app, watch, module = _loaded(options, connection, journal)
    with GameServer(CountedApp(app, journal), port=options.port, capture=False, lines_kept=HOST_LINES_KEPT) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        print(f"ready {server.url}", file=out, flush=True)
        while not stopped.wait(HOST_HEARING):
            pass
        deadline = time.monotonic() + options.drain
        server.stop(max(0.1, options.drain / 2))
    if brings_evolve(module):
        Path(WORLD_FILE).write_text(json.dumps(plain_world(module.world)), encoding="utf-8")
    wait_until(lambda: not watch.pending, max(0.0, deadline - time.monotonic()))
    if left := watch.pending:
        sys.stderr.write("\n  ".join([f"{counted(len(left), 'event')} not delivered:", *left]) + "\n")
    return 1 if left else 0


def _loaded(
    options: argparse.Namespace, connection: Connection | None, journal: Journal
) -> tuple[Flask, ProducerWatch, ModuleType]:
    source = find_source(options.source)
    options.scratch.mkdir(parents=True, exist_ok=True)
    os.chdir(options.scratch)
    sys.dont_write_bytecode = True
    sys.argv = [str(source.file)]
    faulthandler.dump_traceback_later(options.stuck_after, exit=options.probe, file=sys.stderr)
    watch = ProducerWatch(connection, journal, source.root, prefixed_names(options.prefix))
    watch.install()
    app, module = load_app(source)
    faulthandler.cancel_dump_traceback_later()
    return app, watch, module


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m streaming_lab.own_game.host")
    parser.add_argument("source")
    parser.add_argument("--scratch", type=Path, required=True, help="the game's working folder")
    parser.add_argument("--prefix", default="", help="begins the topics' names in the cluster")
    parser.add_argument("--port", type=whole(0, 65535), default=0)
    parser.add_argument("--drain", type=positive, default=10.0)
    parser.add_argument("--stuck-after", type=positive, default=600.0, help="seconds after which stderr says where")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument(
        "--replay", action="store_true", help=f"with --probe: fold {RECORDS_FILE} of the scratch folder"
    )
    parser.add_argument("--fresh", action="store_true", help="accepted as the lab's own game does")
    return parser.parse_args(arguments)


def ended() -> None:
    """End the process as `flask run` does, also with threads of the game that go on."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    ended()
