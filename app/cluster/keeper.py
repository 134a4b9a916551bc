"""The small process that owns the brokers' JVMs, and ends them when their last user is gone.

python -m streaming_lab.cluster.keeper        started by streaming_lab.cluster.starting, with an order as JSON on stdin

It runs in a session of its own, so neither Ctrl-C nor a kernel's end reaches it. Standard library and psutil only: it
must be up at once.
"""

import contextlib
import json
import os
import signal
import sys

from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.channel import Answer
from streaming_lab.cluster.keeping import Keeper
from streaming_lab.cluster.order import Order


def main() -> None:
    """Read the order, answer one line on stdout (the state file's path, or a problem with its cure), and keep."""
    order = Order.from_json(json.load(sys.stdin))
    if os.fork():
        os._exit(0)  # the starter is not our parent then, and need not collect us
    os.setsid()  # leads its own group again, so that it can be ended as one
    keeper = Keeper(order)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: keeper.ending.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        keeper.start()
    except ClusterError as error:
        _say({"problem": error.problem, "cure": error.cure})
        return
    _say({"state": str(keeper.file)})
    try:
        keeper.watch()
    finally:
        keeper.end()


def _say(answer: Answer) -> None:
    """Tell the starter, if it still listens, and let go of its pipe."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(answer).encode() + b"\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    main()
