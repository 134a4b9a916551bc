"""Makes the project's `.venv` from the locks and says what it does, with nothing but Python 3.8's standard library.

pip installs the locked uv into a temporary folder; uv installs the rest and checks every hash. A person's settings for
pip, uv and Python reach the set-up only where they name the network: an index, a proxy, a certificate, a cache.
"""

import ast
import contextlib
import glob
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import requirements_lock

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(PROJECT, ".venv")
REPORT_INTERVAL = 3.0  # seconds between two lines of progress in a log
RUN_SIZES = "200 MB to download, 0.6 GB on disk"  # measured on Linux x86-64; docs/settings.md says how
CHECK_SIZES = "90 MB to download, 0.3 GB on disk"

CURE = (
    "Check the network (a proxy: HTTPS_PROXY; another index: PIP_INDEX_URL) and the room on the disk, and run the same "
    "command again; python3 scripts/doctor.py tells what stands in the way."
)
NETWORK = re.compile(  # the settings of pip and uv that stay: the way to an index, not where packages go
    r"(PIP|UV)_(.*INDEX.*|FIND_LINKS|OFFLINE|CERT|CLIENT_CERT|PROXY|TRUSTED_HOST|INSECURE_HOST|TIMEOUT|DEFAULT_TIMEOUT"
    r"|RETRIES|CACHE_DIR|NO_CACHE|NO_CACHE_DIR|NATIVE_TLS|SYSTEM_CERTS|HTTP_.*|KEYRING_PROVIDER|CONCURRENT_.*"
    r"|LINK_MODE|DISABLE_PIP_VERSION_CHECK)$"
)
FOR_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
RENAMED = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "allow-insecure-host": "UV_INSECURE_HOST"}

UNUSED = (  # files of the packages that no run reads, below site-packages: 200 MB
    "pyarrow/*_flight*",  # Arrow's network protocol
    "pyarrow/*_s3*",  # Amazon's storage
    "pyarrow/include",
    "pyarrow/includes",
    "pyarrow/src",
    "pyarrow/*.px[di]",
    "pyarrow/*.pyx",
    "pyarrow/libarrow_python*.so",  # second and third copies of libarrow_python*.so.N, which is the one that is loaded
    "pyarrow/libarrow_python*.so.*.*.*",
    "pyarrow/tests",
    "pandas/tests",
    "numpy/tests",
    "numpy/*/tests",
    "pip/**/__pycache__",  # the set-up's own byte code: whoever uses pip gets it back
    "setuptools/**/__pycache__",
    "zstandard/_cffi*",  # the other of two backends
    "jedi/third_party/typeshed/stubs",  # completion for libraries that are not here
    "jedi/third_party/django-stubs",
    "debugpy/_vendored/pydevd/*/*.c",
    "debugpy/_vendored/pydevd/pydevd_attach_to_process",  # debugging of processes that run already
    "jupyterlab/static",  # equal to share/jupyter/lab/static, which is served
    "jupyterlab/galata",  # JupyterLab's tests
    "widgetsnbextension/static",  # for the notebook server before JupyterLab
    "../../../share/jupyter/nbextensions",
    "../../../share/jupyter/lab/static/*.map",
)
LANGUAGES = re.compile(  # those that JupyterLab has been translated into, of the hundreds that babel knows
    "(root|en|ar|ca|cs|da|de|el|es|et|fi|fr|he|hu|hy|id|it|ja|ko|lt|nb|nl|nn|no|pl|pt|ro|ru|si|tr|uk|vi|zh)[_.]"
)


def make():
    """Make or renew `.venv` from requirements.txt."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        stop(
            f"This Python ({sys.executable}) has no venv module, so the lab can't make its environment.",
            "Install it (Debian and Ubuntu: sudo apt install python3-venv) and run the same command again.",
        )
    if works():
        say("Renewing .venv.")
    else:
        count = sum(1 for _ in requirements_lock.locked())
        say(f"Setting up .venv from requirements.txt, once: {count} packages, {RUN_SIZES}.")
        command = [sys.executable, "-I", "-m", "venv", "--clear", VENV]
        step("make a virtual environment in .venv", command, quiet_environment())
    with locked_uv() as uv, requirements_lock.without_uv() as lock:
        command = [uv, "pip", "sync", "--python", python(), lock]
        step("download the lock's packages", command, uv_environment(), shown=True)
        command = [uv, "--quiet", "pip", "uninstall", "--python", python(), "uv"]  # an older checkout put it there
        step("take uv out of .venv", command, uv_environment())
    add_project()
    remove_unused()


def add_project():
    """Make the project importable in `.venv`, and build its native core: without a network."""
    command = [python(), "-I", "-m", "pip", "--quiet", "install", "--no-index", "--no-deps", "--no-build-isolation"]
    step("add the project", [*command, "-e", PROJECT], quiet_environment())


def add_checks():
    """Add what requirements-check.txt names to a complete `.venv`."""
    add_lock(requirements_lock.CHECK_FILE, "the tools of the checks", f": {CHECK_SIZES}")


def add_scale():
    """Add what requirements-scale.txt names to a complete `.venv`."""
    add_lock(requirements_lock.SCALE_FILE, "Dask", "")


def add_lock(file, what, sizes):
    """Add what a further lock names to a complete `.venv`."""
    say(f"Adding {what} from {os.path.basename(file)}, once{sizes}.")
    with locked_uv() as uv:
        command = [uv, "pip", "install", "--python", python(), "--require-hashes", "-r", file]
        step(f"download {what}", command, uv_environment(), shown=True)


def works():
    """Tell whether `.venv` has a Python of this version: then the set-up need not start over."""
    program = f"import sys, pip; raise SystemExit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    try:
        return subprocess.run([python(), "-Ic", program], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


@contextlib.contextmanager
def locked_uv(program=None):
    """Yield the path of the lock's own uv, in a temporary folder: no run needs its 40 MB."""
    with tempfile.TemporaryDirectory() as folder, requirements_lock.uv_alone() as requirement:
        command = [program or python(), "-I", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        command += ["--require-hashes", "--target", folder, "-r", requirement]
        step("download uv", command, quiet_environment(pip_settings(program)))
        yield os.path.join(folder, "bin", "uv")


def quiet_environment(settings=()):
    """Return the environment without what the person has set for pip, uv and Python, but the way to the network."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "CONDA_")) or NETWORK.match(name)
    }
    kept.update(PYTHONUTF8="1", PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
    for name, value in dict(settings).items():
        variable = "PIP_" + name.upper().replace("-", "_")
        if NETWORK.match(variable):
            kept[variable] = value
    return kept


def pip_settings(program=None):
    """Return what pip's files and variables set, name -> value: pip alone knows where its files are."""
    command = [program or python(), "-I", "-m", "pip", "config", "list"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    found = re.findall(r"^[^=]*?\.([a-z-]+)=(['\"].*)$", answer.stdout, re.MULTILINE)
    return {name: ast.literal_eval(value) for name, value in found}


def uv_environment():
    """Return the environment for uv: its and pip's indexes as variables (one that is set wins), and a cache."""
    environment, settings = quiet_environment(), pip_settings()
    for name, value in uv_settings().items():
        environment.setdefault(name, value)
    environment["UV_NO_CONFIG"] = "1"
    for name, variable in FOR_UV.items():
        value = (places if name == "find-links" else str.strip)(settings.get(name, ""))
        if value:
            environment.setdefault(variable, value)
    if "UV_CACHE_DIR" not in environment and not writable(cache_of_uv()):
        cache = os.environ.get("LAB_CACHE") or os.path.join(PROJECT, ".lab", "cache")
        environment["UV_CACHE_DIR"] = os.path.join(cache, "uv")
    return environment


def uv_settings():
    """Return the way to an index that a person's uv.toml names, as uv's variables; the rest of it is not used."""
    import tomllib  # not there before Python 3.11, which runs the set-up

    found = {}
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    for folder in ("/etc/uv", "/etc/xdg/uv", os.path.join(home, "uv")):
        try:
            with open(os.path.join(folder, "uv.toml"), "rb") as file:
                data = tomllib.load(file)
        except (OSError, ValueError):
            continue
        data = {**data.pop("pip", {}), **data}
        for one in data.pop("index", ()):
            data["index-url" if one.get("default") else "extra-index-url"] = one.get("url")
        for name, value in data.items():
            variable = RENAMED.get(name, "UV_" + name.upper().replace("-", "_"))
            if NETWORK.match(variable) and value is not False:
                values = value if isinstance(value, list) else [int(value) if value is True else value]
                found[variable] = ("," if name == "find-links" else " ").join(map(str, values))
    return found


def places(text):
    """Return pip's places to find wheels as uv's: commas between them, without folders that do not exist."""
    return ",".join(place for place in text.split() if "://" in place or os.path.exists(place))


def cache_of_uv():
    """Return the folder of uv's cache where nobody sets another one."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "uv")


def writable(folder):
    """Tell whether files can be made in a folder; a missing folder counts as the nearest one that exists above it."""
    while not os.path.isdir(folder):
        if os.path.lexists(folder) or folder == os.path.dirname(folder):
            return False
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK | os.X_OK)


def remove_unused():
    """Remove the files of the packages that no run reads."""
    for folder in glob.glob(os.path.join(glob.escape(VENV), "lib", "python3*", "site-packages")):
        for pattern in UNUSED:
            for path in glob.glob(os.path.join(glob.escape(folder), *pattern.split("/")), recursive=True):
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else remove(path)
        for path in glob.glob(os.path.join(glob.escape(folder), "babel", "locale-data", "*.dat")):
            if not LANGUAGES.match(os.path.basename(path)):
                remove(path)


def step(what, command, environment, shown=False):
    """Name and run one step of the set-up, with its progress if `shown`; on failure stop with its last lines."""
    say("  " + what)
    terminal = shown and sys.stderr.isatty()
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=None if terminal else subprocess.STDOUT,  # uv draws its own bars on a terminal
        stdin=subprocess.DEVNULL,
        universal_newlines=True,
    ) as process:
        progress = Progress(shown and not terminal)
        try:
            lines = [progress.read(line) for line in process.stdout]
        finally:
            progress.end()
    if process.returncode:
        last = " / ".join([line for line in lines if line.strip()][-4:])
        stop(
            "Could not {}: {}".format(what, last or f"exit code {process.returncode}"),
            CURE,
        )


class Progress:
    """What uv writes into a log, as a line every few seconds that says how much of how much has arrived."""

    def __init__(self, shown):
        self._sizes = {}
        self._done = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)
        self._began = time.monotonic()
        if shown:
            self._thread.start()

    def read(self, line):
        """Note a line of uv's output, and return the line without its end."""
        announced = re.match(r"\s*Downloading (\S+) \(([\d.]+)(KiB|MiB|GiB)\)", line)
        if announced:
            factor = {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[announced.group(3)]
            self._sizes[announced.group(1)] = float(announced.group(2)) * factor
        arrived = re.match(r"\s*Downloaded (\S+)", line)
        if arrived:
            self._done += self._sizes.get(arrived.group(1), 0.0)
        return line.rstrip()

    def end(self):
        """Write no more lines."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _report(self):
        while not self._ended.wait(REPORT_INTERVAL):
            known = sum(list(self._sizes.values()))
            seconds = time.monotonic() - self._began
            arrived = f"{self._done:.0f} of {known:.0f} MB have arrived" if known else "asking the index for files"
            say(f"  {seconds:.0f} s: {arrived}.")


def python():
    """Return the path of the Python in `.venv`."""
    return os.path.join(VENV, "bin", "python")


def remove(path):
    """Remove a file if it is there and can be removed."""
    with contextlib.suppress(OSError):
        os.remove(path)


def say(text):
    """Print a line for the person, beside what a script prints for programs."""
    print(text, file=sys.stderr, flush=True)


def stop(problem, cure):
    """End the script with two lines and exit code 2."""
    say(problem)
    say(cure)
    raise SystemExit(2)
