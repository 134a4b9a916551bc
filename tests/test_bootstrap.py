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

from streaming_lab.report.jupyterlab import KERNEL

PROJECT = Path(__file__).resolve().parent.parent


FIRST = ("bootstrap", "environment", "set_up", "pythons", "requirements_lock")  # run before there is an environment
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
    for name in (*(f"scripts/{name}.py" for name in FIRST), "requirements.txt", "requirements-check.txt"):
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
    """An executable that runs `answer`: prints a version as a Python does, or fails as an empty shim does."""
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
    monkeypatch.setattr(bootstrap.set_up.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        bootstrap.set_up.make()
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
    before = bootstrap.fingerprint(bootstrap.BUILT_FROM)
    (tmp_path / "requirements.txt").write_text("a==2\n")
    assert bootstrap.fingerprint(bootstrap.BUILT_FROM) != before


LISTS = {"requirements.in": "requirements.txt", "requirements-check.in": "requirements-check.txt"}


def direct(name: str) -> list[str]:
    """The lines of a list that name a dependency."""
    return [line for line in (PROJECT / name).read_text().splitlines() if line and line[0] not in "#-"]


@pytest.mark.parametrize("name", LISTS)
def test_every_dependency_carries_its_reason(name: str) -> None:
    """A reason behind each name."""
    assert [line for line in direct(name) if not re.fullmatch(r"\S+\s+# \S.*", line)] == []


@pytest.mark.parametrize(("name", "compiled"), LISTS.items())
def test_the_lock_holds_every_direct_dependency_with_hashes(bootstrap: ModuleType, name: str, compiled: str) -> None:
    """Each lock is compiled from its list; each entry is hashed."""
    lock = bootstrap.requirements_lock
    text = (PROJECT / compiled).read_text()
    assert f" {name} -o {compiled}\n" in text
    names = {lock.plain(re.match(r"[A-Za-z0-9._-]+", line).group(0)) for line in direct(name)}  # type: ignore[union-attr]
    locked = list(lock.locked(str(PROJECT / compiled)))
    assert names - {name for name, _, _ in locked} == set()
    entries = re.findall(r"^[A-Za-z0-9._-]+(?:\[.*?\])?==.*\n(?:    .*\n)*", text, re.MULTILINE)
    assert len(entries) == len(locked)
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_two_locks_agree(bootstrap: ModuleType) -> None:
    """A package of both has one version in both, and no direct dependency of the checks is one of a run's."""
    lock = bootstrap.requirements_lock
    run, check = ({name: (version, marker) for name, version, marker in lock.locked(path)} for path in both(lock))
    common = run.keys() & check.keys()
    assert {"packaging", "pygments"} <= common
    assert {name: run[name][0] for name in common} == {name: check[name][0] for name in common}
    assert {line.split()[0] for line in direct("requirements.in")} & {
        line.split()[0] for line in direct("requirements-check.in")
    } == set()


def both(lock: ModuleType) -> list[str]:
    return [lock.FILE, lock.CHECK_FILE]


def test_a_run_imports_no_tool_of_the_checks() -> None:
    """Nothing in app/, the notebooks or the scripts but test.py needs requirements-check.txt.

    `cluster.py start --secure` alone makes certificates with one, and says how to add it.
    """
    tools = {re.split(r"[\[>= ]", line)[0].replace("-", "_") for line in direct("requirements-check.in")}
    tools.remove("cryptography")
    tools -= {line.split()[0] for line in direct("requirements-scale.in")}  # `-p engine dask` adds that for a run
    sources = [*(PROJECT / "app").rglob("*.py"), *(PROJECT / "scripts").rglob("*.py")]
    sources.remove(PROJECT / "app" / "own_game" / "pytest_plugin.py")  # pytest itself imports it
    imported = re.compile(rf"^\s*(?:import|from) ({'|'.join(sorted(tools))}|axe_playwright_python)\b", re.MULTILINE)
    assert len(sources) > 100
    assert [path for path in sources if imported.search(path.read_text(encoding="utf8"))] == []


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


def broken(folder: Path) -> Path:
    """A folder with files that hide libraries, Python's own among them, and fail."""
    folder.mkdir()
    for name in ("requests", "kafka", "select", "subprocess", "contextlib", "hashlib"):
        (folder / f"{name}.py").write_text("raise RuntimeError('this file hides a library')")
    return folder


def test_a_pythonpath_of_ones_own_hides_no_library(tmp_path: Path) -> None:
    """One line names it; the script and the programs that it starts run without it."""
    body = "import os, subprocess, requests, kafka; print(requests.get.__name__, os.environ['PYTHONPATH'][-3:])"
    ran = call(script(tmp_path, body), PYTHONPATH=f"{broken(tmp_path / 'mine')}{os.pathsep}")
    assert (ran.stdout, ran.returncode) == ("get src\n", 0)
    assert ran.stderr.splitlines()[0] == (
        f"PYTHONPATH is not used here, since a file there could hide a library: {tmp_path / 'mine'}"
    )


def test_the_folder_of_the_command_hides_no_library(tmp_path: Path) -> None:
    """Files of one's own where the command is typed have no effect."""
    path = script(tmp_path, "import requests, kafka; print(requests.get.__name__)")
    ran = subprocess.run([sys.executable, path], cwd=broken(tmp_path / "mine"), capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("get\n", 0)


def test_the_set_up_has_its_own_settings(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of what a person sets for pip, uv and Python only the way to the network stays."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "PYTHON"))]:
        monkeypatch.delenv(name)
    mine = {"PIP_USER": "1", "PIP_TARGET": "/t", "PIP_PREFIX": "/t", "PIP_REQUIRE_VIRTUALENV": "1", "UV_TARGET": "/t"}
    mine |= {"PYTHONPATH": "/t", "PYTHONHOME": "/t", "UV_SYSTEM_PYTHON": "1", "VIRTUAL_ENV": "/t"}
    network = {
        "PIP_INDEX_URL": "https://a/simple",
        "PIP_PROXY": "http://p:1",
        "UV_OFFLINE": "1",
        "HTTPS_PROXY": "http://p",
    }
    for name, value in {**mine, **network}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        bootstrap.set_up, "pip_settings", lambda: {"user": "true", "cert": "/c", "index-url": "https://a"}
    )
    found = bootstrap.set_up.uv_environment()
    assert set(mine) & set(found) == set()
    assert network.items() <= found.items()
    assert (found["PIP_CONFIG_FILE"], found["UV_DEFAULT_INDEX"], found["SSL_CERT_FILE"]) == (
        os.devnull,
        "https://a",
        os.environ.get("SSL_CERT_FILE", "/c"),
    )


@pytest.mark.slow
def test_of_a_persons_uv_toml_only_the_way_to_an_index_stays(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A target or a date there would change what is installed; a mirror there is the way out."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text(
        'exclude-newer = "2020-01-01"\nnative-tls = true\nallow-insecure-host = ["a:1", "b"]\n'
        '[[index]]\nurl = "https://a/simple"\ndefault = true\n[[index]]\nurl = "https://b/simple"\n'
        '[pip]\ntarget = "/t"\nfind-links = ["/w", "/x"]\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(bootstrap.set_up, "pip_settings", dict)
    found = bootstrap.set_up.uv_environment()
    assert {name: value for name, value in found.items() if name.startswith("UV_") and name != "UV_CACHE_DIR"} == {
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": "https://a/simple",
        "UV_INDEX": "https://b/simple",
        "UV_NATIVE_TLS": "1",
        "UV_INSECURE_HOST": "a:1 b",
        "UV_FIND_LINKS": "/w,/x",
    }


def test_the_environments_kernel_is_that_of_jupyterlab(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Bare papermill runs it: nothing in the folder where it is typed hides a library."""
    path = tmp_path / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"argv": ["python", "-m", "ipykernel_launcher"], "language": "python"}')
    monkeypatch.setattr(bootstrap, "VENV", str(tmp_path))
    bootstrap.isolate_kernel()
    assert json.loads(path.read_text()) == {"argv": ["python", *KERNEL["argv"][1:]], "language": "python"}


@pytest.mark.slow
def test_pip_puts_uv_where_the_set_up_wants_it(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever a person has told pip about users, targets and environments, in variables or in a file."""
    (tmp_path / "pip.conf").write_text("[install]\nuser = true\ntarget = /nowhere\n[global]\nprefer-binary = true\n")
    for name, value in {
        "PIP_USER": "1",
        "PIP_TARGET": str(tmp_path / "t"),
        "PYTHONPATH": str(broken(tmp_path / "m")),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert bootstrap.set_up.pip_settings(sys.executable)["target"] in (str(tmp_path / "t"), "/nowhere")
    with bootstrap.set_up.locked_uv(sys.executable) as uv:
        version = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.split()[1] == next(v for name, v, _ in bootstrap.requirements_lock.locked() if name == "uv")
    assert not (tmp_path / "t").exists()


def test_an_unwritable_home_gives_uv_a_cache_in_the_project(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """uv's own place where it can be written; else the lab's cache."""
    for name in ("UV_CACHE_DIR", "XDG_CACHE_HOME", "LAB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(bootstrap.set_up, "pip_settings", dict)
    monkeypatch.setattr(bootstrap.set_up, "PROJECT", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    assert "UV_CACHE_DIR" not in bootstrap.set_up.uv_environment()
    (tmp_path / "home").touch()
    assert bootstrap.set_up.uv_environment()["UV_CACHE_DIR"] == str(tmp_path / ".lab" / "cache" / "uv")


def test_a_read_only_checkout_without_an_environment_is_one_error(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The problem and the cure, exit code 2."""
    monkeypatch.setattr(bootstrap, "PROJECT", str(tmp_path / "missing"))
    with pytest.raises(SystemExit, match="2"), bootstrap.one_at_a_time():
        pass
    problem, cure = capsys.readouterr().err.splitlines()
    assert problem.endswith("has no complete environment, and none can be made there: No such file or directory.")
    assert (
        cure
        == "Copy the project to a folder of your own, or let its owner type there: python3 scripts/report.py --help"
    )


def test_a_log_says_how_much_of_how_much(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step's name at once, then uv's announcements as a line every few seconds."""
    monkeypatch.setattr(bootstrap.set_up, "REPORT_INTERVAL", 0.2)
    says = "echo ' Downloading a (10.0MiB)'; echo 'Downloading b (512.0KiB)'; echo ' Downloaded a'; sleep 1; echo end"
    bootstrap.set_up.step("download", ["/bin/sh", "-c", says], dict(os.environ), shown=True)
    assert re.match(r"  download\n(  \d s: asking .*\n)*  \d s: 10 of 10 MB have arrived\.\n", capsys.readouterr().err)


def test_files_that_no_run_reads_go(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And nothing else of these packages."""
    packages = tmp_path / "lib" / "python3.12" / "site-packages"
    gone = [
        "pandas/tests/a.py",
        "pyarrow/libarrow_flight.so.1",
        "babel/locale-data/sw_KE.dat",
        "pyarrow/libarrow_python.so",
    ]
    kept = ["pandas/core.py", "pyarrow/libarrow.so.1", "babel/locale-data/de_AT.dat", "pyarrow/libarrow_python.so.1"]
    for name in [*gone, *kept]:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).touch()
    monkeypatch.setattr(bootstrap.set_up, "VENV", str(tmp_path))
    bootstrap.set_up.remove_unused()
    assert sorted(path.relative_to(packages).as_posix() for path in packages.rglob("*") if path.is_file()) == sorted(
        kept
    )


def test_a_folder_with_a_colon_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """Python's venv cannot live there: two lines, exit code 2, and no file."""
    place = tmp_path / "a:b"
    place.mkdir()
    path = script(place)
    before = sorted(place.rglob("*"))
    run = call(path, "-B")
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 2)
    assert f"has a ':' in its path, which Python's environments cannot have: {place}" in run.stderr
    assert sorted(place.rglob("*")) == before


def test_workflows_name_whole_versions_of_actions() -> None:
    """No tag that moves: v1.2.3 or a commit."""
    used = [
        line.split("uses:")[1].split()[0]
        for path in sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert len(used) >= 8
    assert [one for one in used if not re.search(r"@(v\d+\.\d+\.\d+|[0-9a-f]{40})$", one)] == []


def test_the_image_needs_no_tool_of_the_checks() -> None:
    """The Dockerfile installs from requirements.in, and leaves out a part of it that is there."""
    dockerfile = (PROJECT / "compose" / "Dockerfile").read_text()
    left_out = re.findall(r"-e '/\^(# [^/]+)/,/\^\$/d'", dockerfile)
    text = (PROJECT / "requirements.in").read_text()
    assert left_out == ["# a Kafka without Docker"]
    assert all(f"\n{heading}" in text for heading in left_out)
    assert "requirements-check" not in dockerfile
