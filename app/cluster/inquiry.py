"""What brokers say of themselves, asked through kafka-python's admin client."""

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster.base import Broker, ClusterError, Description

TIMEOUT = 8.0  # seconds for the whole inquiry


def describe(connection: Connection, role: str = "broker") -> Description:
    """Cluster id, controller, brokers, and the release they speak; raises `ClusterError` when none answers in 8 s."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        with KafkaAdminClient(**connection, bootstrap_timeout_ms=int(TIMEOUT * 1000)) as admin:
            found = admin.describe_cluster()
            known = admin._manager.broker_version  # by the API versions that it offers: no broker says its release
    except KafkaError as error:
        raise ClusterError(
            f"no broker answers at {addresses(connection)}: {error}",
            "Is the cluster up? See `python3 scripts/cluster.py status`.",
        ) from error
    return Description(
        version=".".join(map(str, known)) + " or later" if known else None,
        cluster_id=found["cluster_id"],
        controller_id=found["controller_id"],
        brokers=tuple(Broker(b["broker_id"], b["host"], b["port"], role) for b in found["brokers"]),
    )
