"""The game in a container (profile `game`): its topic first, then `python -m streaming_lab.game` on every address, port 5000."""

import os

from streaming_lab.cli import run
from streaming_lab.client import topics
from streaming_lab.client.connection import connection_for
from streaming_lab.errors import LabError
from streaming_lab.game.__main__ import main as play
from streaming_lab.skipped_imports import skip_pandas

TOPIC = "game-events"


def main() -> int:
    """Serve until SIGTERM; 1 if events stayed behind. KAFKA_BOOTSTRAP_SERVERS names the brokers."""
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        raise LabError("KAFKA_BOOTSTRAP_SERVERS is not set", "Set it to host:port of a broker.")
    topics.create_topic(connection_for(servers), TOPIC)
    # Every address of the container; the compose file publishes it on the host's loopback only.
    return play(["--bootstrap", servers, "--topic", TOPIC, "--host", "0.0.0.0", "--port", "5000"])  # noqa: S104


if __name__ == "__main__":
    skip_pandas()
    raise SystemExit(run(main))
