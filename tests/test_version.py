"""One version: the project's file, the code, every script and every record agree."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import streaming_lab
from streaming_lab.paths import PROJECT
from streaming_lab.report import provenance

SCRIPTS = sorted(path for path in (PROJECT / "scripts").glob("*.py") if "import bootstrap\n" in path.read_text())


def test_the_project_and_the_code_have_the_same_version() -> None:
    """pyproject.toml and the package name the same version."""
    with (PROJECT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["version"] == streaming_lab.__version__


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_tells_it(script: Path) -> None:
    """`--version`: one line, exit code 0, and nothing is started."""
    ran = subprocess.run([sys.executable, script, "--version"], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, f"streaming-lab {streaming_lab.__version__}\n")


def test_run_json_tells_it() -> None:
    """The first of the record's versions is the lab's own."""
    assert next(iter(provenance.package_versions().items())) == ("streaming-lab", streaming_lab.__version__)
