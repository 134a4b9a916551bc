"""The cluster as containers: docker-compose.yml and its siblings, started, awaited and attached to."""

import atexit
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from streaming_lab import settings
from streaming_lab.client.connection import Connection
from streaming_lab.cluster.base import BrokerVerb, Cluster, ClusterError, Description, describe_brokers
from streaming_lab.cluster.compose import docker
from streaming_lab.cluster.compose.docker import ComposeProject, Container
from streaming_lab.paths import PROJECT

logger = logging.getLogger(__name__)

COMPOSE_TIMEOUT = 300.0  # seconds from `up` to healthy, with the download of missing images
IN_CONTAINER = 9092  # the port in each broker's container that the file publishes for the host

PORT_VARIABLES = ("KAFKA_PORT", "KAFKA_PORT_2", "KAFKA_PORT_3", "GAME_PORT", "JUPYTER_PORT")  # of the compose files

SUBCOMMANDS: Mapping[BrokerVerb, tuple[str, ...]] = {
    "kill": ("kill", "--signal", "SIGKILL"),
    "pause": ("pause",),
    "resume": ("unpause",),
    "restart": ("start",),
}


@dataclass(frozen=True)
class Recipe:
    """One compose file; its project name is the file's, so that the lab attaches to a person's `docker compose up`."""

    file: str
    project: str
    services: tuple[str, ...]


RECIPES: Mapping[str, Recipe] = {
    "compose": Recipe("docker-compose.yml", "streaming-lab", ("kafka",)),
    "compose:trio": Recipe("compose/trio.yml", "streaming-lab-trio", ("kafka", "kafka-2", "kafka-3")),
    "compose:2019": Recipe("compose/2019.yml", "streaming-lab-2019", ("kafka",)),
}


class ComposeCluster(Cluster):
    """Kafka in containers of one project; `close` removes the containers that this object started, and no others."""

    kind = "compose"

    def __init__(
        self,
        name: str,
        project: ComposeProject,
        services: tuple[str, ...],
        started: frozenset[str] = frozenset(),
        ready_seconds: float | None = None,
    ) -> None:
        super().__init__(name, _published(project, services), ready_seconds)
        self.project = project
        self.services = services
        self._started = started
        if started:
            atexit.register(self.close)

    @property
    def copies(self) -> int:
        """Each broker of a compose file keeps each record."""
        return len(self.services)

    def describe(self) -> Description:
        """The brokers by their addresses on this machine; the version is that of the image's tag."""
        role = "broker" if self.name == "compose:2019" else "broker,controller"
        image = self.project.containers()[self.services[0]].image
        return replace(describe_brokers(self.connection, role), version=_version(image))

    def close(self, wait: bool = False, say: Callable[[str], None] | None = None, *, volumes: bool = False) -> None:
        """Stop the containers that this object started (`docker compose down`); the data goes only with `volumes`.

        Containers that joined the project later (the tools box, the game) need the broker: then nothing is stopped.
        """
        atexit.unregister(self.close)
        started, self._started = self._started, frozenset()
        if not started:
            return
        if others := set(self.project.containers()) - started:
            logger.info("left %s running: in use by %s", self.project.name, ", ".join(sorted(others)))
            return
        self.project.down(volumes=volumes)

    def command(self, verb: BrokerVerb, broker: int = 1) -> None:
        """Runs the verb's `docker compose` command; a restart returns when the container is healthy."""
        service = self._service(broker)
        self.project.tell(*SUBCOMMANDS[verb], service)
        if verb == "restart":
            self.project.up([service], COMPOSE_TIMEOUT)

    def _service(self, broker: int) -> str:
        if not 1 <= broker <= len(self.services):
            raise ClusterError(
                f"there is no broker {broker} in {self.name}", f"Its brokers are 1 to {len(self.services)}."
            )
        return self.services[broker - 1]


def attach_compose(
    name: str = "compose", *, project: str | None = None, ports: Mapping[str, str] | None = None
) -> ComposeCluster:
    """A cluster by name: attached to if its containers serve, otherwise started and awaited (at most 300 s).

    `project` (or LAB_COMPOSE_PROJECT) replaces `streaming-lab` in the project's name, `ports` for variables of the
    file such as KAFKA_PORT. Raises the `docker` module's errors: no docker, no daemon, no compose plugin, no
    permission, a taken port, an unhealthy container.
    """
    if name not in RECIPES:
        raise ClusterError(f"no cluster is called {name!r}", f"Containers come as {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    environment = {**os.environ, **ports} if ports else None
    check_port_variables(environment or os.environ)
    docker.check_docker(environment)
    prefix = project or settings.COMPOSE_PROJECT.get()
    target = ComposeProject(recipe.project.replace("streaming-lab", prefix), PROJECT / recipe.file, environment)
    before = target.containers()
    _check_same_file(target, before)
    if all(service in before and before[service].serves for service in recipe.services):
        return ComposeCluster(name, target, recipe.services)
    return ComposeCluster(name, target, recipe.services, *_start(target, recipe.services, frozenset(before)))


def check_port_variables(environment: Mapping[str, str]) -> None:
    """Raise `ClusterError` for a variable of the compose files that holds no port."""
    for name in PORT_VARIABLES:
        value = environment.get(name, "")
        if value and not (value.isdecimal() and int(value) < 65536):
            raise ClusterError(
                f"{name}={value} is no port (Kubernetes sets such an address where it has a service of that name)",
                f"Unset {name}, or set it to a free port: {name}=19092.",
            )


def _start(project: ComposeProject, services: tuple[str, ...], before: frozenset[str]) -> tuple[frozenset[str], float]:
    """Start the services: the containers that this added, and its seconds. A failed start leaves no containers."""
    began = time.monotonic()
    try:
        project.up(services, COMPOSE_TIMEOUT)
    except BaseException:
        if not before:
            project.down()
        raise
    return frozenset(project.containers()) - before, time.monotonic() - began


def _check_same_file(project: ComposeProject, containers: Mapping[str, Container]) -> None:
    """Raise `ClusterError` when another folder's compose file made containers under this project's name."""
    for container in containers.values():
        if container.file and Path(container.file).resolve() != project.file.resolve():
            raise ClusterError(
                f"the project name {project.name} is in use by {container.file}",
                "Stop it there (docker compose down), or set LAB_COMPOSE_PROJECT to another name.",
            )


def _version(image: str) -> str:
    """Kafka's version from a pinned image; Confluent Platform 7.9 is Kafka 3.9 (its table of versions)."""
    repository, _, tag = image.rpartition(":")
    return tag if repository == "apache/kafka" else f"3.9 (Confluent Platform {tag})"


def _published(project: ComposeProject, services: tuple[str, ...]) -> Connection:
    containers = project.containers()
    ports = [
        containers[service].ports[IN_CONTAINER] for service in services if IN_CONTAINER in containers[service].ports
    ]
    return {"bootstrap_servers": [f"127.0.0.1:{port}" for port in ports]}
