"""Packs the last report to be handed in, as build/submission.zip: python3 scripts/submit.py [--anyway]"""

import bootstrap

bootstrap.enter()

from streaming_lab.cli import run
from streaming_lab.handin.submit import main

if __name__ == "__main__":
    raise SystemExit(run(main))
