"""The short run of the fuzzer, as part of every full check."""

import subprocess
import sys
from pathlib import Path

import pytest
from peers import needs_compiler

PROJECT = Path(__file__).parent.parent


@pytest.mark.slow
def test_short_fuzz() -> None:
    """A third of a minute of mutated batches under AddressSanitizer and UBSan: no crash, no hang, no wrong row."""
    needs_compiler()
    command = [sys.executable, "scripts/fuzz.py", "--minutes", "0.33"]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    assert "nothing found" in ran.stdout
