"""The settings: environment variables that begin with LAB_, each with its default, its meaning and what it may be."""

import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from streaming_lab.errors import LabError
from streaming_lab.wording import closest

_T = TypeVar("_T")


@dataclass(frozen=True)
class Setting(Generic[_T]):
    """One setting; `parse` turns the variable's text into a value, or raises ValueError with what the text is."""

    name: str
    default: _T
    shown: str
    meaning: str
    parse: Callable[[str], _T]

    def get(self) -> _T:
        """The value as set now, the default if unset or empty; raises `LabError` for a bad value."""
        text = os.environ.get(self.name)
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError as error:
            cure = f"Unset {self.name}, or set it to {self.meaning}."
            raise LabError(f"{self.name}={text} is {error}", cure) from error


def folder(text: str) -> Path:
    """A folder that exists or can be made."""
    if not Path(text).is_dir() and os.path.lexists(text):
        raise ValueError("no folder")
    return Path(text)


def seconds(text: str) -> float:
    """A finite number of seconds, zero included."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < math.inf:
        raise ValueError("no number of seconds")
    return found


def switch(text: str) -> bool:
    """True or false, in the usual spellings."""
    if text.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError("neither 1 nor 0")
    return text.lower() in ("1", "true", "yes", "on")


def heap(text: str) -> str:
    """A size in the syntax of the JVM's -Xmx."""
    if not re.fullmatch(r"\d+[kmgKMG]?", text):
        raise ValueError("no size of a heap")
    return text


def size(text: str) -> int:
    """A number of bytes, with k, m or g for 1024 and its powers."""
    found = re.fullmatch(r"(\d+)([kmg]?)b?", text.lower())
    if found is None:
        raise ValueError("no size")
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2]]


def project_name(text: str) -> str:
    """A project name in the syntax of Docker Compose."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", text):
        raise ValueError("no project name for Docker Compose (small letters, digits, - and _)")
    return text


HOME = Setting[Path | None]("LAB_HOME", None, ".lab", "the folder of running clusters, their state and logs", folder)
BUILD = Setting[Path | None]("LAB_BUILD", None, "build", "the folder for the report and the data of its run", folder)
CACHE = Setting[Path | None](
    "LAB_CACHE",
    None,
    ".lab/cache",
    "the folder of Kafka's jars and start-up caches; many users may share one",
    folder,
)
CLUSTER = Setting("LAB_CLUSTER", "embedded", "embedded", "the cluster to take for `embedded`, as kafka:29092", str)
GRACE = Setting("LAB_GRACE", 3.0, "3", "the seconds that a cluster outlives its last user, as 60", seconds)
KEEP = Setting("LAB_KEEP", False, "0", "1 to keep the files of a cluster that ended, else 0", switch)
KAFKA_HEAP = Setting(
    "LAB_KAFKA_HEAP", "", "256m", "the heap of each broker's JVM, as 512m or 1g (--throughput: 1g)", heap
)
COMPOSE_PROJECT = Setting(
    "LAB_COMPOSE_PROJECT",
    "streaming-lab",
    "streaming-lab",
    "the name of the containers' project, as my-lab",
    project_name,
)

FRAME_MEMORY = Setting[int | None](
    "LAB_MEMORY", None, "half of what is free", "the memory that one DataFrame of a topic may take, as 800m or 8g", size
)

CLASS_KEY = Setting(
    "LAB_CLASS_KEY", "", "none", "a class's key: with it -p student gives seeds of that class alone", str
)

SETTINGS: tuple[Setting[Path | None] | Setting[int | None] | Setting[str] | Setting[float] | Setting[bool], ...] = (
    HOME,
    BUILD,
    CACHE,
    CLUSTER,
    GRACE,
    KEEP,
    KAFKA_HEAP,
    COMPOSE_PROJECT,
    CLASS_KEY,
    FRAME_MEMORY,
)
PREFIX = "LAB_"
WARNED = "LAB_WARNED"  # set once unknown variables were named: a script that starts scripts is one command to its user
RUN_ID, RUN_ALONE = "LAB_RUN", "LAB_RUN_ALONE"  # a report's id, and where its kernels may use plain names
INTERNAL = (
    "LAB_SAID",
    "LAB_ENVIRONMENT",
    "LAB_MARK",
    "LAB_BOX",
    WARNED,
    RUN_ID,
    RUN_ALONE,
)  # variables that the lab's processes set for each other


def check() -> None:
    """Name unknown LAB_ variables on stderr, once per command; raise `LabError` for a setting with a bad value."""
    unknown = complaints(os.environ)
    if unknown and WARNED not in os.environ:
        os.environ[WARNED] = "1"
        sys.stderr.write("".join(f"{line}\n" for line in unknown))
    for setting in SETTINGS:
        setting.get()


def complaints(variables: Mapping[str, str]) -> list[str]:
    """A line for each LAB_ variable that is no setting, with the nearest setting."""
    names = [setting.name for setting in SETTINGS]
    return [
        f"{name} is no setting of the lab and does nothing; {_hint(name, names)}"
        for name in sorted(variables)
        if name.startswith(PREFIX) and name not in (*names, *INTERNAL)
    ]


def _hint(name: str, names: list[str]) -> str:
    near = closest(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in names])
    return f"did you mean {PREFIX}{near}?" if near else f"the settings are {', '.join(names)}."


def help_text() -> str:
    """The settings for a command's --help, a line each."""
    lines = [f"  {setting.name:<20} {setting.meaning} (default: {setting.shown})" for setting in SETTINGS]
    return "\n".join(["settings (environment variables):", *lines])
