"""Processes that can be recognized later: by pid and start, and by the machine and process namespace where pids count.

Standard library only on Linux; elsewhere psutil reads when a process started.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streaming_lab.errors import LabError
from streaming_lab.waiting import wait_until

FREEZE_TIMEOUT = 5.0  # seconds until a process that got SIGSTOP has stopped


@dataclass(frozen=True)
class ProcessId:
    """A process by pid and start, so that a later one with the same pid is not taken for it.

    `ticks` counts from the machine's boot (field 22 of /proc/PID/stat, proc_pid_stat(5)), so it stays the same when the
    clock is set; `created` is the same moment in Unix seconds by the clock of the process that identified it.
    """

    pid: int
    created: float
    ticks: float


def identify_process(pid: int) -> ProcessId:
    """The process with this pid now; raises ProcessLookupError when there is none or it is a zombie."""
    ticks = _start_ticks(pid)
    if ticks is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return ProcessId(pid, _created(ticks), ticks)


def is_alive(known: ProcessId | None) -> bool:
    """Whether exactly this process runs; a zombie does not, nor does another process with the same pid.

    A process that the system does not let us look at (no free file descriptor, say) counts as alive.
    """
    try:
        return known is not None and known.pid > 0 and _start_ticks(known.pid) == known.ticks
    except OSError:
        return True


def is_alive_by_clock(pid: int, created: float, tolerance: float = 2.0) -> bool:
    """Whether a process runs whose start is known only by the clock (Unix seconds, as older versions kept it)."""
    try:
        ticks = _start_ticks(pid) if pid > 0 else None
        return ticks is not None and abs(_created(ticks) - created) < tolerance
    except OSError:
        return True


if sys.platform == "linux":
    _TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

    def _fields(place: Path) -> list[bytes]:
        """Field 3 of a process's or thread's `stat`, which is its state, and the following."""
        return (place / "stat").read_bytes().rpartition(b")")[2].split()

    def _start_ticks(pid: int) -> float | None:
        try:
            fields = _fields(Path(f"/proc/{pid}"))
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in (b"Z", b"X") else int(fields[19])

    def _is_frozen(pid: int) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends meanwhile
            threads = Path(f"/proc/{pid}/task").iterdir()
            return all(_fields(thread)[0] in (b"T", b"t", b"Z", b"X") for thread in threads)
        return not Path(f"/proc/{pid}").exists()

    def _created(ticks: float) -> float:
        return round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / _TICKS_PER_SECOND, 2)

else:

    def _start_ticks(pid: int) -> float | None:
        import psutil

        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            # The public create_time() follows the clock when it is set; psutil compares processes by this value, too.
            return float(process._ident[1] or process.create_time())
        except (psutil.NoSuchProcess, OverflowError):
            return None
        except psutil.AccessDenied as error:
            raise PermissionError(str(error)) from error

    def _is_frozen(pid: int) -> bool:
        import psutil

        try:
            return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def _created(ticks: float) -> float:
        return ticks


def await_freeze(pid: int) -> None:
    """Wait, after SIGSTOP, until no thread of a process runs: on a busy machine they went on for 120 ms (measured).

    Raises a `LabError` for a process that still runs after 5 seconds.
    """

    def late() -> LabError:
        return LabError(
            f"process {pid} runs on, {FREEZE_TIMEOUT:g} s after SIGSTOP", "See what it waits for, try again."
        )

    wait_until(lambda: _is_frozen(pid), FREEZE_TIMEOUT, late)


@dataclass(frozen=True)
class Place:
    """A machine in one of its boots, and a process namespace on it: only there a pid means the same process."""

    host: str
    machine: str  # /etc/machine-id, or macOS' hardware UUID; empty where there is none, as in many containers
    boot: str
    namespace: str  # empty where the system has no process namespaces

    def __str__(self) -> str:
        return f"{self.host} ({self.namespace})" if self.namespace else self.host


def find_place() -> Place:
    """The place of this process."""
    host = os.uname().nodename
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "kern.uuid", "kern.bootsessionuuid"]
        machine, boot, *_ = [*subprocess.run(command, capture_output=True, text=True).stdout.split(), "", ""]
        return Place(host, machine, boot, "")
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return Place(host, _read("/etc/machine-id"), _read("/proc/sys/kernel/random/boot_id"), namespace)


def locate(place: Place, own: Place | None = None) -> Literal["here", "rebooted", "elsewhere"]:
    """Where a place is, seen from `own` (by default this process's): here, here before a reboot, or elsewhere.

    What was started in a former boot has ended with it. What runs elsewhere cannot be seen from here at all.
    """
    own = own or find_place()
    same_machine = (place.host, place.machine) == (own.host, own.machine)
    if place.boot == own.boot and place.namespace == own.namespace and (own.boot or same_machine):
        return "here"
    return "rebooted" if place.boot != own.boot and same_machine else "elsewhere"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def end_with_stdin(end: Callable[[], object]) -> None:
    """Call `end` in a thread when standard input is closed, as by the end of whoever started this process."""

    def watch() -> None:
        while os.read(0, 1024):  # not sys.stdin: a thread that holds its lock would disturb the interpreter's end
            pass
        end()

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()
