"""The lab's own game as a process: what the containers' profile `game` runs.

python -m app.game.serve [--host 0.0.0.0] [--port 5000] [--topic game-events] [--way confirmed]
"""

import argparse
import logging
import os
import signal
import sys
import threading

from app.cli import run
from app.errors import LabError
from app.game.server import GameServer
from app.game.web import create_app
from app.stream import topics
from app.stream.connection import connect_to
from app.stream.log import WAYS, open_log

STOP = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; 1 if events stayed behind. The brokers are in KAFKA_BOOTSTRAP_SERVERS."""
    options = _options()
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        raise LabError("KAFKA_BOOTSTRAP_SERVERS is not set", "Set it to host:port of a broker.")
    connection = connect_to(servers)
    topics.create(connection, options.topic)
    ended = threading.Event()
    for number in STOP:
        signal.signal(number, lambda *_: ended.set())
    with open_log(options.way, connection, options.topic) as log:
        with GameServer(create_app(log), options.host, options.port) as server:
            logging.info("the game answers on %s, logging to %s in topic %s", server.url, servers, options.topic)
            ended.wait()
        unsent = log.close()
    return 1 if unsent else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.game.serve", description="Serve the lab's game.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--topic", default="game-events")
    parser.add_argument("--way", choices=WAYS, default="confirmed")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    raise SystemExit(run(main))
