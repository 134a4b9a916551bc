"""Frees the disk of what the lab can make again: python3 scripts/clean.py [--all] [--yes]

It needs no environment, so that it can also remove one that is broken.
"""

import bootstrap

bootstrap.bare()

from app.clean import main
from app.cli import run

raise SystemExit(run(main))
