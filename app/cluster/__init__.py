"""A Kafka to talk to: the lab's own, someone else's, or one in containers."""

from streaming_lab import settings
from streaming_lab.client.connection import Connection
from streaming_lab.cluster.base import Broker, Cluster, ClusterError, Description

__all__ = ["Broker", "Cluster", "ClusterError", "Connection", "Description", "attach", "running"]

COMPOSE = ("compose", "compose:trio", "compose:2019")


def attach(
    name: str = "embedded", *, brokers: int = 1, user: str = "", throughput: bool = False, instance: str = ""
) -> Cluster:
    """The cluster called `name`: "embedded", "host:port[,host:port]", "compose", "compose:trio" or "compose:2019".

    An embedded cluster that runs already is attached to, else one is started; this process is one of its users until
    `close()` or its own end. Another number of brokers, `throughput` (a full JIT and a larger heap, for benchmarks) or
    another `instance` name is a cluster apart. Raises `ClusterError` when there is none to be had, within 10 s for an
    external one. `LAB_CLUSTER` names what stands in for "embedded" where no JVM can run, as in the containers.
    """
    if name == "embedded":
        name = settings.CLUSTER.get()
    if name == "embedded":
        from streaming_lab.cluster.embedded import client

        return client.attach_embedded(brokers=brokers, user=user, throughput=throughput, instance=instance)
    if name.startswith("compose"):
        if name not in COMPOSE:
            raise ClusterError(f"there is no cluster {name!r}", f"Use one of {', '.join(COMPOSE)}.")
        from streaming_lab.cluster.compose import cluster

        return cluster.attach_compose(name)
    if ":" not in name:
        raise ClusterError(f"there is no cluster {name!r}", "Use embedded, compose, or host:port[,host:port].")
    from streaming_lab.cluster import external

    return external.attach_external(name)


def running() -> Connection | None:
    """The connection of the everyday embedded cluster if it runs, without becoming its user."""
    from streaming_lab.cluster.embedded import state

    found = state.read_state(state.state_file())
    if found is None or found.status != "running" or not found.runs:
        return None
    return {"bootstrap_servers": found.servers}
