"""Brokers that the lab does not own: checked at their own address, and at the addresses that they advertise."""

from pathlib import Path

from streaming_lab.client import preflight
from streaming_lab.client.client_properties import connection_named, is_properties_file
from streaming_lab.client.connection import Connection, security_protocol_of
from streaming_lab.client.errors import BrokerUnavailable
from streaming_lab.client.metadata import parse_addresses
from streaming_lab.cluster.base import Cluster, ClusterError, Description


class ExternalCluster(Cluster):
    """Brokers that run already and that the lab never stops."""

    kind = "external"

    @property
    def locator(self) -> str:
        """The properties file where there is one: it alone holds the way in."""
        return str(Path(self.name).resolve()) if is_properties_file(self.name) else super().locator

    def describe(self) -> Description:
        """The brokers' own description."""
        from streaming_lab.cluster.base import describe_brokers

        return describe_brokers(self.connection)


def attach_external(name: str) -> ExternalCluster:
    """The cluster at `host:port[,host:port]`, or of a client properties file.

    Of a name's addresses (localhost is ::1 and 127.0.0.1) the first at which Kafka answers is taken. Raises
    `ClusterError` with the addresses when no broker answers within 10 s or a broker advertises an unreachable one, and
    `AccessDenied` when a broker refuses the connection.
    """
    wanted = connection_named(name)
    try:
        found = preflight.reach_any_address(wanted)
        preflight.check_advertised(found, wanted)
    except BrokerUnavailable as error:
        raise ClusterError(error.problem, error.cure) from error
    return ExternalCluster(name, {**wanted, "bootstrap_servers": _servers(wanted, found.server)})


def _servers(wanted: Connection, reached: str) -> list[str]:
    """The address that answered, then the others; under TLS the names as given, which certificates are held against."""
    if "SSL" in security_protocol_of(wanted):
        return list(wanted["bootstrap_servers"])
    named = zip(wanted["bootstrap_servers"], parse_addresses(wanted["bootstrap_servers"]), strict=True)
    kept = [server for server, (host, _) in named if host not in preflight.LOOPBACK]
    return list(dict.fromkeys([reached, *kept]))
