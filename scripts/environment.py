"""The environment that a script needs, found or made with nothing but the standard library of Python 3.8 and later.

A script begins with `import bootstrap; bootstrap.enter()`. What follows runs where the lock's versions are installed:
in the running environment if it has them all (conda, an activated venv; it is never changed), else in the project's own
`.venv`, which the first run makes from `requirements.txt` and a change of the lock or of the native source renews. A
Python that the lock was not compiled for looks for one that it was compiled for, and runs the script with that.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys

import pythons
import requirements_lock

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(PROJECT, ".venv")
STAMP = os.path.join(VENV, "lab-stamp")
SOURCE = os.path.join(PROJECT, "src")
PACKAGE = os.path.join(SOURCE, "streaming_lab")  # a link to app/: the package's name, and the folder's
NATIVE_SOURCE = "app/reader/decode/_columns.c"
BUILT_FROM = ("requirements.txt", "pyproject.toml", "setup.py", NATIVE_SOURCE)
BEAT = 5  # seconds between two lines while a step of the set-up runs
PRODUCTS = (".pyc", ".so", ".pyd")


def enter():
    """Return inside an environment that holds the lock; anywhere else run the calling script in one."""
    bare()
    ours = os.path.realpath(sys.prefix) == os.path.realpath(VENV)
    if ours and fresh():
        return say_once("project's .venv")
    if not ours and requirements_lock.held():
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
        return say_once("running one, " + sys.prefix)
    if not fresh():
        with one_at_a_time():
            if not fresh():
                make()
    return run_with(python())


def bare():
    """Return on a supported Python, which then finds the project; on any other run the calling script with one."""
    os.environ.setdefault("PYTHONUTF8", "1")
    if not pythons.supported(sys.version_info[:2]):
        run_with(another_python())
    link_package()
    sys.path.insert(0, SOURCE)
    remove_leftovers()


def link_package():
    """Make src/streaming_lab the link that it is in git: some programs unpack an archive's links as small files."""
    if not os.path.isdir(PACKAGE):
        os.makedirs(SOURCE, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(PACKAGE)
        os.symlink(os.path.join("..", "app"), PACKAGE)


def another_python():
    """The path of a supported Python, said in one line; without one, stop with one clear error."""
    running = f"Python {sys.version_info[0]}.{sys.version_info[1]} runs this ({sys.executable}); the lab needs"
    path = pythons.find(PROJECT)
    if path is None:
        say(f"{running} {pythons.described()}. None is here: trying to download Python {pythons.FETCHED} with uv.")
        path = pythons.download(PROJECT)
    if path is None:
        command = f"python{pythons.NEWEST_FIRST[0]} {shlex.join(sys.argv)}"
        stop(
            f"{running} {pythons.described()}, and none was found or could be downloaded.",
            f"Install one (https://www.python.org/downloads/) and run it with that: {command}",
        )
    say(f"{running} {pythons.described()}, and takes {path}.")
    return path


def remove_leftovers():
    """Take away what an older checkout built: native modules without their source, folders with nothing but products.

    git leaves ignored files behind when it moves or removes a package, and such a folder could still be imported.
    """
    for folder, _, names in os.walk(os.path.join(PROJECT, "app"), topdown=False):
        for name in names:
            source = os.path.join(folder, name.split(".")[0] + ".c")
            if name.endswith(PRODUCTS[1:]) and not os.path.exists(source):
                remove(os.path.join(folder, name))
        left = [name for _, _, files in os.walk(folder) for name in files]
        if os.path.basename(folder) != "__pycache__" and all(name.endswith(PRODUCTS) for name in left):
            shutil.rmtree(folder, ignore_errors=True)


def remove(path):
    with contextlib.suppress(OSError):
        os.remove(path)


def fresh():
    """True if `.venv` was completed from exactly the files that are here now, by this Python version."""
    try:
        with open(STAMP, encoding="utf8") as file:
            return file.read() == fingerprint()
    except OSError:
        return False


def fingerprint():
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for name in BUILT_FROM:
        path = os.path.join(PROJECT, *name.split("/"))
        if os.path.exists(path):
            with open(path, "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()


def make():
    """Make `.venv` from the lock: pip brings the locked uv, uv brings the rest and checks every hash."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        stop(
            f"This Python ({sys.executable}) has no venv module, so the lab can't make its environment.",
            "Install it (Debian and Ubuntu: sudo apt install python3-venv) and run the same command again.",
        )
    begun = has_uv()
    say("Renewing .venv." if begun else "Setting up .venv from requirements.txt, once; this takes about half a minute.")
    remove(STAMP)
    if not begun:
        step("make a virtual environment in .venv", [sys.executable, "-m", "venv", "--clear", VENV])
        with requirements_lock.uv_alone() as requirement:
            pip = [python(), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes"]
            step("download uv", [*pip, "-r", requirement])
    uv = [python(), "-m", "uv", "--quiet", "pip"]
    index = pip_index()
    step("download the lock's packages", [*uv, "sync", "--python", python(), requirements_lock.FILE], index)
    step(
        "add the project",
        [*uv, "install", "--python", python(), "--no-deps", "--no-build-isolation", "-e", PROJECT],
        index,
    )
    with open(STAMP, "w", encoding="utf8") as file:
        file.write(fingerprint())


def has_uv():
    """True if `.venv` is one of this Python version and got as far as uv: then there is no need to start over."""
    program = f"import sys, uv; raise SystemExit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        return subprocess.run([python(), "-c", program], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def pip_index():
    """uv does not read pip's configuration: the indexes that it names, as uv's variables (an existing one wins)."""
    answer = subprocess.run([python(), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    settings = dict(re.findall(r"\.([a-z-]+)='(.*)'", answer.stdout))
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
    given = {variable: settings[name] for name, variable in names.items() if name in settings}
    return {**given, **os.environ}


def step(what, command, environment=None):
    """Run one step of the set-up, and tell how far it is; on failure stop with its last words and the cure."""
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    ) as run:
        printed = wait_for(what, run)
    if run.returncode:
        words = [line for line in printed.splitlines() if line.strip()][-4:]
        stop(
            f"Could not {what}: {' / '.join(words) or f'exit code {run.returncode}'}",
            "Check the network (a proxy: HTTPS_PROXY; another index: PIP_INDEX_URL) and run the same command again.",
        )


def wait_for(what, process):
    """What a process of the set-up printed, once it has ended; a line each few seconds tells how much is there."""
    while True:
        try:
            return process.communicate(timeout=BEAT)[0]
        except subprocess.TimeoutExpired:
            say(f"  {what}: {megabytes(VENV):.0f} MB in .venv so far")


def megabytes(folder):
    """The size of all files in a folder; one that goes at this moment counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total / 1e6


def run_with(path):
    """Run the calling script with the Python at `path`."""
    command = [path, *sys.argv]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606  (the same process: signals and exit code stay true)


def python():
    return os.path.join(VENV, "bin", "python")


@contextlib.contextmanager
def one_at_a_time():
    """Two first runs at once: the second waits for the first (where the platform can lock a file)."""
    with open(os.path.join(PROJECT, ".venv.lock"), "w") as file:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say_once(which):
    """Name the environment, once per command: scripts that start scripts stay quiet."""
    if os.environ.setdefault("LAB_ENVIRONMENT", which) == which and "LAB_SAID" not in os.environ:
        os.environ["LAB_SAID"] = "1"
        say("Environment: the " + which)


def say(text):
    print(text, file=sys.stderr, flush=True)


def stop(problem, cure):
    say(problem)
    say(cure)
    raise SystemExit(2)
