"""The short run of the fuzzer, as part of every full check."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


@pytest.mark.slow
def test_short_fuzz() -> None:
    """A third of a minute of mutated batches under AddressSanitizer and UBSan: no crash, no hang, no wrong row."""
    if not any(map(shutil.which, ("gcc", "clang", "cc"))):
        if os.environ.get("CI"):
            pytest.fail("CI has a C compiler, but none was found")
        pytest.skip("no C compiler here: the native core cannot be built with sanitizers")
    command = [sys.executable, "scripts/fuzz.py", "--minutes", "0.33"]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    assert "nothing found" in ran.stdout
