"""The settings by environment variables: one table, and no value or name is ignored in silence."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streaming_lab import cli, settings
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, SOURCE


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (settings.HOME, "/tmp", Path("/tmp")),
        (settings.GRACE, "0.5", 0.5),
        (settings.GRACE, "", 3.0),
        (settings.KEEP, "yes", True),
        (settings.KEEP, "0", False),
        (settings.KAFKA_HEAP, "512m", "512m"),
        (settings.CLUSTER, "kafka:29092", "kafka:29092"),
        (settings.COMPOSE_PROJECT, "my-lab", "my-lab"),
    ],
)
def test_a_setting_is_read_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, setting: settings.Setting[object], text: str, value: object
) -> None:
    """The value has the setting's type; an empty text counts as unset."""
    monkeypatch.setenv(setting.name, text)
    assert setting.get() == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("LAB_HOME", __file__, "is no folder"),
        ("LAB_BUILD", __file__, "is no folder"),
        ("LAB_CACHE", __file__, "is no folder"),
        ("LAB_GRACE", "-1", "is no number of seconds"),
        ("LAB_KEEP", "perhaps", "is neither 1 nor 0"),
        ("LAB_KAFKA_HEAP", "big", "is no size of a heap"),
        ("LAB_COMPOSE_PROJECT", "My Lab", "is no project name for Docker Compose (small letters, digits, - and _)"),
    ],
)
def test_a_bad_value_is_two_lines_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, text: str, said: str
) -> None:
    """The variable, its value, what it may be; before the command has begun."""
    monkeypatch.setenv(name, text)
    assert cli.run(lambda: pytest.fail("the command began")) == 2
    problem, cure = capsys.readouterr().err.splitlines()
    assert problem == f"{name}={text} {said}"
    assert cure.startswith(f"Unset {name}, or set it to ")


def test_an_unknown_variable_is_named_with_what_it_might_have_meant() -> None:
    """A near name is told its setting, another name all of them; the lab's internal variables are known."""
    near, far = settings.complaints(
        {"LAB_KAFKA_HAEP": "1", "LAB_XYZ": "1", "LAB_SAID": "1", "LAB_HOME": "a", "LAB": "1"}
    )
    assert near == "LAB_KAFKA_HAEP is no setting of the lab and does nothing; did you mean LAB_KAFKA_HEAP?"
    assert far.startswith("LAB_XYZ is no setting of the lab and does nothing; the settings are LAB_HOME, LAB_BUILD,")


def test_a_command_names_it_once_and_goes_on() -> None:
    """A warning on stderr, also where one script starts another; the exit code is the command's own."""
    program = "import subprocess, sys; from streaming_lab.cli import run; "
    inner = program + "sys.exit(run(lambda: 0))"
    outer = program + f"sys.exit(run(lambda: subprocess.call([sys.executable, '-c', {inner!r}])))"
    environment = {**os.environ, "LAB_GRACES": "1", "PYTHONPATH": str(SOURCE)}
    environment.pop(settings.WARNED, None)
    ran = subprocess.run([sys.executable, "-c", outer], env=environment, capture_output=True, text=True, timeout=60)
    said = "LAB_GRACES is no setting of the lab and does nothing; did you mean LAB_GRACE?\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", said)


@pytest.mark.parametrize("script", ["report", "cluster", "lab"])
def test_help_lists_every_setting(script: str) -> None:
    """Name, meaning and default, a line each."""
    ran = subprocess.run(
        [sys.executable, f"scripts/{script}.py", "--help"], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.endswith(f"\n\n{settings.help_text()}\n")
    listed = re.findall(r"^  (LAB_\w+) +\S.* \(default: .+\)$", ran.stdout, re.MULTILINE)
    assert listed == [setting.name for setting in settings.SETTINGS]


def test_no_other_module_reads_a_setting() -> None:
    """Every LAB_ variable that the code touches is in the table of settings or of internal ones."""
    known = {setting.name for setting in settings.SETTINGS} | set(settings.INTERNAL)
    for path in sorted((PROJECT / "app").rglob("*.py")):
        source = path.read_text(encoding="utf8")
        assert set(re.findall(r"\bLAB_[A-Z_]+\b", source)) <= known, path
        assert path.name == "settings.py" or not re.search(r"environ(\.get)?[\[(]\"LAB_", source), path


def test_a_missing_folder_is_one_that_can_be_made(tmp_path: Path) -> None:
    """The lab makes its own folders; only something else at that place is refused."""
    assert settings.folder(str(tmp_path / "new")) == tmp_path / "new"
    with pytest.raises(ValueError, match="no folder"):
        settings.folder(__file__)


def test_a_bad_value_is_refused_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that runs on its own gets the same error."""
    monkeypatch.setenv("LAB_KEEP", "perhaps")
    with pytest.raises(LabError, match="LAB_KEEP=perhaps is neither 1 nor 0"):
        settings.KEEP.get()
