"""The supervisor's state file: which processes make up the running cluster, and who uses it."""

import json
import os
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from streaming_lab.paths import lab_home

CLOCK_STEP = 2.0  # seconds that a start time may differ between two readers, after the clock was set


@dataclass(frozen=True)
class ProcessId:
    """A process by pid and start time (Unix seconds), so that a later one with the same pid is not taken for it."""

    pid: int
    created: float


@dataclass(frozen=True)
class Lease:
    """A user of the cluster; `process` is None for a hold (`cluster.py start`), which lasts until `stop`."""

    name: str
    process: ProcessId | None
    since: float


@dataclass(frozen=True)
class BrokerState:
    """One broker: its process, its ports on 127.0.0.1, and `running`, `paused`, `killed` or `dead`."""

    id: int
    port: int
    controller_port: int
    process: ProcessId | None
    status: str


@dataclass(frozen=True)
class State:
    """The state file's content; `status` is `starting`, `running` or `stopping`; times are Unix seconds."""

    status: str
    supervisor: ProcessId
    address: tuple[str, int]
    token: str
    run: str
    cluster_id: str
    version: str | None
    profile: str
    training: bool
    started_at: float
    ready_seconds: float | None
    grace: float
    brokers: tuple[BrokerState, ...]
    users: tuple[Lease, ...]
    auto_create: bool = False
    kept: str = ""  # the folder of data that outlive the cluster, if they do

    @property
    def servers(self) -> list[str]:
        """The bootstrap servers, always as 127.0.0.1: a name could resolve to another address."""
        return [f"127.0.0.1:{broker.port}" for broker in self.brokers]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists, for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "State":
        """The inverse of `to_json`; fields of a later version are ignored, other data raises KeyError or TypeError."""
        return cls(
            **{
                **{
                    field.name: data[field.name]
                    for field in fields(cls)
                    if field.default is MISSING or field.name in data
                },
                "supervisor": ProcessId(**data["supervisor"]),
                "address": (data["address"][0], data["address"][1]),
                "brokers": tuple(BrokerState(**{**b, "process": _process_id(b["process"])}) for b in data["brokers"]),
                "users": tuple(Lease(**{**u, "process": _process_id(u["process"])}) for u in data["users"]),
            }
        )


def state_file(instance: str = "", home: Path | None = None) -> Path:
    """The path of the state file of the cluster called `instance`; the default cluster has no name."""
    return (home or lab_home()) / (f"cluster-{instance}.json" if instance else "cluster.json")


def instance_names(home: Path | None = None) -> Iterator[str]:
    """The names of all clusters that have a state file in this lab home."""
    for file in sorted((home or lab_home()).glob("cluster*.json")):
        yield file.stem.removeprefix("cluster").removeprefix("-")


def read_state(file: Path) -> State | None:
    """The state in the file; None when there is no file or its content is not a state."""
    try:
        return State.from_json(json.loads(file.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def strangers(file: Path) -> list[ProcessId]:
    """The living processes of a cluster whose state file this version cannot read: another version started it.

    In every version a process is an object with a pid and a start time; users are left out.
    """
    try:
        named = list(_processes(json.loads(file.read_bytes()))) if read_state(file) is None else []
    except (OSError, ValueError):
        return []
    return [process for process in named if is_alive(process)]


def _processes(data: Any) -> Iterator[ProcessId]:
    if isinstance(data, dict) and isinstance(data.get("pid"), int) and isinstance(data.get("created"), float):
        yield ProcessId(data["pid"], data["created"])
    elif isinstance(data, dict):
        for name, inner in data.items():
            yield from () if name in ("users", "leases") else _processes(inner)
    elif isinstance(data, list):
        for inner in data:
            yield from _processes(inner)


def write_state(file: Path, state: State) -> None:
    """Replace the state file atomically, readable by its owner only: it holds the supervisor's token."""
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(state.to_json(), out, indent=1)
    os.replace(temporary, file)


def identify_process(pid: int) -> ProcessId:
    """The process with this pid now; raises psutil.NoSuchProcess."""
    return ProcessId(pid, psutil.Process(pid).create_time())


def is_alive(known: ProcessId | None) -> bool:
    """Whether exactly this process runs; a zombie does not, nor does another process with the same pid."""
    if known is None:
        return False
    try:
        process = psutil.Process(known.pid)
        return abs(process.create_time() - known.created) < CLOCK_STEP and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _process_id(data: dict[str, Any] | None) -> ProcessId | None:
    return None if data is None else ProcessId(**data)
