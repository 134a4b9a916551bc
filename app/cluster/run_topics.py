"""Names that belong to one run: topics and clusters that no other run writes to, also where runs share a broker.

A run that is alone on a cluster of the lab has the lesson's plain names (`events`). On somebody else's brokers, or
beside another run, a name gets the run's id (`events-1f0c9a3e`). A run is a report, a notebook run by papermill, or all
notebooks of one JupyterLab. On somebody else's brokers the topics of a run are deleted at its end, and no others ever.
"""

import atexit
import fcntl
import functools
import os
import sys
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from streaming_lab import settings
from streaming_lab.client import topics
from streaming_lab.client.connection import addresses
from streaming_lab.cluster.base import Cluster
from streaming_lab.errors import LabError
from streaming_lab.paths import lab_home

TOPICS_FILE = ".topics"  # in a report's folder: the topics to delete at its end


def create_run_topic(
    cluster: Cluster,
    name: str,
    *,
    partitions: int = 1,
    replication_factor: int | None = None,
    config: Mapping[str, str] | None = None,
) -> str:
    """Create a topic of this run unless the run has it, and return its name: `name`, or `name-ID`.

    Without a `replication_factor` each record has the cluster's `copies`.
    A topic that an earlier run left under the plain name in another shape stays as it is; this run's gets its id.
    """

    def create(chosen: str) -> str:
        if cluster.kind == "external":
            note_topic(cluster, chosen)
        copies = replication_factor or cluster.copies
        topics.create_topic(cluster.connection, chosen, partitions=partitions, replication_factor=copies, config=config)
        return chosen

    chosen = run_name(name, cluster.kind)
    try:
        return create(chosen)
    except topics.TopicClash:
        if chosen != name:
            raise
        return create(name_with_id(name))


def run_name(name: str, kind: str = "embedded") -> str:
    """`name` for a run that is alone on this kind of cluster, `name-ID` for any other."""
    return name if kind != "external" and is_alone(kind) else name_with_id(name)


def name_with_id(name: str) -> str:
    """`name` with the id of this run."""
    return f"{name}-{run_id()}"


def run_id() -> str:
    """The id of the report that runs this notebook, or of this process."""
    return os.environ.get(settings.RUN_ID) or process_id()


@functools.cache
def new_id() -> str:
    """Eight letters and digits that no other run has."""
    return uuid.uuid4().hex[:8]


def process_id() -> str:
    """The id of a run that no report started: this process's own."""
    return new_id()


def is_alone(kind: str) -> bool:
    """Is this run the only one with the plain names? A report has asked for all its kernels."""
    if settings.RUN_ID in os.environ:
        return kind in os.environ.get(settings.RUN_ALONE, "").split(",")
    return claim_for_process(kind)


@functools.cache
def claim_for_process(kind: str) -> bool:
    """Claim the plain names until this process ends; the kernels of a JupyterLab share them."""
    return claim_names(kind, shared="JPY_SESSION_NAME" in os.environ) is not None


def claim_names(kind: str, *, shared: bool = False) -> int | None:
    """Lock the plain names on the lab's own clusters of a kind: a descriptor to close at the end; None if taken."""
    path = lab_home() / "names.lock"
    if kind == "compose":  # containers are the machine's, whichever checkout started them
        path = Path(tempfile.gettempdir(), f"{settings.COMPOSE_PROJECT.get()}.names.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | (0 if path.exists() else os.O_CREAT), 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def note_topic(cluster: Cluster, name: str) -> None:
    """Note a topic on somebody else's brokers for its deletion: by the report, or at this process's end."""
    build = os.environ.get(settings.BUILD.name)
    if settings.RUN_ID in os.environ and build:
        with Path(build, TOPICS_FILE).open("a", encoding="utf-8") as file:
            file.write(f"{name}\t{addresses(cluster.connection)}\n")
    else:
        atexit.register(delete_quietly, cluster, name)


def delete_quietly(cluster: Cluster, name: str) -> None:
    """Delete a topic at the process's end, where no error can be told."""
    with suppress(LabError):
        topics.delete_topics(cluster.connection, [name])


def noted_topics(build: Path) -> dict[str, str]:
    """The topics that a report's kernels noted in `build`, each with the servers that have it."""
    file = build / TOPICS_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def delete_noted_topics(cluster: Cluster, build: Path) -> list[str]:
    """Delete the topics that a report's kernels noted in `build`; returns their names. Raises `LabError`."""
    names = list(noted_topics(build))
    if names:
        topics.delete_topics(cluster.connection, names)
    (build / TOPICS_FILE).unlink(missing_ok=True)
    return names


def describe_left_topics(build: Path) -> list[str]:
    """What a run left on somebody else's brokers because it was killed or they were gone, and how to delete it."""
    left: dict[str, list[str]] = {}
    for name, servers in noted_topics(build).items():
        left.setdefault(servers, []).append(name)
    command = f"{sys.executable} -m kafka.admin"
    return [
        f"Topics of that run are left on {servers}: {', '.join(names)}. To delete them: "
        f"{command} {' '.join(f'-b {server}' for server in servers.split(','))} topics delete -t {' -t '.join(names)}"
        for servers, names in left.items()
    ]
