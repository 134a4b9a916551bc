"""A worker of this machine: python -m streaming_lab.slices.worker, which ends with the process that started it."""

import os
import queue
import sys
import threading
from typing import IO, Any

from streaming_lab.slices.executors import read_pickle, write_pickle
from streaming_lab.slices.work import answer_task


def serve_tasks() -> None:
    """Answer the tasks that come on stdin; what a function prints goes to stderr, and no task is left at the end."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    tasks = queue.Queue[Any]()
    threading.Thread(target=_take, args=(sys.stdin.buffer, tasks), name="tasks", daemon=True).start()
    while True:
        write_pickle(answers, answer_task(tasks.get()))


def _take(pipe: IO[bytes], tasks: "queue.Queue[Any]") -> None:
    while (task := read_pickle(pipe)) is not None:
        tasks.put(task)
    os._exit(0)  # whoever wanted the answer is gone


if __name__ == "__main__":
    serve_tasks()
