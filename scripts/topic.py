"""Topics of a running Kafka: the lab's own, or any other.

python3 scripts/topic.py create NAME [--partitions N] [--config KEY=VALUE]     make one
python3 scripts/topic.py describe NAME                                         leaders, replicas, offsets, settings
python3 scripts/topic.py list                                                  the names
"""

import bootstrap

bootstrap.enter()

from streaming_lab.cli import run
from streaming_lab.cluster.topic_cli import main

if __name__ == "__main__":
    raise SystemExit(run(main))
