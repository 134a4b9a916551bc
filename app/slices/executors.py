"""Who reads the slices: this process, or processes of this machine; Dask is behind the same two calls."""

import os
import pickle
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import IO, Any, Protocol, Self

from streaming_lab.errors import LabError
from streaming_lab.paths import SOURCE
from streaming_lab.slices.work import (
    ALLOWED_DEATHS,
    SLICE_PATIENCE,
    SliceAnswer,
    SliceFailed,
    SliceTask,
    answer_task,
    give_up,
)

_LENGTH = struct.Struct(">Q")
ENGINES = ("pandas", "processes", "dask")


class Executor(Protocol):
    """Does tasks, each at least once, and gives an answer for each; close it to end its workers."""

    workers: int

    def answers(self, tasks: Sequence[SliceTask]) -> Iterator[tuple[int, SliceAnswer]]:
        """(number of the task, its answer), as they come."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_executor(engine: str, scheduler: str = "", workers: int = 0) -> Executor:
    """The executor called pandas (this process), processes or dask; a `scheduler` (tcp://host:8786) is Dask's alone."""
    if engine not in ENGINES:
        raise LabError(f"there is no engine {engine!r}", f"Use one of: {', '.join(ENGINES)}.")
    if scheduler and engine != "dask":
        raise LabError(f"a scheduler ({scheduler}) is Dask's, and the engine is {engine}", "Add -p engine dask.")
    if engine == "pandas":
        return ThisProcess()
    if engine == "processes":
        return MachineProcesses(workers)
    from streaming_lab.slices.on_dask import DaskWorkers

    return DaskWorkers(scheduler, workers)


class ThisProcess:
    """One slice after another, here."""

    workers = 1

    def answers(self, tasks: Sequence[SliceTask]) -> Iterator[tuple[int, SliceAnswer]]:
        """(number of the task, its answer), in order."""
        yield from enumerate(map(answer_task, tasks))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


class MachineProcesses:
    """Processes of this machine, one slice at a time each; one that ends is replaced, and its slice is read again."""

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._idle: deque[_Program] = deque()
        self._busy: set[_Program] = set()
        self._halted = threading.Event()

    def answers(self, tasks: Sequence[SliceTask]) -> Iterator[tuple[int, SliceAnswer]]:
        """(number of the task, its answer), as they come; `SliceFailed` for a slice that ended its workers."""
        self._halted.clear()
        coming, under_way = iter(enumerate(tasks)), dict[Future[SliceAnswer], int]()
        with ThreadPoolExecutor(self.workers, "slices") as pool:
            try:
                while True:
                    for number, task in islice(coming, 2 * self.workers - len(under_way)):
                        under_way[pool.submit(self._do, task)] = number
                    if not under_way:
                        return
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        yield under_way.pop(future), future.result()
            finally:  # an error, or a caller that stops early, leaves slices under way
                if under_way:
                    self._halt(list(under_way))

    def _halt(self, under_way: list[Future[SliceAnswer]]) -> None:
        self._halted.set()
        for future in under_way:
            future.cancel()
        for program in list(self._busy):
            program.end()

    def _do(self, task: SliceTask) -> SliceAnswer:
        for _ in range(ALLOWED_DEATHS):
            program = self._idle.popleft() if self._idle else _Program()
            self._busy.add(program)
            try:
                answer = program.ask(task)
            except BaseException:
                program.end()
                raise
            finally:
                self._busy.discard(program)
            if answer is not None:
                self._idle.append(program)
                return answer
            program.end()
            if self._halted.is_set():
                raise SliceFailed(f"{task.piece}: stopped", "Another slice failed.")
        raise give_up(task.piece, ALLOWED_DEATHS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            self._idle.pop().end()


class _Program:
    """`python -m streaming_lab.slices.worker`: tasks through its stdin, answers from its stdout, both pickled."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "streaming_lab.slices.worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=SOURCE)

    def ask(self, task: SliceTask) -> SliceAnswer | None:
        """The answer; None if the process ends before. One that is silent for too long is ended: `SliceFailed`."""
        patience, late = task.timeout + SLICE_PATIENCE, threading.Event()
        timer = threading.Timer(patience, self._stop, [late])
        timer.daemon = True
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer.start()
        try:
            write_pickle(self._process.stdin, task)
            answer: SliceAnswer | None = read_pickle(self._process.stdout)
        except BrokenPipeError:
            answer = None
        finally:
            timer.cancel()
        if late.is_set():
            raise SliceFailed(f"{task.piece}: no answer within {patience:g} s", "Take smaller slices (offsets=...).")
        return answer

    def _stop(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def write_pickle(pipe: IO[bytes], value: object) -> None:
    """Write one value with its length; `LabError` for one that cannot go to another process."""
    try:
        data = pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        cure = "Define the function at the top of a module: another process finds it there by its name."
        raise LabError(f"the function cannot be sent to another process: {error}", cure) from error
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def read_pickle(pipe: IO[bytes]) -> Any:
    """The next value; None at the end of the pipe. Only for pipes to processes of our own."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    return pickle.loads(data) if len(data) == length else None  # noqa: S301 - from a process of our own
