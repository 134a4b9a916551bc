"""The two commands work from a bare Python, and say clearly why when they can't."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parent.parent


FIRST = ("bootstrap", "environment", "pythons", "requirements_lock")  # what runs before there is an environment
OTHERS = sorted((Path.home() / ".pyenv" / "versions").glob("*/bin/python"))  # other Pythons of this machine, if any


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`environment.py` as a module of its own, so that a test may bend it; so are the modules that it imports."""
    monkeypatch.syspath_prepend(PROJECT / "scripts")
    for name in FIRST:
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("environment_under_test", PROJECT / "scripts" / "environment.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(tmp_path: Path, body: str = "print('ran')") -> Path:
    """A script beside a copy of the bootstrap, in an otherwise empty project."""
    (tmp_path / "scripts").mkdir()
    for name in (*(f"scripts/{name}.py" for name in FIRST), "requirements.txt"):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    path = tmp_path / "scripts" / "hello.py"
    path.write_text(f"import bootstrap\nbootstrap.enter()\n{body}\n")
    return path


def call(path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}
    return subprocess.run(
        [sys.executable, *options, str(path)], env={**own, **environment}, capture_output=True, text=True, timeout=60
    )


def version_of(python: Path) -> tuple[int, int]:
    """Major and minor version, from the folder that pyenv has put it into."""
    major, minor = map(int, python.parent.parent.name.split(".")[:2])
    return major, minor


def pretend(path: Path, answer: str) -> Path:
    """An executable that answers like a Python of that version, or fails like an empty shim."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine where no Python is to be found: no PATH, no pyenv, no uv, no home; and its home."""
    home = tmp_path / "home"
    for name, value in {"PATH": str(home / "bin"), "PYENV_ROOT": str(home / ".pyenv"), "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    return home


@pytest.mark.parametrize("name", FIRST)
def test_what_runs_first_is_read_by_an_old_python(name: str) -> None:
    """Python 3.8's grammar, and no module that came later."""
    ast.parse((PROJECT / "scripts" / f"{name}.py").read_text(encoding="utf8"), feature_version=(3, 8))


@pytest.mark.parametrize("python", OTHERS, ids=lambda path: path.parent.parent.name)
def test_every_other_python_helps_or_says_what_it_needs(tmp_path: Path, python: Path) -> None:
    """From 3.8 on the script runs, with a Python that is named; before it two lines and exit code 2."""
    path = script(tmp_path, "import sys; print(sys.version_info >= (3, 11))")
    path.write_text(path.read_text().replace("bootstrap.enter()", "bootstrap.bare()"))
    ran = subprocess.run([python, path], capture_output=True, text=True, timeout=60)
    if version_of(python) < (3, 8):
        assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (2, "", 2)
        assert "the lab needs 3.11 to 3.14." in ran.stderr.splitlines()[0]
    else:
        assert (ran.returncode, ran.stdout) == (0, "True\n")
        expected = (
            "" if version_of(python) >= (3, 11) else r"Python 3\.\d+ runs this .+; the lab needs .+, and takes .+\n"
        )
        assert re.fullmatch(expected, ran.stderr)


@pytest.mark.parametrize(
    "place", [".venv/bin/python", "home/bin/python3.12", ".lab/python/cpython-3.13.1-x/bin/python3", "pyenv", "uv"]
)
def test_a_fitting_python_is_found_wherever_it_is(
    bootstrap: ModuleType, nowhere: Path, tmp_path: Path, place: str
) -> None:
    """The project's .venv, the PATH, an earlier download, pyenv, and what uv knows."""
    place = {"pyenv": "home/.pyenv/versions/3.11.9/bin/python3", "uv": "home/of-uv/python3"}.get(place, place)
    there = pretend(tmp_path / place, "echo 3 12 1")
    if "of-uv" in place:
        pretend(nowhere / ".local" / "bin" / "uv", f"echo {there}")
    assert bootstrap.pythons.find(str(tmp_path)) == str(there)


def test_a_python_that_does_not_fit_is_passed_over(bootstrap: ModuleType, nowhere: Path, tmp_path: Path) -> None:
    """An empty shim, another version than it is called, one without venv: the next one is asked."""
    pretend(nowhere / "bin" / "python3.14", "exit 127")
    pretend(nowhere / "bin" / "python3.13", "echo 3 9 1")
    bare = pretend(nowhere / "bin" / "python3.12", "echo 3 12 0")
    assert bootstrap.pythons.find(str(tmp_path)) == str(bare)
    whole = pretend(nowhere / "bin" / "python3.11", "echo 3 11 1")
    assert bootstrap.pythons.find(str(tmp_path)) == str(whole)


def test_the_newest_version_is_the_first_to_be_asked(bootstrap: ModuleType) -> None:
    """By number and not by text; versions that the lock was not compiled for are not asked at all."""
    paths = [f"/v/{version}/bin/python3" for version in ("3.11.9", "3.11.10", "3.9.1", "3.15.0", "3.14.0")]
    assert bootstrap.pythons.newest_first(paths) == [paths[4], paths[1], paths[0]]


def test_without_any_python_uv_downloads_one(
    bootstrap: ModuleType, nowhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into the project's own folder, said before and after."""
    made = tmp_path / ".lab" / "python" / "cpython-3.13.9-linux" / "bin"
    bootstrap.PROJECT = str(tmp_path)
    install = f"[ $2 = python ] && [ $3 = install ] && /bin/mkdir -p {made} && /bin/cp $0 {made}/python3; echo 3 13 1"
    pretend(nowhere / ".local" / "bin" / "uv", install)
    assert bootstrap.another_python() == str(made / "python3")
    trying, taken = capsys.readouterr().err.splitlines()
    assert trying.endswith("None is here: trying to download Python 3.13 with uv.")
    assert taken.endswith(f"and takes {made / 'python3'}.")


def test_without_any_python_and_network_it_is_one_error(
    bootstrap: ModuleType, nowhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The problem and the cure, exit code 2."""
    bootstrap.PROJECT = str(tmp_path)
    pretend(nowhere / ".local" / "bin" / "uv", "exit 1")
    with pytest.raises(SystemExit, match="2"):
        bootstrap.another_python()
    _, problem, cure = capsys.readouterr().err.splitlines()
    assert problem.endswith("the lab needs 3.11 to 3.14, and none was found or could be downloaded.")
    assert cure.startswith("Install one (https://www.python.org/downloads/) and run it with that: python3.14 ")


def test_the_supported_versions_are_the_same_everywhere(bootstrap: ModuleType) -> None:
    """The search, the error for the oldest, pyproject.toml, the workflow and the README."""
    low, high = bootstrap.pythons.SUPPORTED
    versions = [f"3.{minor}" for minor in range(low[1], high[1] + 1)]
    assert f"needs {versions[0]} to {versions[-1]}." in (PROJECT / "scripts" / "bootstrap.py").read_text()
    assert f'">=3.{low[1]},<3.{high[1] + 1}"' in (PROJECT / "pyproject.toml").read_text()
    workflow = (PROJECT / ".github" / "workflows" / "lab.yml").read_text()
    assert f"python: {json.dumps(versions)}" in workflow
    assert f"Python {versions[0]} to {versions[-1]}" in (PROJECT / "README.md").read_text()
    assert f"--python-version {versions[0]} " in (PROJECT / "requirements.txt").read_text()


def test_what_an_older_checkout_built_goes(bootstrap: ModuleType, tmp_path: Path) -> None:
    """A moved package's folder and a native module without its source; what has a source stays."""
    gone = ["old/_columns.cpython-311.so", "old/__pycache__/a.pyc", "old/deep/__pycache__/b.pyc", "new/_old.abi3.so"]
    kept = ["new/a.py", "new/__pycache__/a.pyc", "new/_core.c", "new/_core.cpython-312.so", "page/page.css"]
    for name in [*gone, *kept]:
        (tmp_path / "app" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "app" / name).touch()
    bootstrap.PROJECT = str(tmp_path)
    bootstrap.remove_leftovers()
    left = [path.relative_to(tmp_path / "app").as_posix() for path in (tmp_path / "app").rglob("*") if path.is_file()]
    assert sorted(left) == sorted(kept)
    assert not (tmp_path / "app" / "old").exists()


def test_no_venv_module_is_named_with_the_cure(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian ships Python without venv: the error names the package."""
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        bootstrap.make()
    assert "apt install python3-venv" in capsys.readouterr().err


@pytest.mark.slow
def test_a_long_step_tells_how_much_is_there(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A first run is never silent: what it does, and the megabytes in .venv."""
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    monkeypatch.setattr(bootstrap, "VENV", str(tmp_path))
    monkeypatch.setattr(bootstrap, "BEAT", 0.05)
    bootstrap.step("download the lock's packages", [sys.executable, "-c", "import time; time.sleep(0.4)"])
    assert {*capsys.readouterr().err.splitlines()} == {"  download the lock's packages: 3 MB in .venv so far"}


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
