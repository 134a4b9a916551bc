"""The brokers of one embedded cluster: started side by side, commanded one by one, ended together."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from streaming_lab.cluster.base import BrokerVerb, ClusterError
from streaming_lab.cluster.embedded.broker import BrokerPorts, BrokerProcess, wait_all
from streaming_lab.cluster.embedded.jvm import FormatCache, Jvm, StartCache, new_cluster_id, read_cluster_id
from streaming_lab.cluster.embedded.start_stop import StartRequest
from streaming_lab.ports import check_free, free_ports

# The last line that the shell reads lists the process groups to kill; an empty line lists none.
_SHELL = 'groups=; while read -r line; do groups=$line; done; for group in $groups; do kill -9 "-$group"; done'


class Watchdog:
    """A shell that kills the brokers when the supervisor itself is killed.

    SIGKILL cannot be caught, and only Linux has a parent-death signal. A pipe works on every Unix: the supervisor holds
    its writing end, so the shell's `read` ends with the supervisor. When both are killed at once, the state file still
    names the JVMs, and the next start or stop ends them.
    """

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, groups: list[int]) -> None:
        """Replaces the list of process groups to kill."""
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                self._shell.stdin.write(" ".join(map(str, groups)).encode() + b"\n")
                self._shell.stdin.flush()

    def close(self) -> None:
        """Ends the shell; it kills nothing."""
        self.watch([])
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                self._shell.stdin.close()
            self._shell.wait(timeout=5.0)
            self._shell = None


BROKERS_TIMEOUT = 60.0  # seconds for all ports to open; about one is usual
CLEAN_END_TIMEOUT = 8.0  # seconds for a clean shutdown before force
GROUP_END_TIMEOUT = 2.0  # the same for several brokers whose data go: the last of them wait for a quorum that is gone
TRAINING_TIMEOUT = 90.0  # seconds for a shutdown that also writes the start-up cache; five to ten are usual


class Brokers:
    """The brokers of one cluster in the folder `run`, and the start-up cache that they use or train."""

    def __init__(self, request: StartRequest, run: Path) -> None:
        self.request, self.run = request, run
        self.jvm = Jvm(request.java, request.jars, request.profile, request.heap)
        self.cache = StartCache.of(self.jvm, Path(request.cache), request.digest)
        self.template = FormatCache.of(request.jars, Path(request.cache))
        self.cluster_id = self._read_kept_id() or new_cluster_id()
        self.version: str | None = None  # known when the broker has logged it, just after its port opened
        self.starts = 0
        self.warm = False
        self.all: list[BrokerProcess] = []
        self.busy = threading.RLock()  # one command at a time
        self.watchdog: Watchdog | None = None
        self._trainee: Path | None = None
        self._training_lock = ExitStack()  # one cluster on this machine trains at a time

    @property
    def training(self) -> bool:
        """Whether the next clean end writes a start-up cache."""
        return self._trainee is not None and bool(self.all) and self.all[0].status in ("running", "paused")

    def start(self, on_change: Callable[[], None]) -> None:
        """Formats and starts all brokers and waits for their ports.

        A failed start is tried once more: without the start-up cache and the format template, which may have caused
        the failure, or with other ports when a port was taken meanwhile.
        """
        self.watchdog = Watchdog()
        warm = self.cache.usable() or self.template.file.exists()
        try:
            self._start(on_change, warm)
        except ClusterError as error:
            taken = any("Address already in use" in broker.tail() for broker in self.all)
            if "out of memory" in error.problem or not (warm or (taken and self.request.port is None)):
                raise
            self.end_now()
            self._start(on_change, warm=warm and taken)
            if not taken:
                self.cache.discard()

    def _start(self, on_change: Callable[[], None], warm: bool) -> None:
        deadline = time.monotonic() + BROKERS_TIMEOUT
        ports = self._choose_ports()
        self.starts += 1
        self.warm = warm and self.cache.usable()
        folder = self.run / f"start-{self.starts}"
        self.all = [
            BrokerProcess(
                self.jvm,
                one,
                ports,
                folder / f"broker-{one.id}",
                kept=self._kept(one.id),
                auto_create=self.request.auto_create,
                secured=self.request.secured,
            )
            for one in ports
        ]
        for broker in self.all:
            if read_cluster_id(broker.data) is not None:
                continue  # kept by an earlier cluster
            if not (warm and self.template.apply(broker.data, self.cluster_id, broker.ports.id)):
                broker.format(self.cluster_id, *self._flags(None))
        self._wait_for_format(deadline)
        for broker in self.all:
            broker.start(*self._flags(broker))
        self._watch()
        on_change()
        for broker in self.all:
            broker.wait_for_port(deadline)

    def _kept(self, number: int) -> Path | None:
        return Path(self.request.kept) / f"broker-{number}" if self.request.kept else None

    def _read_kept_id(self) -> str | None:
        kept = self._kept(1)
        return read_cluster_id(kept) if kept else None

    def _wait_for_format(self, deadline: float) -> None:
        formats = [broker for broker in self.all if broker.process]
        if not wait_all([broker.process for broker in formats if broker.process], deadline):
            raise ClusterError("formatting the data folder took too long", "Is the machine very busy? Try again.")
        for broker in formats:
            if broker.process and broker.process.returncode:
                raise broker.failure("could not format its data folder")
        for broker in formats[:1]:
            self.template.keep(broker.data)

    def find(self, number: int) -> BrokerProcess:
        """The broker with this id; raises `ClusterError`."""
        for broker in self.all:
            if broker.ports.id == number:
                return broker
        raise ClusterError(f"there is no broker {number}", f"Brokers are numbered 1 to {len(self.all)}.")

    def command(self, verb: BrokerVerb, number: int) -> None:
        """Carries out a verb on one broker; a restart waits for the broker's port."""
        broker = self.find(number)
        if verb == "restart":
            self._end([broker], CLEAN_END_TIMEOUT)
            broker.status = "killed"
            for port in (broker.ports.port, broker.ports.controller_port):
                check_free(port, f"Stop that process, then restart broker {number}.")
            broker.start(*self._flags(broker))
            self._watch()
            broker.wait_for_port(time.monotonic() + BROKERS_TIMEOUT)
        else:
            getattr(broker, verb)()
            self._watch()

    def check(self) -> bool:
        """Marks brokers that ended without a command as `dead`, and reads the version; True when something changed."""
        if not self.busy.acquire(blocking=False):
            return False  # during a command an ended broker is no news
        ended = [broker for broker in self.all if broker.status in ("running", "paused") and not broker.runs]
        try:
            for broker in ended:
                broker.status = "dead"
            if ended:
                self._watch()
            news = self.version is None and (version := self.all[0].version()) is not None
            if news:
                self.version = version
            return bool(ended) or news
        except OSError:  # no free file descriptor, say: the version is read later
            return bool(ended)
        finally:
            self.busy.release()

    def end(self, patience: float = CLEAN_END_TIMEOUT) -> tuple[list[int], bool]:
        """Ends all brokers; returns the ids of the killed ones, and whether a start-up cache was written."""
        with self.busy:
            training = self.training and patience > 0
            if len(self.all) > 1 and not self.request.kept:
                patience = min(patience, GROUP_END_TIMEOUT)
            forced = self._end(self.all, TRAINING_TIMEOUT if training else patience)
            trained = training and self._trainee is not None and self.cache.accept(self._trainee)
            if self._trainee is not None:
                self._trainee.unlink(missing_ok=True)
            self._training_lock.close()
            if self.watchdog is not None:
                self.watchdog.close()
            return forced, trained

    def end_now(self) -> None:
        """Kills all brokers."""
        for broker in self.all:
            broker.kill()

    def _end(self, brokers: list[BrokerProcess], patience: float) -> list[int]:
        running = [broker for broker in brokers if broker.runs]
        if patience:
            for broker in running:
                broker.ask_to_end()
            wait_all([broker.process for broker in running if broker.process], time.monotonic() + patience)
        forced = [broker.ports.id for broker in running if broker.runs]
        for broker in running:
            broker.kill()
        return forced

    def _watch(self) -> None:
        if self.watchdog is not None:
            self.watchdog.watch([broker.process.pid for broker in self.all if broker.process and broker.runs])

    def _flags(self, broker: BrokerProcess | None) -> tuple[str, ...]:
        """JVM options: the start-up cache where there is one; otherwise the first broker trains one."""
        if self.warm:
            return (f"-XX:AOTCache={self.cache.file}",)
        if broker is None or broker is not self.all[0]:
            return ()
        try:
            if self._trainee is None:
                from filelock import FileLock  # here: a start with a cache is quicker without this import

                lock = self.cache.file.with_suffix(".lock")
                lock.parent.mkdir(parents=True, exist_ok=True)
                # Not thread-local: another thread may end the training.
                self._training_lock.enter_context(FileLock(lock, timeout=0, thread_local=False))
                self._trainee = self.cache.temporary()
        except OSError:  # no place for a cache, or another cluster trains one
            return ()
        return (f"-XX:AOTCacheOutput={self._trainee}",)

    def _choose_ports(self) -> tuple[BrokerPorts, ...]:
        count = self.request.brokers
        numbers = free_ports(2 * count)
        if self.request.port is not None:
            numbers[:count] = range(self.request.port, self.request.port + count)
        return tuple(BrokerPorts(i + 1, numbers[i], numbers[count + i]) for i in range(count))
