"""The `docker` command line, and an error with a cure for each way in which it fails."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streaming_lab.errors import LabError
from streaming_lab.ports import PortTaken

DOCKER_TIMEOUT = 30.0  # seconds for a command that changes nothing


class DockerError(LabError):
    """Docker stands in the way, not what a person typed."""

    at_start = True


class DockerMissing(DockerError):
    """The machine has no `docker` command."""


class ComposeMissing(DockerError):
    """`docker` lacks its compose plugin."""


class NotAllowed(DockerError):
    """The daemon refuses this user."""


class DaemonDown(DockerError):
    """No daemon answers the `docker` command."""


class Unhealthy(DockerError):
    """A container ended, or did not serve in time."""


class DockerFailed(DockerError):
    """A docker command failed for any other reason."""


def check_docker(environment: Mapping[str, str] | None = None) -> None:
    """Raise unless `docker`, its compose plugin and a daemon that answers this user exist."""
    daemon = run_docker(["docker", "version", "--format", "{{.Server.Version}}"], environment=environment)
    if daemon.returncode:
        raise explain_failure(daemon.stderr) or DaemonDown(
            f"docker does not answer: {last_lines(daemon.stderr)}", _START
        )
    plugin = run_docker(["docker", "compose", "version", "--short"], environment=environment)
    if plugin.returncode:
        raise explain_failure(plugin.stderr) or ComposeMissing(
            f"docker has no compose plugin: {last_lines(plugin.stderr)}",
            "Install it (Docker Desktop has it; Debian's own repository of Docker: docker-compose-plugin).",
        )


def run_docker(
    command: Sequence[str], timeout: float = DOCKER_TIMEOUT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a docker command to its end; raises for a missing `docker` and after `timeout` seconds only."""
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


def explain_failure(words: str) -> LabError | None:
    """The error that Docker's message stands for, or None."""
    if re.search(r"permission denied while trying to connect|permission denied.*docker\.sock", words):
        return NotAllowed(
            f"docker does not let this user in: {last_lines(words, 1)}",
            "Join its group (sudo usermod -aG docker $USER, then log in again), or use -p cluster embedded.",
        )
    if re.search(
        r"[Cc]annot connect to the Docker daemon|error during connect|[Ff]ailed to connect to the docker", words
    ):
        return DaemonDown(f"no Docker daemon answers: {last_lines(words, 1)}", _START)
    if re.search(r"is not a docker command|unknown command: docker compose|unknown (?:shorthand )?flag", words):
        return ComposeMissing(
            f"docker has no compose plugin: {last_lines(words, 1)}",
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
        "Stop that process, or take another port: KAFKA_PORT=19092 (trio also KAFKA_PORT_2, KAFKA_PORT_3; "
        "the game GAME_PORT) before the same command.",
        _holder(port),
    )


def _holder(port: str) -> str:
    """The name of a container that publishes the port, or nothing."""
    answer = run_docker(["docker", "ps", "--filter", f"publish={port}", "--format", "{{.Names}}"])
    names = answer.stdout.split()
    return f"container {names[0]}" if names and not answer.returncode else ""


def last_lines(words: str, lines: int = 3) -> str:
    """The last lines of an output, joined to one."""
    kept = [line.strip() for line in words.splitlines() if line.strip()]
    return " / ".join(kept[-lines:]) or "no words"


@dataclass(frozen=True)
class Container:
    """One container of a project: `ports` maps a port inside to the published one on the host."""

    service: str
    state: str
    health: str
    image: str
    file: str
    ports: Mapping[int, int] = field(default_factory=dict)

    @property
    def serves(self) -> bool:
        return self.state == "running" and self.health in ("healthy", "")


@dataclass(frozen=True)
class ComposeProject:
    """A compose file under a project name; its commands concern the containers of this project only."""

    name: str
    file: Path
    environment: Mapping[str, str] | None = None

    def up(self, services: Sequence[str], timeout: float) -> None:
        """Start the services; returns when they are healthy, else raises a `LabError` with the log's tail."""
        command = ["up", "--detach", "--wait", "--wait-timeout", str(int(timeout)), *services]
        answer = self._run(command, timeout + DOCKER_TIMEOUT)
        if answer.returncode:
            raise self._explained(answer.stderr, services)

    def down(self, *, volumes: bool = False) -> None:
        """Remove this project's containers and network; its named volumes (the data) only with `volumes`."""
        every = ["--profile", "*"]  # without it the game and JupyterLab would stay
        # Kafka's images declare volumes without names; `down` alone would leave two of them behind each time.
        self._checked([*every, "rm", "--force", "--stop", "--volumes"])
        self._checked([*every, "down", "--timeout", "10", *(["--volumes"] if volumes else [])])

    def tell(self, *command: str) -> str:
        """Run any other subcommand (`kill`, `pause`, `exec` ...); returns its output."""
        return self._checked([*command])

    def containers(self) -> dict[str, Container]:
        """Service -> container, stopped ones included; empty when the project is down."""
        text = self._checked(["ps", "--all", "--format", "json"])
        # Compose 2.21 changed the format from one list to one object a line.
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        return {row["Service"]: _container(row) for row in rows}

    def log(self, service: str, lines: int = 12) -> str:
        """The last lines of a service's log, without the frames of stack traces."""
        answer = self._run(["logs", "--no-color", "--no-log-prefix", "--tail", "200", service])
        words = [line for line in answer.stdout.splitlines() if line.strip() and not re.match(r"\s*at \S+\(", line)]
        return "\n".join(line[:200] for line in words[-lines:])

    def command(self, *arguments: str) -> list[str]:
        """The command line for `arguments`, as a person would type it."""
        return ["docker", "compose", "--project-name", self.name, "--file", str(self.file), *arguments]

    def _checked(self, arguments: list[str]) -> str:
        answer = self._run(arguments)
        if answer.returncode:
            raise self._explained(answer.stderr, ())
        return answer.stdout

    def _run(self, arguments: list[str], timeout: float = DOCKER_TIMEOUT) -> subprocess.CompletedProcess[str]:
        return run_docker(self.command(*arguments), timeout, self.environment)

    def _explained(self, words: str, services: Sequence[str]) -> LabError:
        if found := explain_failure(words):
            return found
        for service, container in self.containers().items():
            if container.state != "created" and not container.serves:
                return self._unhealthy(service, container)
        if match := re.search(r"(?:container|dependency) (\S+) .*(?:unhealthy|exited|not healthy)", words):
            return Unhealthy(f"container {match[1]} did not become healthy", "Look at `docker compose logs`.")
        by_hand = f"Try it by hand: {self._typed(*services)}"
        return DockerFailed(f"docker compose failed: {last_lines(words)}", by_hand)

    def _unhealthy(self, service: str, container: Container) -> LabError:
        log = "\n".join(f"  | {line}" for line in self.log(service).splitlines())
        state = container.state if container.state != "running" else f"running, {container.health}"
        return Unhealthy(
            f"container {service} of {self.file.name} does not serve ({state}); the end of its log:\n{log}",
            "Correct what the log names; `docker compose --project-name "
            f"{self.name} down --volumes` starts from nothing (its data is lost).",
        )

    def _typed(self, *services: str) -> str:
        return " ".join(self.command("up", "--wait", *services))


def _container(row: Mapping[str, Any]) -> Container:
    published = {p["TargetPort"]: p["PublishedPort"] for p in row.get("Publishers") or () if p["PublishedPort"]}
    file = re.search(r"com\.docker\.compose\.project\.config_files=([^,]*)", row.get("Labels", ""))
    return Container(
        row["Service"], row["State"], row.get("Health", ""), row["Image"], file[1] if file else "", published
    )
