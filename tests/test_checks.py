"""The command `scripts/test.py`: its tiers, and that nothing is left out without a word."""

import os
import re
import subprocess
import sys

import pytest

from streaming_lab.paths import PROJECT


def check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command on a machine that has no program beside Python."""
    bare = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    return subprocess.run(
        [sys.executable, "scripts/test.py", *arguments],
        cwd=PROJECT,
        env={**bare, "PATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_help_names_the_tiers() -> None:
    """Its own, not pytest's: each tier with what it runs and how long it takes."""
    said = check("--help").stdout
    assert re.findall(r"^python3 scripts/test.py (\w*)", said, re.MULTILINE) == ["quick", "", "long", ""]
    assert "--minutes MINUTES" in said
    assert re.search(r"two quiet cores: quick .*, all .* minutes", said)


@pytest.mark.slow
def test_what_a_missing_tool_leaves_out_is_named() -> None:
    """Its name and how many tests need it; the rest is green."""
    ran = check("tests/test_server.py", "-k", "ab_finds")
    assert (ran.returncode, ran.stdout.splitlines()[-2]) == (0, "not run: 2 that need ab")
    assert re.fullmatch(r"All checks passed in \d+ s, 2 not run", ran.stdout.splitlines()[-1])


@pytest.mark.slow
def test_in_ci_a_missing_tool_is_a_failure() -> None:
    """There is nothing that CI could do without."""
    ran = check("tests/test_server.py", "-k", "ab_finds", CI="true")
    assert ran.returncode == 1
    assert "Failed: needs ab" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("FAILED: pytest in ")
