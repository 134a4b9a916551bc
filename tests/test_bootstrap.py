"""The two commands work from a bare Python, and say clearly why when they can't."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The bootstrap as a module of its own, so that a test may bend it; `requirements_lock` is its own, too."""
    monkeypatch.syspath_prepend(PROJECT / "scripts")
    monkeypatch.delitem(sys.modules, "requirements_lock", raising=False)
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", PROJECT / "scripts" / "bootstrap.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(tmp_path: Path, body: str = "print('ran')") -> Path:
    """A script beside a copy of the bootstrap, in an otherwise empty project."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/bootstrap.py", "scripts/requirements_lock.py", "requirements.txt"):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    path = tmp_path / "scripts" / "hello.py"
    path.write_text(f"import bootstrap\nbootstrap.enter()\n{body}\n")
    return path


def call(path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}
    return subprocess.run(
        [sys.executable, *options, str(path)], env={**own, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("version", [(3, 10), (3, 14), (2, 7)])
def test_a_wrong_python_is_named_with_the_cure(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str], version: tuple[int, int]
) -> None:
    """Another Python version than the lock's is one clear error, exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        bootstrap.check_python(version)
    said = capsys.readouterr().err
    assert f"Python {version[0]}.{version[1]} runs this" in said
    assert "3.11 to 3.13" in said
    assert "python3.13" in said


def test_no_venv_module_is_named_with_the_cure(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian ships Python without venv: the error names the package."""
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        bootstrap.make()
    assert "apt install python3-venv" in capsys.readouterr().err


@pytest.mark.slow
def test_no_network_is_one_error_and_leaves_no_stamp(tmp_path: Path) -> None:
    """Without a registry the set-up stops with exit code 2, the step and the cure, and a later run starts over."""
    bare = Path(sys.base_prefix) / "bin" / "python3"
    path = script(tmp_path)
    nowhere = "http://127.0.0.1:9/simple"
    own = {k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "PIP_", "UV_"))}
    own |= {"PIP_INDEX_URL": nowhere, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull}
    ran = subprocess.run([bare, path], env=own, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "Could not download uv" in ran.stderr
    assert "Check the network" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / ".venv" / "lab-stamp").exists()


def test_an_environment_that_holds_the_lock_is_used_as_it_is(tmp_path: Path) -> None:
    """In a ready environment (this one) a script runs at once, makes no .venv, and says which it took."""
    ran = call(script(tmp_path, "import sys; print(sys.prefix)"))
    assert (ran.stdout, ran.returncode) == (f"{sys.prefix}\n", 0)
    assert ran.stderr == f"Environment: the running one, {sys.prefix}\n"
    assert not (tmp_path / ".venv").exists()


def test_one_other_version_is_not_the_lock(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single package of another version, or missing, and the running environment does not qualify."""
    lock = bootstrap.requirements_lock
    found = lock.installed()
    assert lock.held()
    monkeypatch.setattr(lock, "installed", lambda: {**found, "pandas": "3.0.0"})
    assert not lock.held()
    monkeypatch.setattr(lock, "installed", lambda: {k: v for k, v in found.items() if k != "pandas"})
    assert not lock.held()


def test_the_check_takes_less_than_a_third_of_a_second(bootstrap: ModuleType) -> None:
    """What each command pays for a ready environment, measured on the processor's clock."""
    start = time.process_time()
    assert bootstrap.requirements_lock.held()
    assert time.process_time() - start < 0.3


def test_the_stamp_changes_with_the_lock(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pulled lock renews the .venv."""
    monkeypatch.setattr(bootstrap, "PROJECT", str(tmp_path))
    (tmp_path / "requirements.txt").write_text("a==1\n")
    before = bootstrap.fingerprint()
    (tmp_path / "requirements.txt").write_text("a==2\n")
    assert bootstrap.fingerprint() != before


def test_every_dependency_carries_its_reason() -> None:
    """requirements.in: a reason behind each name."""
    lines = [line for line in (PROJECT / "requirements.in").read_text().splitlines() if line and line[0] != "#"]
    assert [line for line in lines if not re.fullmatch(r"\S+\s+# \S.*", line)] == []


def test_the_lock_holds_every_direct_dependency_with_hashes(bootstrap: ModuleType) -> None:
    """requirements.txt is compiled from requirements.in; each entry is hashed."""
    lock = bootstrap.requirements_lock
    text = (PROJECT / "requirements.txt").read_text()
    lines = [line for line in (PROJECT / "requirements.in").read_text().splitlines() if line and line[0] != "#"]
    names = {lock.plain(re.match(r"[A-Za-z0-9._-]+", line).group(0)) for line in lines}  # type: ignore[union-attr]
    assert names - {name for name, _, _ in lock.locked()} == set()
    entries = re.findall(r"^[A-Za-z0-9._-]+(?:\[.*?\])?==.*\n(?:    .*\n)*", text, re.MULTILINE)
    assert len(entries) == len(list(lock.locked()))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_conda_users_get_python_and_the_same_lock() -> None:
    """environment.yml: a supported Python, pip, and the lock; nothing else."""
    lines = [line for line in (PROJECT / "environment.yml").read_text().splitlines() if not line.startswith("#")]
    assert lines == [
        "name: streaming-lab",
        "channels: [conda-forge]",
        "dependencies:",
        "  - python=3.12",
        "  - pip",
        "  - pip:",
        "      - -r requirements.txt",
    ]
