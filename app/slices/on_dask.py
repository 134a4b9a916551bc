"""Dask reads the slices: workers of its own on this machine, or those of a scheduler that runs already."""

import importlib.util
import socket
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Self

from streaming_lab.client.client_properties import connection_named
from streaming_lab.client.metadata import parse_addresses
from streaming_lab.client.preflight import LOOPBACK
from streaming_lab.errors import LabError
from streaming_lab.slices.work import (
    ALLOWED_DEATHS,
    SLICE_PATIENCE,
    OtherCode,
    SliceAnswer,
    SliceFailed,
    SliceTask,
    answer_task,
    code_of_this_process,
    code_trouble,
    give_up,
)

CONNECT_TIMEOUT = 15.0  # seconds for a scheduler to answer
DEATHS_SETTING = "distributed.scheduler.allowed-failures"


def dask_is_there() -> bool:
    """Is Dask installed? Nothing is imported."""
    return importlib.util.find_spec("distributed") is not None


class DaskWorkers:
    """Dask's workers. With a scheduler's address: its workers, which need this checkout; it is left running.

    A task whose worker ends is done again by another: Dask counts `ALLOWED_DEATHS` of them before it gives up. A
    scheduler that was started elsewhere has a count of its own (3 unless its settings say otherwise).
    """

    def __init__(self, scheduler: str = "", workers: int = 0) -> None:
        if not dask_is_there():
            raise LabError(
                "the engine dask is not installed",
                "python3 scripts/report.py 06 -p engine dask installs it (requirements-scale.txt, 13 packages).",
            )
        import dask
        import distributed

        self._remote = scheduler
        self._cluster: Any = None
        if not scheduler:
            with dask.config.set({DEATHS_SETTING: ALLOWED_DEATHS, "distributed.admin.log-length": 0}):
                self._cluster = _untyped(distributed.LocalCluster)(
                    n_workers=workers or None, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
                )
        try:
            if scheduler:
                _knock(scheduler)
            self.client: Any = _untyped(distributed.Client)(
                self._cluster or scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise LabError(
                f"no Dask scheduler answers at {scheduler}: {error}", "Start one (dask scheduler), or correct it."
            ) from error
        self.workers = len(self.client.scheduler_info(n_workers=-1)["workers"])

    def answers(self, tasks: Sequence[SliceTask]) -> Iterator[tuple[int, SliceAnswer]]:
        """(number of the task, its answer), as they come; `SliceFailed` for a slice that ended its workers."""
        from distributed import CancelledError, KilledWorker, wait

        if not tasks:
            return
        self._check_workers(tasks[0])
        patience = tasks[0].timeout + SLICE_PATIENCE
        coming, under_way = iter(enumerate(tasks)), dict[Any, int]()
        try:
            while True:
                for number, task in islice(coming, max(0, 3 * self.workers - len(under_way))):
                    future = self.client.submit(answer_task, task, pure=False)
                    under_way[future] = number
                if not under_way:
                    return
                try:
                    with self.client.as_current():  # where `wait` looks for its client
                        found = _untyped(wait)(list(under_way), patience, return_when="FIRST_COMPLETED").done
                except TimeoutError as error:
                    left = len(self.client.scheduler_info(n_workers=-1)["workers"])
                    what = f"no slice was answered within {patience:g} s; the Dask scheduler has {left} workers"
                    raise SliceFailed(what, "Look at the workers' logs; take smaller slices (offsets=...).") from error
                except CancelledError as error:  # by the client, of all tasks, once nobody answers it
                    what = f"the Dask scheduler {self._remote} is gone: it answers no more"
                    raise SliceFailed(
                        what, "Look at its log, start it and its workers again, and read anew."
                    ) from error
                for future in found:
                    number = under_way.pop(future)
                    try:
                        answer = future.result(timeout=patience)
                    except KilledWorker as error:
                        raise give_up(tasks[number].piece, ALLOWED_DEATHS) from error
                    yield number, answer
        finally:
            if under_way and self.client.status == "running":
                self.client.cancel(list(under_way))

    def _check_workers(self, task: SliceTask) -> None:
        """Refuse workers with other code, and brokers that other machines cannot reach, before anything is read."""
        if not self.workers:
            raise LabError(f"the Dask scheduler {self._remote} has no workers", "Start some: dask worker ADDRESS.")
        hosts = {host for host, _ in parse_addresses(connection_named(task.brokers)["bootstrap_servers"])}
        if self._remote and hosts <= set(LOOPBACK) and not _is_here(self._remote):
            raise LabError(
                f"the brokers listen at {task.brokers}, which workers of {self._remote} on other machines cannot reach",
                "Take brokers that all machines reach (-p cluster HOST:PORT); the lab's own listen on this one alone.",
            )
        own = code_of_this_process()
        found = self.client.run(_code_of_worker)
        for worker, code in sorted(found.items()):
            if code != own:
                raise OtherCode(*code_trouble(worker, own, code))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self._cluster is not None:
            self._cluster.close()


def _untyped(made: Any) -> Any:
    """Dask's classes have no types, and are there only for who asked for them."""
    return made


def _knock(scheduler: str) -> None:
    """Raise `OSError` or `ValueError` at once where nobody listens; Dask's client would try again for seconds."""
    import distributed.comm

    place = _untyped(distributed.comm).get_address_host_port(scheduler)
    socket.create_connection(place, CONNECT_TIMEOUT).close()


def _code_of_worker() -> str:
    return code_of_this_process()


def _is_here(scheduler: str) -> bool:
    host = scheduler.rpartition("://")[2].rpartition(":")[0]
    return host.strip("[]") in LOOPBACK
