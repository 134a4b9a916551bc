"""The benchmarks' environment: a cluster, the peers' own Python (made from the hashed lock), and this machine."""

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

import set_up
from streaming_lab.cluster import Cluster, attach
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, cache_folder

LOCK = PROJECT / "requirements-bench.txt"
SET_UP_TIMEOUT = 600.0  # seconds that another benchmark may take to make the peers' Python


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """The option that `attached` takes."""
    parser.add_argument("--cluster", default="embedded", help="embedded, or host:port of brokers that run already")


def attached(name: str, user: str) -> Cluster:
    """The named cluster; an embedded one gets the whole JIT and a larger heap."""
    return attach(name, throughput=name == "embedded", user=user)


def peers_python() -> Path:
    """The interpreter that has every peer; made on first use and when the lock has changed (half a minute)."""
    home = cache_folder() / "bench"
    python = home / "bin/python"
    stamp, wanted = home / "lock.sha256", hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_suffix(".lock"), timeout=SET_UP_TIMEOUT):  # of two benchmarks at once, one makes it
        if stamp.exists() and stamp.read_text() == wanted:
            return python
        sys.stderr.write(f"Setting up the peers in {home} from {LOCK.name}, once.\n")
        with set_up.locked_uv(sys.executable) as uv:
            _step([uv, "--quiet", "venv", "--clear", "--python", sys.executable, str(home)])
            _step([uv, "--quiet", "pip", "sync", "--python", str(python), "--require-hashes", str(LOCK)])
        stamp.write_text(wanted)
    return python


def importing() -> dict[str, str]:
    """The environment of a process that runs one of these modules as a program."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "scripts")))}


def next_line(process: "subprocess.Popen[str]", seconds: float) -> str:
    """The next line of a process's output; a process that is silent for `seconds` is killed, and the line is empty."""
    assert process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


def machine() -> dict[str, Any]:
    """The machine that the figures depend on: processor, cores, memory, system, Python."""
    import psutil

    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / (1 << 30)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def free_mb() -> int:
    """The available memory in MB."""
    import psutil

    return int(psutil.virtual_memory().available / (1 << 20))


class Peak:
    """The largest resident memory of this process while the block runs, and the memory before."""

    def __init__(self, look: float) -> None:
        import psutil

        self._process, self._look = psutil.Process(), look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = self.highest = self._process.memory_info().rss

    def _watch(self) -> None:
        while not self._ended.wait(self._look):
            self.highest = max(self.highest, self._process.memory_info().rss)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.highest = max(self.highest, self._process.memory_info().rss)


def _processor() -> str:
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _step(command: list[str]) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        words = " / ".join(ran.stderr.strip().splitlines()[-3:])
        raise LabError(f"the peers cannot be installed: {words}", "Check the network and run the same command again.")
