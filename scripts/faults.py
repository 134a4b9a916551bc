"""Random fault schedules against the ways that promise to lose nothing; every broken promise is named.

python3 scripts/faults.py --schedules 200     the long run, about ten seconds each
python3 scripts/faults.py --seed 7            that schedule again, and only it
"""

import bootstrap

bootstrap.enter()

from streaming_lab.cli import run
from streaming_lab.faults.soak import main

if __name__ == "__main__":
    raise SystemExit(run(main))
