"""The supervisor's state file: which processes make up the running cluster, and who uses it."""

import contextlib
import json
import math
import os
import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.embedded.rpc import SocketAddress
from streaming_lab.paths import lab_home
from streaming_lab.processes import Place, ProcessId, find_place, identify_process, is_alive, is_alive_by_clock, locate

LARGEST = 1e12  # of the numbers in a state file
RUN_FOLDER_NAME = re.compile(r"\d{8}-\d{6}-\d+")  # UTC date and time of the start, pid of the supervisor


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

    status: Literal["starting", "running", "stopping"]
    place: Place
    supervisor: ProcessId
    address: SocketAddress
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
    secured: str = ""  # the folder of certificates, passwords and client files, if it is secured

    @property
    def servers(self) -> list[str]:
        """The bootstrap servers, always as 127.0.0.1: a name could resolve to another address."""
        return [f"127.0.0.1:{broker.port}" for broker in self.brokers]

    @property
    def locator(self) -> str:
        """`host:port[,host:port]`, or a secured cluster's client properties file, its admin's."""
        return f"{self.secured}/admin.properties" if self.secured else ",".join(self.servers)

    @property
    def runs(self) -> bool:
        """Whether the supervisor runs on this machine and in this process namespace."""
        return locate(self.place) == "here" and is_alive(self.supervisor)

    @property
    def living_brokers(self) -> list[ProcessId]:
        """The brokers' processes that run on this machine and in this process namespace."""
        if locate(self.place) != "here":
            return []
        return [broker.process for broker in self.brokers if broker.process and is_alive(broker.process)]

    @property
    def dead_brokers(self) -> list[BrokerState]:
        """The brokers that ended without a command, as the supervisor noticed."""
        return [broker for broker in self.brokers if broker.status == "dead"]

    @property
    def lost_brokers(self) -> list[BrokerState]:
        """The brokers that should run and have no process: they ended, or are just being restarted."""
        up = [broker for broker in self.brokers if broker.status in ("running", "paused")]
        return [broker for broker in up if self.status == "running" and not is_alive(broker.process)]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists, for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> "State":
        """The inverse of `to_json`; fields of a later version are ignored, any other data raises ValueError."""
        found: State = _read_kind(cls, data)
        if isinstance(found.address, tuple) and found.address[1] > 65535:
            raise ValueError(f"{found.address[1]} is no port")
        return found


def _read_kind(kind: Any, data: Any) -> Any:
    """`data`, as JSON gave it, as a value of a type: a record, an optional, a tuple, a literal or a plain one."""
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(data, dict):
        hints = get_type_hints(kind)
        known = {field.name: field.default for field in fields(kind)}
        if all(name in data or default is not MISSING for name, default in known.items()):
            return kind(**{name: _read_kind(hints[name], data[name]) for name in known if name in data})
    elif isinstance(kind, types.UnionType):
        for one in get_args(kind):
            with contextlib.suppress(ValueError):
                return _read_kind(one, data)
    elif get_origin(kind) is tuple and isinstance(data, list | tuple):
        inner = get_args(kind)
        kinds = inner[:1] * len(data) if inner[-1] is ... else inner
        if len(kinds) == len(data):
            return tuple(_read_kind(one, value) for one, value in zip(kinds, data, strict=True))
    elif _is_plain(kind, data):
        return data
    raise ValueError(f"{str(data)[:80]!r} is not {kind}")


def _is_plain(kind: Any, data: Any) -> bool:
    if get_origin(kind) is Literal:
        return type(data) is str and data in get_args(kind)
    if kind is float:
        return type(data) in (int, float) and math.isfinite(data) and abs(data) < LARGEST
    return type(data) is kind and (kind is not int or 0 <= data < LARGEST)


def state_file(instance: str = "", home: Path | None = None) -> Path:
    """The path of the state file of the cluster called `instance`; the default cluster has no name."""
    return (home or lab_home()) / (f"cluster-{instance}.json" if instance else "cluster.json")


def instance_names(home: Path | None = None) -> Iterator[str]:
    """The names of all clusters that have a state file in this lab home."""
    for file in sorted((home or lab_home()).glob("cluster*.json")):
        yield file.stem.removeprefix("cluster").removeprefix("-")


def read_state(file: Path) -> State | None:
    """The state in the file; None when there is no file or its content is not a state of this version."""
    data = _read_json(file)
    try:
        return None if data is None else State.from_json(data)
    except ValueError:
        return None


def strangers(file: Path) -> list[ProcessId]:
    """The living processes in a state file that this version cannot read: another version started them.

    In every version a process is an object with a pid and a start time; users are left out.
    """
    if read_state(file) is not None:
        return []
    found = []
    for pid, created in _find_processes(_read_json(file)):
        if is_alive_by_clock(pid, created):
            with contextlib.suppress(OSError):
                found.append(identify_process(pid))
    return found


def _find_processes(data: Any) -> Iterator[tuple[int, float]]:
    if isinstance(data, dict) and type(data.get("pid")) is int and type(data.get("created")) is float:
        yield data["pid"], data["created"]
    elif isinstance(data, dict):
        for name, inner in data.items():
            yield from () if name in ("users", "leases") else _find_processes(inner)
    elif isinstance(data, list):
        for inner in data:
            yield from _find_processes(inner)


def _read_json(file: Path) -> Any:
    """The file's JSON; None when there is no file or it holds none. A file that may not be read is an error."""
    try:
        return json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise ClusterError(
            f"cannot read {file}: {error.strerror}", "Set LAB_HOME to a folder of your own, or remove what is there."
        ) from error


def find_elsewhere(file: Path) -> Place | None:
    """The other machine or process namespace (a container) where the file's cluster runs, whatever its version."""
    data = _read_json(file)
    try:
        place: Place = _read_kind(Place, data.get("place") if isinstance(data, dict) else None)
    except ValueError:
        return None
    return place if locate(place) == "elsewhere" else None


def check_place(file: Path) -> None:
    """Raises `ClusterError` when the file's cluster runs on another machine or in another process namespace."""
    if place := find_elsewhere(file):
        raise ClusterError(
            f"the cluster of {file} runs on {place}, and this is {find_place()}",
            "Stop it there, or set LAB_HOME to another folder here. When that machine or container is gone: "
            "python3 scripts/cluster.py forget",
        )


def run_folder(file: Path) -> Path | None:
    """The run folder that a state file names, always below `run` beside that file; None when it names no such one."""
    data = _read_json(file)
    run = data.get("run") if isinstance(data, dict) else None
    name = Path(run).name if isinstance(run, str) else ""
    return file.parent / "run" / name if RUN_FOLDER_NAME.fullmatch(name) else None


class StateFile:
    """The state file of one running supervisor, its only writer.

    A damaged file is written again; a removed one, or one of another cluster, means the end of this one.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token = path, token
        self._written: tuple[int, ...] | None = None

    def write(self, state: State) -> None:
        """Replaces the file atomically, readable by its owner only: it holds the token. Raises OSError."""
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                json.dump(state.to_json(), out, indent=1)
            written = _version(temporary)
            os.replace(temporary, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        self._written = written

    def check(self) -> Literal["written", "damaged", "gone"]:
        """What became of the file: still as it was written, damaged, or gone (removed, or another cluster's)."""
        try:
            version = _version(self.path)
            if version == self._written:
                return "written"
            found = read_state(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return "gone"
        except (OSError, ClusterError):
            return "written"  # in doubt: the file system does not answer
        if found is None:
            return "damaged"
        if found.token != self.token:
            return "gone"
        self._written = version  # a file server may date a file otherwise than it said at first
        return "written"

    def remove(self) -> None:
        """Removes the file, unless it is another cluster's by now."""
        with contextlib.suppress(OSError):
            if self.check() != "gone":
                self.path.unlink(missing_ok=True)


def _version(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
