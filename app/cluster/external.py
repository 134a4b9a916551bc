"""Someone else's brokers: reached, and checked to be reachable where they send their clients, before anything is sent."""

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
    """The cluster at `host:port[,host:port]`; raises `ClusterError` within 10 s when it is not usable from here."""
    return ExternalCluster(servers, connect_to(servers))
