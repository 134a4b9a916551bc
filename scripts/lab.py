"""JupyterLab on the chapters: python3 scripts/lab.py [--no-browser]"""

import bootstrap

bootstrap.enter()

from app.cli import run
from app.report.lab import main

raise SystemExit(run(main))
