"""Tells what stands in the lab's way on this machine, why it matters, and what cures it.

python3 scripts/doctor.py                           the machine, the installation, clusters, containers, the network
python3 scripts/doctor.py --cluster host:port       and brokers: reachable, and do they send clients where none can go?
python3 scripts/doctor.py old/docker-compose.yml    and the compose file of an old course, line by line
python3 scripts/doctor.py --json                    for programs

Exit code: 0 nothing found, 1 warnings, 2 something stands in the way. Runs before there is an environment, too.
"""

import bootstrap

bootstrap.enter_if_there()

from streaming_lab.cli import run
from streaming_lab.doctor.command_line import main

if __name__ == "__main__":
    raise SystemExit(run(main))
