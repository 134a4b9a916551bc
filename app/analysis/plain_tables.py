"""The tables of chapters 01 and 02: a cluster, a topic, the seed's requests. No pandas here.

pandas is what a chapter's kernel imports longest, and neither chapter has a frame.
"""

from collections.abc import Iterable
from typing import Any

from streaming_lab.analysis.display import Table, TableColumn, number
from streaming_lab.analysis.measured import measured
from streaming_lab.client.connection import Connection, without_secrets


def cluster_table(description: Any, ready_seconds: float | None = None) -> Table:
    """The brokers of a cluster `Description`, a row each; `ready_seconds` from the start to the first record."""
    version = description.version or "unknown"
    rows = tuple(
        (broker.id, broker.role, f"{broker.host}:{broker.port}", version, ready_seconds)
        for broker in sorted(description.brokers, key=lambda broker: int(broker.id))
    )
    columns = (
        TableColumn("broker"),
        TableColumn("role"),
        TableColumn("listener", measured=True),
        TableColumn("version"),
        number("ready after (s)", 2, measured=True),
    )
    known = ready_seconds is not None
    return Table(
        "The cluster",
        columns if known else columns[:-1],
        rows if known else tuple(row[:-1] for row in rows),
        "as it describes itself",
        empty="no brokers",
    )


def connection_table(connection: Connection) -> Any:
    """The mapping that a client connects by, a setting a row, without its secrets; measured, since ports are free ones.

    Returns the `Table`, marked as a whole.
    """
    rows = tuple(
        (key, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for key, value in without_secrets(connection).items()
    )
    columns = (TableColumn("setting", "code"), TableColumn("value", "code"))
    return measured(Table("`kafka.connection`", columns, rows, "all that a client of this report is told"))


def topic_table(description: Any, note: str = "as the cluster describes it") -> Table:
    """The partitions of a `TopicDescription`, a row each; offsets depend on the cluster's past: measured."""
    columns = (
        TableColumn("partition"),
        TableColumn("leader"),
        number("replicas"),
        number("in sync"),
        number("first offset", measured=True),
        number("end offset", measured=True),
    )
    rows = tuple(
        (p.id, "none" if p.leader is None else f"broker {p.leader}", len(p.replicas), len(p.isr), p.begin, p.end)
        for p in description.partitions
    )
    return Table(f"Topic `{description.name}`", columns, rows, f"{note}; offsets in records", empty="no partitions")


def seed_requests(answers: Iterable[tuple[str, int, str]]) -> Table:
    """The assignment's requests with their answers: (path, status, body) in the order of sending."""
    rows = tuple((index, path, status, body.strip()) for index, (path, status, body) in enumerate(answers, 1))
    columns = (TableColumn("request"), TableColumn("path", "code"), number("status"), TableColumn("answer", "long"))
    return Table("The requests and their answers", columns, rows, "in the order they were sent", empty="no requests")
