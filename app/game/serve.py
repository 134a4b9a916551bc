"""The game in a container (profile `game`): its topic first, then `python -m app.game` on every address, port 5000."""

import os

from app.cli import run
from app.errors import LabError
from app.game.__main__ import main as play
from app.skipped_imports import skip_pandas
from app.stream import topics
from app.stream.connection import connect_to

TOPIC = "game-events"


def main() -> int:
    """Serve until SIGTERM; 1 if events stayed behind. KAFKA_BOOTSTRAP_SERVERS names the brokers."""
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        raise LabError("KAFKA_BOOTSTRAP_SERVERS is not set", "Set it to host:port of a broker.")
    topics.create(connect_to(servers), TOPIC)
    # Every address of the container; the compose file publishes it on the host's loopback only.
    return play(["--bootstrap", servers, "--topic", TOPIC, "--host", "0.0.0.0", "--port", "5000"])  # noqa: S104


if __name__ == "__main__":
    skip_pandas()
    raise SystemExit(run(main))
