"""Checks of what a person names: brokers, and the compose file of an old course."""

import importlib.util
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from streaming_lab.client.client_properties import connection_named
from streaming_lab.cluster import COMPOSE
from streaming_lab.cluster.compose.explain import explain_file
from streaming_lab.doctor.symptom import Symptom
from streaming_lab.paths import PROJECT

OLDEST = (0, 11)  # Kafka's release from which on today's message format is spoken


def check_brokers(name: str) -> Iterator[Symptom]:
    """Is a broker there, does it let us in, can its advertised addresses be reached, is it recent? `LabError` says."""
    if name in ("embedded", *COMPOSE):
        return
    connection = connection_named(name)
    if importlib.util.find_spec("kafka") is None:
        yield from _accepts(connection["bootstrap_servers"])
        return
    from streaming_lab.client import preflight
    from streaming_lab.cluster.base import describe_brokers

    preflight.check_advertised(preflight.reach_any_address(connection), connection)
    version = describe_brokers(connection).version or ""
    numbers = tuple(int(part) for part in version.split()[0].split(".")[:2]) if version else OLDEST
    if numbers < OLDEST:
        what = f"the brokers are Kafka {version}"
        yield Symptom("brokers", "warning", what, "their messages are read by a slower way", "Update them if you can.")


def _accepts(servers: list[str]) -> Iterator[Symptom]:
    """All that can be told before the environment is there: does a port accept connections?"""
    for server in servers:
        host, _, port = server.rpartition(":")
        with suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), 3.0).close()
            return
    what = f"nothing accepts connections at {','.join(servers)}"
    yield Symptom(
        "brokers", "stands in the way", what, "every client begins there", "Is it running? Is the port right?"
    )


def check_compose_files(files: list[str]) -> Iterator[Symptom]:
    """The lines of compose files that no longer do what they did; without `files`, of the one in this folder."""
    here = [Path.cwd() / name for name in ("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml")]
    own = Path.cwd().resolve() == PROJECT
    for name in files or [str(file) for file in here if file.is_file() and not own]:
        for one in explain_file(name):
            what = f"{name}, line {one.line}: {one.text}"
            yield Symptom("compose file", "warning", what, f"since {one.since}: {one.problem}", one.cure)
