"""The report, from nothing: python3 scripts/report.py [03 ...] [-p requests 5000]"""

import bootstrap

bootstrap.enter()

from app.cli import run
from app.report.cli import main

raise SystemExit(run(main))
