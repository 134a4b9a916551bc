"""The fuzzer: a short run in every full check, a long one in the long check."""

import subprocess
import sys
from pathlib import Path

import pytest
from peers import needs_compiler

PROJECT = Path(__file__).parent.parent


@pytest.mark.slow
def test_fuzz(minutes: float) -> None:
    """Mutated batches under AddressSanitizer and UBSan, for 3 s or as long as asked: no crash, hang or wrong row."""
    needs_compiler()
    command = [sys.executable, "scripts/fuzz.py", "--minutes", str(minutes or 0.05)]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    assert "nothing found" in ran.stdout
