"""Ports that are taken: one error for cluster, containers and game, which names the process that listens there."""

import contextlib
import errno
import socket

from streaming_lab.errors import LabError


class PortTaken(LabError):
    """Another process listens on a wanted port; `holder` names the process, where it is known."""

    def __init__(self, port: int | str, cure: str, holder: str = "") -> None:
        super().__init__(f"port {port} is taken by {holder or find_holder(port)}", cure)


def check_free(port: int, cure: str) -> None:
    """Raise `PortTaken` with `cure` when 127.0.0.1:`port` is taken, `LabError` when this user may not open it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka sets it: closed connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise LabError(
                    f"port {port} can't be opened by this user: {error.strerror}", "Use a port above 1023."
                ) from error
            raise PortTaken(port, cure) from error


def find_holder(port: int | str) -> str:
    """Name and pid of the process that listens at a port, as far as the system shows it."""
    import psutil  # only when something is in the way

    with contextlib.suppress(psutil.Error):
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                for one in process.net_connections(kind="tcp"):
                    if one.status == psutil.CONN_LISTEN and one.laddr and str(one.laddr.port) == str(port):
                        return f"{process.info['name']} (pid {process.pid})"
    return "a process that the system does not show (another user's?)"
