"""A compose file under a project name, and its containers."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streaming_lab.cluster import docker
from streaming_lab.errors import LabError


@dataclass(frozen=True)
class Container:
    """One container of a project: `ports` maps a port inside to the one published on the host."""

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
class Project:
    """A compose file under a project name: everything is asked of this project only, never of other containers."""

    name: str
    file: Path
    environment: Mapping[str, str] | None = None

    def up(self, services: Sequence[str], timeout: float) -> None:
        """Start the services and wait until they are healthy; raises the `LabError` that fits, with the log's tail."""
        command = ["up", "--detach", "--wait", "--wait-timeout", str(int(timeout)), *services]
        answer = self._run(command, timeout + docker.PATIENCE)
        if answer.returncode:
            raise self._explained(answer.stderr, services)

    def down(self, *, volumes: bool = False) -> None:
        """Remove this project's containers and network; its named volumes, the data, only if `volumes`."""
        every = ["--profile", "*"]  # without it the game and JupyterLab would stay
        # Kafka's images declare volumes without names; `down` alone would leave two of them behind each time.
        self._checked([*every, "rm", "--force", "--stop", "--volumes"])
        self._checked([*every, "down", "--timeout", "10", *(["--volumes"] if volumes else [])])

    def tell(self, *command: str) -> str:
        """Any other subcommand (`kill`, `pause`, `exec` ...); returns what it printed."""
        return self._checked([*command])

    def containers(self) -> dict[str, Container]:
        """Service -> container, stopped ones too; empty when the project is down."""
        text = self._checked(["ps", "--all", "--format", "json"])
        # Compose 2.21 changed the format from one list to one object a line.
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        return {row["Service"]: _container(row) for row in rows}

    def log(self, service: str, lines: int = 12) -> str:
        """The last lines of a service's log, without the frames of stack traces: what they say, not where."""
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

    def _run(self, arguments: list[str], timeout: float = docker.PATIENCE) -> subprocess.CompletedProcess[str]:
        return docker.run(self.command(*arguments), timeout, self.environment)

    def _explained(self, words: str, services: Sequence[str]) -> LabError:
        if found := docker.known(words):
            return found
        for service, container in self.containers().items():
            if container.state != "created" and not container.serves:
                return self._unhealthy(service, container)
        if match := re.search(r"(?:container|dependency) (\S+) .*(?:unhealthy|exited|not healthy)", words):
            return docker.Unhealthy(f"container {match[1]} did not become healthy", "Look at `docker compose logs`.")
        by_hand = f"Try it by hand: {self._typed(*services)}"
        return docker.DockerFailed(f"docker compose failed: {docker.tail(words)}", by_hand)

    def _unhealthy(self, service: str, container: Container) -> LabError:
        log = "\n".join(f"  | {line}" for line in self.log(service).splitlines())
        state = container.state if container.state != "running" else f"running, {container.health}"
        return docker.Unhealthy(
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
