"""The brokers of one embedded cluster: started side by side, commanded one by one, ended together."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from streaming_lab.cluster.base import BrokerVerb, ClusterError
from streaming_lab.cluster.broker import BrokerProcess, wait_all
from streaming_lab.cluster.guard import Guard
from streaming_lab.cluster.jvm import Jvm, StartCache
from streaming_lab.cluster.order import Order
from streaming_lab.cluster.properties import Seat, free_ports
from streaming_lab.cluster.template import Template, new_id

START = 60.0  # seconds for all ports to open; about one is usual
CLEAN = 8.0  # seconds for a clean shutdown before force
TRAIN = 90.0  # seconds for a shutdown that also writes the start-up cache; five to ten are usual


class Fleet:
    """One to n brokers under `run`, and the start-up cache that they use or train."""

    def __init__(self, order: Order, run: Path) -> None:
        self.order, self.run = order, run
        self.jvm = Jvm(order.java, order.jars, order.profile, order.heap)
        self.cache = StartCache.of(self.jvm, Path(order.cache))
        self.template = Template.of(order.jars, Path(order.cache))
        self.cluster_id = new_id()
        self.version: str | None = None  # known when the broker has logged it, just after its port opened
        self.starts = 0
        self.warm = False
        self.brokers: list[BrokerProcess] = []
        self.busy = threading.RLock()  # one command at a time
        self._trainee: Path | None = None
        self._alone = ExitStack()  # holds the lock of the one who trains

    @property
    def training(self) -> bool:
        """Will the next clean end write a start-up cache?"""
        return self._trainee is not None and bool(self.brokers) and self.brokers[0].status in ("running", "paused")

    def start(self, on_change: Callable[[], None]) -> None:
        """Format and start all brokers and wait for their ports.

        What made the start fast but made it fail is left aside in a second try, and so is a port that somebody took
        meanwhile.
        """
        self.guard = Guard()
        warm = self.cache.usable() or self.template.file.exists()
        try:
            self._start(on_change, warm)
        except ClusterError as error:
            taken = any("Address already in use" in broker.tail() for broker in self.brokers)
            if "out of memory" in error.problem or not (warm or (taken and self.order.port is None)):
                raise
            self.end_now()
            self._start(on_change, warm=warm and taken)
            if not taken:
                self.cache.discard()

    def _start(self, on_change: Callable[[], None], warm: bool) -> None:
        deadline = time.monotonic() + START
        seats = self._seats()
        self.starts += 1
        self.warm = warm and self.cache.usable()
        folder = self.run / f"start-{self.starts}"
        self.brokers = [BrokerProcess(self.jvm, seat, seats, folder / f"broker-{seat.id}") for seat in seats]
        for broker in self.brokers:
            if not (warm and self.template.apply(broker.data, self.cluster_id, broker.seat.id)):
                broker.format(self.cluster_id, *self._flags(None))
        self._formatted(deadline)
        for broker in self.brokers:
            broker.start(*self._flags(broker))
        self._watch()
        on_change()
        for broker in self.brokers:
            broker.wait_for_port(deadline)

    def _formatted(self, deadline: float) -> None:
        formats = [broker for broker in self.brokers if broker.process]
        if not wait_all([broker.process for broker in formats if broker.process], deadline):
            raise ClusterError("formatting the data folder took too long", "Is the machine very busy? Try again.")
        for broker in formats:
            if broker.process and broker.process.returncode:
                raise broker.failure("could not format its data folder")
        for broker in formats[:1]:
            self.template.keep(broker.data)

    def find(self, number: int) -> BrokerProcess:
        """The broker with this id."""
        for broker in self.brokers:
            if broker.seat.id == number:
                return broker
        raise ClusterError(f"there is no broker {number}", f"Brokers are numbered 1 to {len(self.brokers)}.")

    def command(self, verb: BrokerVerb, number: int) -> None:
        """Do to one broker what the verb says; a restart waits for its port."""
        broker = self.find(number)
        if verb == "restart":
            self._end([broker], CLEAN)
            broker.start(*self._flags(broker))
            self._watch()
            broker.wait_for_port(time.monotonic() + START)
        else:
            getattr(broker, verb)()
            self._watch()

    def look(self) -> bool:
        """Has a broker died on its own since the last look? It is `dead` from now on."""
        if not self.busy.acquire(blocking=False):
            return False  # a command is at work: what ends now was asked to
        try:
            fallen = [broker for broker in self.brokers if broker.status in ("running", "paused") and not broker.runs]
            for broker in fallen:
                broker.status = "dead"
            if fallen:
                self._watch()
            news = self.version is None and (version := self.brokers[0].version()) is not None
            if news:
                self.version = version
            return bool(fallen) or news
        finally:
            self.busy.release()

    def end(self, patience: float = CLEAN) -> tuple[list[int], bool]:
        """End all brokers; returns the ids of those that had to be forced, and whether a start-up cache was written."""
        with self.busy:
            training = self.training and patience > 0
            forced = self._end(self.brokers, TRAIN if training else patience)
            trained = training and self._trainee is not None and self.cache.accept(self._trainee)
            if self._trainee is not None:
                self._trainee.unlink(missing_ok=True)
            self._alone.close()
            self.guard.close()
            return forced, trained

    def end_now(self) -> None:
        """Kill all brokers."""
        for broker in self.brokers:
            broker.kill()

    def _end(self, brokers: list[BrokerProcess], patience: float) -> list[int]:
        running = [broker for broker in brokers if broker.runs]
        if patience:
            for broker in running:
                broker.ask_to_end()
            wait_all([broker.process for broker in running if broker.process], time.monotonic() + patience)
        forced = [broker.seat.id for broker in running if broker.runs]
        for broker in running:
            broker.kill()
        return forced

    def _watch(self) -> None:
        self.guard.watch([broker.process.pid for broker in self.brokers if broker.process and broker.runs])

    def _flags(self, broker: BrokerProcess | None) -> tuple[str, ...]:
        """Use the cache where there is one; else one broker on this machine records what the next start will want."""
        if self.warm:
            return (f"-XX:AOTCache={self.cache.file}",)
        if broker is None or broker is not self.brokers[0]:
            return ()
        try:
            if self._trainee is None:
                from filelock import FileLock  # here: a start that has its cache does without it, and is quicker

                lock = self.cache.file.with_suffix(".lock")
                lock.parent.mkdir(parents=True, exist_ok=True)
                self._alone.enter_context(FileLock(lock, timeout=0, thread_local=False))  # another thread may end it
                self._trainee = self.cache.temporary()
        except OSError:  # no place for a cache: every start is a slow one; or another cluster trains
            return ()
        return (f"-XX:AOTCacheOutput={self._trainee}",)

    def _seats(self) -> tuple[Seat, ...]:
        count = self.order.brokers
        ports = free_ports(2 * count)
        if self.order.port is not None:
            ports[:count] = range(self.order.port, self.order.port + count)
        return tuple(Seat(i + 1, ports[i], ports[count + i]) for i in range(count))
