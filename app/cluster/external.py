"""Brokers that the lab does not own: checked at their own address, and at the addresses that they advertise."""

from streaming_lab.client import preflight
from streaming_lab.client.connection import connection_for
from streaming_lab.client.errors import BrokerUnavailable
from streaming_lab.client.metadata import parse_addresses
from streaming_lab.cluster.base import Cluster, ClusterError, Description


class ExternalCluster(Cluster):
    """Brokers that run already and that the lab never stops."""

    kind = "external"

    def describe(self) -> Description:
        """The brokers' own description."""
        from streaming_lab.cluster.base import describe_brokers

        return describe_brokers(self.connection)


def attach_external(servers: str) -> ExternalCluster:
    """The cluster at `host:port[,host:port]`.

    Of a name's addresses (localhost is ::1 and 127.0.0.1) the first at which Kafka answers is taken. Raises
    `ClusterError` with the addresses when no broker answers within 10 s or a broker advertises an unreachable one.
    """
    wanted = connection_for(servers)
    try:
        found = preflight.reach_any_address(wanted)
        preflight.check_advertised(found)
    except BrokerUnavailable as error:
        raise ClusterError(error.problem, error.cure) from error
    named = zip(wanted["bootstrap_servers"], parse_addresses(wanted["bootstrap_servers"]), strict=True)
    kept = [server for server, (host, _) in named if host not in preflight.LOOPBACK]
    return ExternalCluster(servers, connection_for(",".join(dict.fromkeys([found.server, *kept]))))
