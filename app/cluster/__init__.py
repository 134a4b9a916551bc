"""A Kafka to talk to: the lab's own, someone else's, or one in containers."""

from pathlib import Path

from streaming_lab import settings
from streaming_lab.client.client_properties import connection_from_file, is_properties_file, refuse_inline_secret
from streaming_lab.client.connection import Connection, connection_for
from streaming_lab.cluster.base import Broker, Cluster, ClusterError, Description
from streaming_lab.wording import did_you_mean

__all__ = ["Broker", "Cluster", "ClusterError", "Connection", "Description", "attach", "running"]

EMBEDDED_BROKERS = {"embedded": 1, "embedded:trio": 3}  # name -> brokers
COMPOSE = ("compose", "compose:trio", "compose:2019")


def attach(
    name: str = "embedded", *, brokers: int = 0, user: str = "", throughput: bool = False, instance: str = ""
) -> Cluster:
    """The cluster called `name`: "embedded", "embedded:trio", "compose", "compose:trio", "compose:2019",
    "host:port[,host:port]", or the path of a client properties file.

    A running embedded cluster is attached to; without one, a cluster is started. This process is one of its users until
    `close()` or its own end. "embedded:trio" has three brokers, each with a copy of every record; two must have a
    record before it is acknowledged. Another number of `brokers`, `throughput` (a full JIT and a larger heap, for
    benchmarks) or another `instance` name is a separate cluster. Raises `ClusterError` when no cluster can be had, for
    an external one within 10 s. `LAB_CLUSTER` replaces "embedded" where no JVM can run, as in the containers.
    """
    check_cluster_name(name)
    if name == "embedded":
        name = settings.CLUSTER.get()
        check_cluster_name(name)
    if name in EMBEDDED_BROKERS:
        from streaming_lab.cluster.embedded import client

        return client.attach_embedded(
            brokers=brokers or EMBEDDED_BROKERS[name], user=user, throughput=throughput, instance=instance
        )
    if name in COMPOSE:
        from streaming_lab.cluster.compose import cluster

        return cluster.attach_compose(name)
    from streaming_lab.cluster import external

    return external.attach_external(name)


def check_cluster_name(name: str) -> None:
    """Raise a `LabError` for a name that no cluster can have; starts and asks nothing."""
    if name in (*EMBEDDED_BROKERS, *COMPOSE):
        return
    refuse_inline_secret(name)
    if is_properties_file(name):
        connection_from_file(name)
        return
    if ":" not in name or name.startswith(("compose:", "embedded:")):
        names = (*EMBEDDED_BROKERS, *COMPOSE)
        known = f"Use {', '.join(names)}, host:port[,host:port], or a properties file."
        unknown = ClusterError(f"there is no cluster {name!r}{did_you_mean(name, names)}", known)
        unknown.at_start = False  # a slip of the pen, which no doctor finds
        raise unknown
    connection_for(name)


def resolve_cluster_name(name: str) -> str:
    """The same cluster's name for a process in another folder: a file's path becomes absolute."""
    return str(Path(name).expanduser().resolve()) if is_properties_file(name) else name


def running() -> Connection | None:
    """The connection of the default embedded cluster if that runs; this process does not become its user."""
    from streaming_lab.cluster.embedded import state

    found = state.read_state(state.state_file())
    if found is None or found.status != "running" or not found.runs:
        return None
    return connection_for(found.locator)
