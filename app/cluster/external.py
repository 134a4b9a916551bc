"""Someone else's brokers: reached before anything is sent, also where they send their clients."""

from app.cluster import reach
from app.cluster.base import Cluster, Description
from app.stream.connection import connect_to


class ExternalCluster(Cluster):
    """Brokers that run already, and are none of our business to stop."""

    kind = "external"

    def describe(self) -> Description:
        """As the brokers tell it."""
        from app.cluster.inquiry import describe

        return describe(self.connection)


def attach(servers: str) -> ExternalCluster:
    """The cluster at `host:port[,host:port]`.

    Of a name with several addresses (localhost is ::1 and 127.0.0.1) the first at which Kafka answers is taken. Raises
    `ClusterError` naming the addresses when none does within 10 s, or when a broker advertises one out of reach.
    """
    asked = list(connect_to(servers)["bootstrap_servers"])
    found = reach.find(asked)
    reach.check_advertised(found)
    kept = [server for server in asked if reach.split(server)[0] not in reach.LOOPBACK]
    return ExternalCluster(servers, connect_to(",".join(dict.fromkeys([found.server, *kept]))))
