"""The report, from nothing: python3 scripts/report.py [03 ...] [-p requests 5000]"""

import bootstrap

bootstrap.enter()

from streaming_lab.cli import run
from streaming_lab.report.cli import main

raise SystemExit(run(main))
