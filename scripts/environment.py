"""Finds or makes the environment that a script needs, with nothing but the standard library of Python 3.8 and later.

A script begins with `import bootstrap; bootstrap.enter()`. The lines below these run where the lock's versions are
installed: in the running environment if it has them all (conda, an activated venv; the lab never changes one), else in
the project's own `.venv`. The first run makes `.venv` from `requirements.txt`; a change of the lock or of the native
source renews it. An unsupported Python looks for a supported one, and runs the script with that.
"""

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import sys

import pythons
import requirements_lock
import set_up
from set_up import PROJECT, VENV, remove, say, stop

STAMP = os.path.join(VENV, "lab-stamp")
CHECK_STAMP = os.path.join(VENV, "lab-stamp-check")
SOURCE = os.path.join(PROJECT, "src")
PACKAGE = os.path.join(SOURCE, "streaming_lab")  # a link to app/: the name of the package is not that of the folder
NATIVE_SOURCE = "app/reader/decode/_columns.c"
PACKAGES_FROM = ("requirements.txt", "scripts/set_up.py")  # what decides on the packages in .venv
BUILT_FROM = (*PACKAGES_FROM, "pyproject.toml", "setup.py", NATIVE_SOURCE)  # and what decides on the project there
CHECKS_FROM = ("requirements.txt", "requirements-check.txt")
PRODUCTS = (".pyc", ".so", ".pyd", ".sha256")
KERNEL = (  # a file of one's own in the folder where papermill is typed hides no library: that folder comes last
    *("python", "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"),
    "--IPKernelApp.exec_lines=__import__('sys').path.append('')",
    "--InteractiveShellApp.ignore_cwd=True",
)
READ_ONLY = "Copy the project to a folder of your own, or let its owner type there: python3 scripts/report.py --help"


def enter(checks=False, scale=False):
    """Return inside an environment that holds the lock; elsewhere run the calling script again, in such a one.

    With `checks` the environment also holds the lock of the checks, with `scale` that of the engine `dask`.
    """
    bare()
    if "LAB_BOX" in os.environ:  # the image has the lock's packages, without those that run Kafka without Docker
        return say_once("container's")
    ours = os.path.realpath(sys.prefix) == os.path.realpath(VENV)
    if ours and complete(checks):
        if scale and not requirements_lock.held(requirements_lock.SCALE_FILE):
            with one_at_a_time():
                set_up.add_scale()
        return say_once("project's .venv")
    files = [requirements_lock.FILE] + [requirements_lock.CHECK_FILE] * checks + [requirements_lock.SCALE_FILE] * scale
    if not ours and all(map(requirements_lock.held, files)):
        os.environ["PYTHONPATH"] = SOURCE
        return say_once("running one, " + sys.prefix)
    if not complete(checks):
        with one_at_a_time():
            renew(checks)
    return run_with(set_up.python())


def enter_if_there():
    """Return inside the project's environment if that works, else in this Python: nothing is made or downloaded."""
    bare()
    ours = os.path.realpath(sys.prefix) == os.path.realpath(VENV)
    if not ours and os.path.isdir(VENV) and set_up.works():
        run_with(set_up.python())


def renew(checks):
    """Make what is missing of `.venv`; each stamp is written last, so that an interrupted set-up starts again.

    The tools of the checks stay where they were once added.
    """
    checks = checks or read(CHECK_STAMP) is not None
    try:
        if not fresh():
            packages, before = fingerprint(PACKAGES_FROM), (read(STAMP) or "").split()
            remove(STAMP)
            if before[:1] == [packages] and set_up.works():
                set_up.add_project()
            else:
                write(CHECK_STAMP, "") if checks and os.path.isdir(VENV) else remove(CHECK_STAMP)
                set_up.make()
                isolate_kernel()
            write(STAMP, f"{packages}\n{fingerprint(BUILT_FROM)}\n")
        if not complete(checks):
            set_up.add_checks()
            write(CHECK_STAMP, fingerprint(CHECKS_FROM))
    except OSError as error:
        stop(f"Could not set up the environment: {error}", set_up.CURE)


def isolate_kernel():
    """Write the command of the environment's kernel, which papermill runs when it is called without a script."""
    path = os.path.join(VENV, "share", "jupyter", "kernels", "python3", "kernel.json")
    with contextlib.suppress(OSError, ValueError):
        with open(path, encoding="utf8") as file:
            kernel = json.load(file)
        kernel["argv"] = KERNEL
        with open(path, "w", encoding="utf8") as file:
            json.dump(kernel, file, indent=1)


def bare():
    """Make the package importable on a supported Python; on any other run the calling script again, with one."""
    check_place()
    os.environ.setdefault("PYTHONUTF8", "1")
    if not pythons.supported(sys.version_info[:2]):
        run_with(another_python())
    link_package()
    sys.path.insert(0, SOURCE)
    remove_leftovers()


def check_place():
    """Stop in a folder that no Python environment can be made in, before anything is made."""
    if os.pathsep in PROJECT:
        stop(
            f"The lab's folder has a {os.pathsep!r} in its path, which Python's environments cannot have: {PROJECT}",
            "Move or rename the folder and run the same command again.",
        )


def link_package():
    """Restore the link src/streaming_lab: some programs unpack an archive's links as small files."""
    if not os.path.isdir(PACKAGE):
        remove(PACKAGE)
        try:
            os.makedirs(SOURCE, exist_ok=True)
            os.symlink(os.path.join("..", "app"), PACKAGE)
        except OSError as error:
            stop(f"{PACKAGE} must be a link to app/, and can't be made one: {error}", READ_ONLY)


def another_python():
    """Find a supported Python, name it in one line and return its path; without one, stop with one clear error."""
    running = f"Python {sys.version_info[0]}.{sys.version_info[1]} runs this ({sys.executable}); the lab needs"
    path = pythons.find(PROJECT)
    if path is None:
        none = f"None is here: trying to download Python {pythons.FETCHED} with uv."
        say(f"{running} {pythons.describe_supported()}. {none}")
        path = pythons.download(PROJECT)
    if path is None:
        command = f"python{pythons.NEWEST_FIRST[0]} {shlex.join(sys.argv)}"
        stop(
            f"{running} {pythons.describe_supported()}, and none was found or could be downloaded.",
            f"Install one (https://www.python.org/downloads/) and run it with that: {command}",
        )
    say(f"{running} {pythons.describe_supported()}, and takes {path}.")
    return path


def remove_leftovers():
    """Remove what an older checkout built: native modules without their source, folders with nothing but products.

    git leaves ignored files behind when it moves or removes a package, and Python could still import such a folder.
    """
    for folder, _, names in os.walk(os.path.join(PROJECT, "app"), topdown=False):
        for name in names:
            source = os.path.join(folder, name.split(".")[0] + ".c")
            if name.endswith(PRODUCTS[1:]) and not os.path.exists(source):
                remove(os.path.join(folder, name))
        left = [name for _, _, files in os.walk(folder) for name in files]
        if os.path.basename(folder) != "__pycache__" and all(name.endswith(PRODUCTS) for name in left):
            shutil.rmtree(folder, ignore_errors=True)


def complete(checks):
    """Tell whether `.venv` is finished; with `checks` it must have the tools of the checks as well."""
    return fresh() and (not checks or read(CHECK_STAMP) == fingerprint(CHECKS_FROM))


def fresh():
    """Tell whether `.venv` was completed from the files as they are now, by this Python version."""
    return (read(STAMP) or "").split() == [fingerprint(PACKAGES_FROM), fingerprint(BUILT_FROM)]


def fingerprint(names):
    """Return the hash of files of the project, and of the Python version."""
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for name in names:
        path = os.path.join(PROJECT, *name.split("/"))
        if os.path.exists(path):
            with open(path, "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()


def read(path):
    """Return the text of a file, or None where there is none."""
    try:
        with open(path, encoding="utf8") as file:
            return file.read()
    except OSError:
        return None


def write(path, text):
    """Write a small file."""
    with open(path, "w", encoding="utf8") as file:
        file.write(text)


def run_with(path):
    """Run the calling script with the Python at `path`."""
    os.environ.pop("PYTHONHOME", None)
    command = [path, *sys.argv]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606  (the same process: signals and exit code stay true)


@contextlib.contextmanager
def one_at_a_time():
    """Hold the lock file of the set-up: of two first runs the second waits for the first."""
    try:
        file = open(os.path.join(PROJECT, ".venv.lock"), "w")  # noqa: SIM115 - closed below
    except OSError as error:
        stop(
            f"{PROJECT} has no complete environment, and none can be made there: {error.strerror}.",
            READ_ONLY,
        )
    with file:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say_once(which):
    """Name the environment once per command: scripts that a script starts stay quiet."""
    if os.environ.setdefault("LAB_ENVIRONMENT", which) == which and "LAB_SAID" not in os.environ:
        os.environ["LAB_SAID"] = "1"
        say("Environment: the " + which)
