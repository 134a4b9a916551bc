"""Experiments side by side, in lanes with a broker of their own each, and what each lane does just now.

An experiment waits more than it works: for players who come at their pace, for outages to pass, for brokers to return.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from itertools import chain

from streaming_lab.cluster import Cluster, attach, run_topics
from streaming_lab.errors import LabError
from streaming_lab.faults.experiment import Experiment, Say, run_experiment
from streaming_lab.faults.load import Load
from streaming_lab.faults.plan import DEFAULT_VARIANTS, VARIANTS, Fault

SAY_INTERVAL = 0.5  # seconds between two reports of what the lanes do
CLOSE_TIMEOUT = 60.0  # seconds for the last cluster to end


class Lanes:
    """Runs each lane's faults in order, `times` each, in a thread and on an embedded cluster of the lane's own.

    A lane ends with its first error, which its further faults have as well. The threads, and with them all that they
    have started, end with the process. `say` hears what the lanes do while somebody waits for a result.
    """

    def __init__(self, lanes: Sequence[Sequence[Fault]], load: Load, times: int = 1, say: Say = lambda _: None) -> None:
        self._lanes, self._load, self._times, self._say = lanes, load, times, say
        self._found: dict[Fault, Future[list[Experiment]]] = {fault: Future() for fault in chain(*lanes)}
        self._doing = ["a broker starts" for _ in lanes]
        self._threads = [
            threading.Thread(target=self._run, args=(index,), name=f"lane-{index + 1}", daemon=True)
            for index in range(len(lanes))
        ]
        for thread in self._threads:
            thread.start()

    def result(self, fault: Fault) -> list[Experiment]:
        """Wait for the experiments with a fault; raises what ended its lane. Each wait within has its own deadline."""
        found = self._found[fault]
        while wait([found], SAY_INTERVAL).not_done:
            self._say(self._describe(fault))
        return found.result()

    def close(self) -> None:
        """Wait for the end of the lanes' clusters, when every result is there."""
        for thread in self._threads:
            thread.join(CLOSE_TIMEOUT)
            if thread.is_alive():
                raise LabError(f"a lane still runs after {CLOSE_TIMEOUT:g} s", "Take every result before close().")

    def _describe(self, fault: Fault) -> str:
        """What all lanes do, the one of `fault` first."""
        first = next(index for index, lane in enumerate(self._lanes) if fault in lane)
        over = sum(found.done() for found in self._found.values())
        doing = [self._doing[first], *self._doing[:first], *self._doing[first + 1 :]]
        return "; ".join([*filter(None, doing), f"{over} of {len(self._found)} over"])

    def _run(self, index: int) -> None:
        left = list(self._lanes[index])
        try:
            with attach("embedded", instance=run_topics.run_name(f"faults-{index + 1}")) as kafka:
                while left:
                    experiments = [self._experiment(index, left[0], kafka) for _ in range(self._times)]
                    self._found[left.pop(0)].set_result(experiments)
                self._doing[index] = ""
                kafka.close(wait=True)
        except BaseException as error:  # whoever waits for a result raises it
            self._doing[index] = ""
            for fault in left:
                self._found[fault].set_exception(error)

    def _experiment(self, index: int, fault: Fault, kafka: Cluster) -> Experiment:
        say = self._teller(index, fault.name.partition(",")[0])
        return run_experiment(fault, kafka, VARIANTS.get(fault, DEFAULT_VARIANTS), self._load, say)

    def _teller(self, index: int, name: str) -> Callable[[str], None]:
        def say(doing: str) -> None:
            self._doing[index] = f"{name}: {doing}"

        return say
