"""Topics of a running Kafka: the lab's own, or any other.

python3 scripts/topic.py read NAME [--from PLACE] [--to PLACE] [--format table|csv|json]   print the records of a range
python3 scripts/topic.py tail NAME [-n N] [--follow]                                       the last ones, and new ones
python3 scripts/topic.py describe NAME                                         leaders, replicas, offsets, settings
python3 scripts/topic.py lag NAME [--group G]                                  how far consumer groups are behind
python3 scripts/topic.py write NAME [FILE] [--key K] [--header NAME=VALUE]     a record for each line of a file or stdin
python3 scripts/topic.py create NAME [--partitions N] [--config KEY=VALUE]     make one
python3 scripts/topic.py list                                                  the names
"""

import bootstrap

bootstrap.enter()

from streaming_lab.cli import run
from streaming_lab.topic.command_line import main

if __name__ == "__main__":
    raise SystemExit(run(main))
