"""The `docker` command line, and what its failures mean: each with the next step for the person who reads it."""

import re
import subprocess
from collections.abc import Mapping, Sequence

from streaming_lab.errors import LabError
from streaming_lab.ports import PortTaken

PATIENCE = 30.0  # seconds for a command that only asks


class DockerMissing(LabError):
    """There is no `docker` command."""


class ComposeMissing(LabError):
    """`docker` is there, its compose plugin is not."""


class NotAllowed(LabError):
    """The daemon runs, but not for this user."""


class DaemonDown(LabError):
    """Nothing answers behind the `docker` command."""


class Unhealthy(LabError):
    """A container died, or did not serve in time."""


class DockerFailed(LabError):
    """Docker said no, for a reason that is not one of the others."""


def check(environment: Mapping[str, str] | None = None) -> None:
    """Raise unless there is a `docker` with the compose plugin and a daemon that answers this user."""
    daemon = run(["docker", "version", "--format", "{{.Server.Version}}"], environment=environment)
    if daemon.returncode:
        raise known(daemon.stderr) or DaemonDown(f"docker does not answer: {tail(daemon.stderr)}", _START)
    plugin = run(["docker", "compose", "version", "--short"], environment=environment)
    if plugin.returncode:
        raise known(plugin.stderr) or ComposeMissing(
            f"docker has no compose plugin: {tail(plugin.stderr)}",
            "Install it (Docker Desktop has it; Debian's own repository of Docker: docker-compose-plugin).",
        )


def run(
    command: Sequence[str], timeout: float = PATIENCE, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a docker command to its end; only a missing `docker` and silence beyond `timeout` seconds raise."""
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise DockerMissing(
            "there is no `docker` command on this machine",
            "Install Docker (https://docs.docker.com/get-started/get-docker/), or use the cluster that needs none: "
            "-p cluster embedded",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DaemonDown(f"`{' '.join(command[:3])} ...` gave no answer in {timeout:.0f} s", _START) from error


_START = "Start Docker (Docker Desktop, or: sudo systemctl start docker), then run the same command again."


def known(words: str) -> LabError | None:
    """The error that Docker's own words stand for, or None."""
    if re.search(r"permission denied while trying to connect|permission denied.*docker\.sock", words):
        return NotAllowed(
            f"docker does not let this user in: {tail(words, 1)}",
            "Join its group (sudo usermod -aG docker $USER, then log in again), or use -p cluster embedded.",
        )
    if re.search(
        r"[Cc]annot connect to the Docker daemon|error during connect|[Ff]ailed to connect to the docker", words
    ):
        return DaemonDown(f"no Docker daemon answers: {tail(words, 1)}", _START)
    if re.search(r"is not a docker command|unknown command: docker compose|unknown (?:shorthand )?flag", words):
        return ComposeMissing(
            f"docker has no compose plugin: {tail(words, 1)}",
            "Install it (Docker Desktop has it; from Docker's own Debian repository: docker-compose-plugin).",
        )
    if re.search(r"port is already allocated|address already in use|[Pp]orts are not available", words):
        return _taken(words)
    return None


def _taken(words: str) -> PortTaken:
    match = re.search(r"(?:127\.0\.0\.1|0\.0\.0\.0|\[::\]|localhost):(\d+)", words)
    port = match[1] if match else "of the file"
    return PortTaken(
        port,
        "Stop what holds it, or take another one: KAFKA_PORT=19092 (trio also KAFKA_PORT_2, KAFKA_PORT_3; "
        "the game GAME_PORT) before the same command.",
        _holder(port),
    )


def _holder(port: str) -> str:
    """The container that publishes the port, if there is one."""
    answer = run(["docker", "ps", "--filter", f"publish={port}", "--format", "{{.Names}}"])
    names = answer.stdout.split()
    return f"container {names[0]}" if names and not answer.returncode else ""


def tail(words: str, lines: int = 3) -> str:
    """The last lines of an answer, on one line."""
    kept = [line.strip() for line in words.splitlines() if line.strip()]
    return " / ".join(kept[-lines:]) or "no words"
