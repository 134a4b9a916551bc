"""Someone else's brokers: reached before anything is sent, also where they send their clients."""

from streaming_lab.client import preflight
from streaming_lab.client.connection import connection_for
from streaming_lab.client.errors import BrokerUnavailable
from streaming_lab.client.metadata import parse_addresses
from streaming_lab.cluster.base import Cluster, ClusterError, Description


class ExternalCluster(Cluster):
    """Brokers that run already, and are none of our business to stop."""

    kind = "external"

    def describe(self) -> Description:
        """As the brokers tell it."""
        from streaming_lab.cluster.base import describe_brokers

        return describe_brokers(self.connection)


def attach_external(servers: str) -> ExternalCluster:
    """The cluster at `host:port[,host:port]`.

    Of a name with several addresses (localhost is ::1 and 127.0.0.1) the first at which Kafka answers is taken. Raises
    `ClusterError` naming the addresses when none does within 10 s, or when a broker advertises one out of reach.
    """
    asked = connection_for(servers)
    try:
        found = preflight.reach_any_address(asked)
        preflight.check_advertised(found)
    except BrokerUnavailable as error:
        raise ClusterError(error.problem, error.cure) from error
    named = zip(asked["bootstrap_servers"], parse_addresses(asked["bootstrap_servers"]), strict=True)
    kept = [server for server, (host, _) in named if host not in preflight.LOOPBACK]
    return ExternalCluster(servers, connection_for(",".join(dict.fromkeys([found.server, *kept]))))
