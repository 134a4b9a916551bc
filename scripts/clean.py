"""Frees the disk of what the lab can make again: python3 scripts/clean.py [--all] [--yes]

The script needs no environment, and can also remove one that is broken.
"""

import bootstrap

bootstrap.bare()

from streaming_lab.clean import main
from streaming_lab.cli import run

raise SystemExit(run(main))
