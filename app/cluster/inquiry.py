"""What brokers say of themselves, asked through kafka-python's admin client."""

from app.cluster.base import Broker, ClusterError, Description
from app.stream.connection import Connection, addresses

TIMEOUT = 8.0  # seconds for the whole inquiry


def describe(connection: Connection, role: str = "broker") -> Description:
    """Cluster id, controller and brokers; raises `ClusterError` when no broker answers in 8 s."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        with KafkaAdminClient(**connection, bootstrap_timeout_ms=int(TIMEOUT * 1000)) as admin:
            found = admin.describe_cluster()
    except KafkaError as error:
        raise ClusterError(
            f"no broker answers at {addresses(connection)}: {error}",
            "Is the cluster up? See `python3 scripts/cluster.py status`.",
        ) from error
    return Description(
        version=None,
        cluster_id=found["cluster_id"],
        controller_id=found["controller_id"],
        brokers=tuple(Broker(b["broker_id"], b["host"], b["port"], role) for b in found["brokers"]),
    )
