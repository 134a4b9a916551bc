"""JupyterLab on the chapters: python3 scripts/lab.py [--no-browser]"""

import bootstrap

bootstrap.enter()

from streaming_lab.cli import run
from streaming_lab.report.jupyterlab import main

raise SystemExit(run(main))
