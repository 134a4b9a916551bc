"""Who uses a cluster: processes, known by pid and start time, and holds that only `stop` ends."""

import contextlib
import time

import psutil

from streaming_lab.cluster.state import Known, User


class Users:
    """One entry for each attachment: a process may attach twice, and the first to close must not end the second."""

    def __init__(self) -> None:
        self._all: list[tuple[User, psutil.Process | None]] = []

    def __len__(self) -> int:
        return len(self._all)

    @property
    def seen(self) -> tuple[User, ...]:
        """As the state file names them."""
        return tuple(user for user, _ in self._all)

    def admit(self, name: str, pid: int | None) -> None:
        """One more user; without a pid it is a hold."""
        process = None if pid is None else psutil.Process(pid)
        known = None if process is None else Known(process.pid, process.create_time())
        if pid is None:
            self.dismiss(name, None)  # a hold is a hold: asking for it twice changes nothing
        self._all.append((User(name, known, time.time()), process))

    def dismiss(self, name: str, pid: int | None) -> None:
        """One user less, if there is such a one."""
        for index, (user, _) in enumerate(self._all):
            if user.name == name and (user.process.pid if user.process else None) == pid:
                del self._all[index]
                return

    def look(self) -> bool:
        """Forget the processes that ended; True when there were any."""
        there = [one for one in self._all if one[1] is None or _runs(one[1])]
        gone, self._all = len(there) < len(self._all), there
        return gone


def _runs(process: psutil.Process) -> bool:
    """Is it still this process (psutil compares start times), and not a zombie that nobody collected?"""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
