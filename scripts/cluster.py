"""A real Kafka on a laptop, for anything.

python3 scripts/cluster.py start [--port N] [--brokers N] [--auto-create] [--keep]     start it, until stop
python3 scripts/cluster.py status                                                      what runs, and its users
python3 scripts/cluster.py address [--json | --shell]                                  its host:port
python3 scripts/cluster.py stop                                                        end it
"""

import bootstrap

bootstrap.enter()

from streaming_lab.cli import run
from streaming_lab.cluster.cli import main

if __name__ == "__main__":
    raise SystemExit(run(main))
