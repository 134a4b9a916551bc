"""A program of the lab in a process of its own: what it reports, line by line, and its end with its starter."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from streaming_lab.errors import LabError
from streaming_lab.paths import SOURCE
from streaming_lab.processes import end_with_stdin

END_TIMEOUT = 30.0  # seconds for a child to end when it was asked to


@dataclass(frozen=True)
class ReportLine:
    """One report of a child, and when it was sent (monotonic seconds, which all processes of a machine share)."""

    at: float
    kind: str
    values: Any


class ChildProgram:
    """`python -m MODULE`, which reads its task from stdin as one line of JSON, and reports on stdout.

    Its stdin stays open as long as the program may run: it ends when that is closed, by `ask_to_end` or by the end of
    this process, whichever way this process ends.
    """

    def __init__(self, module: str, task: dict[str, Any]) -> None:
        self.reports: list[ReportLine] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=SOURCE
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended already: `wait` tells how
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        self._listener = threading.Thread(target=self._listen, name="child-reports", daemon=True)
        self._listener.start()

    @property
    def running(self) -> bool:
        """Is there a process that has not ended?"""
        return self._process.poll() is None

    def of(self, kind: str) -> list[ReportLine]:
        """The reports of one kind so far."""
        return [one for one in self.reports if one.kind == kind]

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone and all of its reports have been read."""
        self._process.kill()
        self.wait()

    def ask_to_end(self) -> None:
        """Close its stdin."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def wait(self) -> int:
        """The exit code, when it ended; raises a `LabError` after `END_TIMEOUT` seconds, and kills the process."""
        try:
            code = self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            self._process.wait()
            raise LabError(
                f"a program of the lab did not end within {END_TIMEOUT:g} s", "Is the machine very busy?"
            ) from error
        finally:
            self.ask_to_end()
        self._listener.join()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.running:
            self._process.kill()
        self.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with suppress(ValueError):  # a line that the kill cut off
                    self.reports.append(ReportLine(*json.loads(line)))


# The child's side.


def send_report(kind: str, values: Any = None) -> None:
    """Report one line to the starter; what was reported stays reported after a SIGKILL."""
    os.write(1, json.dumps([time.monotonic(), kind, values]).encode() + b"\n")


def receive_task(stop: Callable[[], None]) -> dict[str, Any]:
    """The task from stdin; `stop` is called when the starter closes stdin or is gone."""
    task: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    end_with_stdin(stop)
    return task
