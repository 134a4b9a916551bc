"""Runs every check: ruff, mypy, pytest (real brokers, the full report).

python3 scripts/test.py                 all of it
python3 scripts/test.py -k ledger       pytest alone, with any of its options
"""

import subprocess
import sys
import time

import bootstrap

bootstrap.enter()

from app.cli import run

CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "pytest": ["pytest"],
}


def main(options: list[str]) -> int:
    """Run the checks in order, all of them whatever happens, and say which failed."""
    checks = {"pytest": ["pytest", *options]} if options else CHECKS
    failed = []
    for name, command in checks.items():
        start = time.monotonic()
        code = subprocess.run([sys.executable, "-m", *command], cwd=bootstrap.PROJECT, check=False).returncode
        print(f"{name}: {'passed' if code == 0 else 'FAILED'} in {time.monotonic() - start:.1f} s", flush=True)
        if code:
            failed.append(name)
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(run(lambda: main(sys.argv[1:])))
