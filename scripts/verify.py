"""Checks what was handed in, without executing any of it: python3 scripts/verify.py [FOLDER | ZIP ...]"""

import bootstrap

bootstrap.enter()

from streaming_lab.cli import run
from streaming_lab.handin.verify_cli import main

if __name__ == "__main__":
    raise SystemExit(run(main))
