"""The template of an experiment's games: imports the game once, and forks a process for each game that is asked for.

python -m streaming_lab.game.template, with a socket as standard input; one JSON line for each request, one for its
answer, with the request's "id":
{"start": ARGUMENTS, "out": FILE, "errors": FILE}   starts `python -m streaming_lab.game ARGUMENTS`; answers its pid
{"poll": PID}                                       answers its exit code, negative for a signal, null while it runs
{"signal": PID, "number": NUMBER}                   sends the signal to a game that has not ended

Imports are most of what a game's start costs (0.45 s of CPU, and an experiment starts five games at once). Nothing but
imports has happened before a fork: no thread, no connection. The games end with the template, and the template with
the process at the socket's other end.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from streaming_lab.cli import run
from streaming_lab.delivery.ways import WAYS, log_class
from streaming_lab.game.__main__ import main as play
from streaming_lab.skipped_imports import skip_pandas


class Games:
    """The forked games. A game that ended stays a zombie until `poll` has told its exit code: no pid is used twice."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._life, self._held = os.pipe()  # the games read it: it ends with this process
        self._ended: dict[int, int | None] = {}

    def answer(self, request: dict[str, Any]) -> int | None:
        """Do what a request asks."""
        if "start" in request:
            return self._start(request)
        if "poll" in request:
            return self._poll(request["poll"])
        if self._poll(request["signal"]) is None:
            os.kill(request["signal"], request["number"])
        return None

    def end(self) -> None:
        """Kill every game that is left."""
        for pid in [pid for pid in self._ended if self._poll(pid) is None]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _poll(self, pid: int) -> int | None:
        if self._ended[pid] is None:
            found, status = os.waitpid(pid, os.WNOHANG)
            self._ended[pid] = os.waitstatus_to_exitcode(status) if found else None
        return self._ended[pid]

    def _start(self, request: dict[str, Any]) -> int:
        pid = os.fork()
        if pid == 0:
            become(partial(self._play, request))
        self._ended[pid] = None
        return pid

    def _play(self, request: dict[str, Any]) -> int:
        self._channel.close()
        os.close(self._held)
        os.dup2(self._life, 0)
        for name, descriptor in (("out", 1), ("errors", 2)):
            file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(file, descriptor)
            os.close(file)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return run(partial(play, request["start"]))


def become(game: Callable[[], int]) -> None:
    """Be the game until its end, and end as `python -m` does; never returns."""
    code = 1
    try:
        code = game()
    except SystemExit as end:  # argparse
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Import what games import, then answer until the other end of the socket is closed."""
    skip_pandas()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its starter's, which then ends the games
    for way in WAYS:
        log_class(way)
    gc.freeze()
    channel = socket.socket(fileno=os.dup(0))
    games = Games(channel)
    try:
        # Two files: one for both would forget, when it writes an answer, what it has read ahead of the next request.
        with channel.makefile("r", encoding="utf-8") as requests, channel.makefile("w", encoding="utf-8") as answers:
            for line in requests:
                request = json.loads(line)
                answers.write(json.dumps({"id": request["id"], "answer": games.answer(request)}) + "\n")
                answers.flush()
    except OSError:
        return  # the starter is gone
    finally:
        games.end()


if __name__ == "__main__":
    main()
