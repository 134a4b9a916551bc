"""Ports that are taken: one error for cluster, containers and game, which names the process that listens there."""

import contextlib
import errno
import itertools
import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streaming_lab.errors import LabError


class PortTaken(LabError):
    """Another process listens on a wanted port; `holder` names the process, where it is known."""

    at_start = True

    def __init__(self, port: int | str, cure: str, holder: str = "") -> None:
        super().__init__(f"port {port} is taken by {holder or find_holder(port)}", cure)


def check_free(port: int, cure: str) -> None:
    """Raise `PortTaken` with `cure` when 127.0.0.1:`port` is taken, `LabError` when this user may not open it."""
    if error := _binding_error(port):
        if error.errno == errno.EACCES:
            raise LabError(
                f"port {port} can't be opened by this user: {error.strerror}", "Use a port above 1023."
            ) from error
        raise PortTaken(port, cure) from error


BELOW_CONNECTIONS = range(21_000, 32_768)  # ports that neither Linux nor macOS gives to a connection by default
_ENOUGH = 1000


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 on which no process listens, and that the system gives to no connection.

    A program that binds such a port later, or again after its restart, finds it as free as it was: any outgoing
    connection takes a port of the system's own range, also one that tries to reach the program while it is away.
    """
    ports = range(BELOW_CONNECTIONS.start, min(BELOW_CONNECTIONS.stop, _first_of_connections()))
    found: set[int] = set()
    if len(ports) >= _ENOUGH:
        first = random.SystemRandom().randrange(len(ports))
        candidates = itertools.chain(ports[first:], ports[:first])
        found.update(itertools.islice((port for port in candidates if not is_taken(port)), count))
    with contextlib.ExitStack() as sockets:
        while len(found) < count:  # the system's range begins lower here: as good as it gets
            one = sockets.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.add(one.getsockname()[1])
    return list(found)


def _first_of_connections() -> int:
    try:  # ip(7); macOS begins at 49152
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return BELOW_CONNECTIONS.stop


def is_taken(port: int) -> bool:
    """Whether a socket that listens, or is about to, keeps others from 127.0.0.1:`port`."""
    error = _binding_error(port)
    return error is not None and error.errno != errno.EACCES


def _binding_error(port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka sets it: closed connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error
    return None


def find_holder(port: int | str) -> str:
    """Name and pid of the process that listens at a port, as far as the system shows it."""
    import psutil  # only when something is in the way

    with contextlib.suppress(psutil.Error):  # all at once is quick; on macOS that is root's alone
        pids = {one.pid for one in psutil.net_connections("tcp") if _listens(one, port)}
        for pid in filter(None, pids):
            return f"{psutil.Process(pid).name()} (pid {pid})"
    with contextlib.suppress(psutil.Error):
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                for one in process.net_connections(kind="tcp"):
                    if _listens(one, port):
                        return f"{process.info['name']} (pid {process.pid})"
    return "a process that the system does not show (another user's?)"


def _listens(one: Any, port: int | str) -> bool:
    return one.status == "LISTEN" and bool(one.laddr) and str(one.laddr.port) == str(port)


def holds_port(pid: int, port: int) -> bool:
    """Whether this process itself listens at a TCP port; True also where the system does not show who listens there."""
    return _holds_port(pid, port)


if sys.platform == "linux":

    def _holds_port(pid: int, port: int) -> bool:
        sockets = {f"socket:[{inode}]" for inode in _listening_inodes(pid, port)}
        return not sockets or any(link in sockets for link in _open_files(pid))

    def _listening_inodes(pid: int, port: int) -> Iterator[str]:
        """The sockets that listen at a port of any address, as proc_pid_net(5) lists them."""
        for name in ("tcp", "tcp6"):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                        yield fields[9]

    def _open_files(pid: int) -> Iterator[str]:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    yield os.readlink(f"/proc/{pid}/fd/{name}")

else:

    def _holds_port(pid: int, port: int) -> bool:
        import psutil

        with contextlib.suppress(psutil.Error):
            found = psutil.Process(pid).net_connections(kind="tcp")
            return any(one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port for one in found)
        return True
