"""Who holds a port: the error for a fixed port that is taken names the process."""

import contextlib
import errno
import socket

import psutil

from app.cluster.base import ClusterError


def check_free(port: int) -> None:
    """Raise `ClusterError` naming the holder and its pid when 127.0.0.1:`port` cannot be had."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does: old connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise ClusterError(
                    f"port {port} is not ours to take: {error.strerror}", "Use a port above 1023."
                ) from error
            raise ClusterError(
                f"port {port} is taken by {holder(port)}",
                "Stop that process, or leave --port away: the lab finds a free one.",
            ) from error


def holder(port: int) -> str:
    """Name and pid of the process that listens at a port, as far as the system tells us."""
    with contextlib.suppress(psutil.Error):
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                for one in process.net_connections(kind="tcp"):
                    if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port:
                        return f"{process.info['name']} (pid {process.pid})"
    return "a process that the system does not show us (another user's?)"
