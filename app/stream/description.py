"""A topic as the cluster describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Partition:
    """One partition: `leader` is a broker id, or None while there is none; then `begin` and `end` are None, too."""

    id: int
    leader: int | None
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    begin: int | None
    end: int | None


@dataclass(frozen=True)
class TopicDescription:
    """What the cluster says about a topic; `config` holds only what was set for this topic."""

    name: str
    partitions: tuple[Partition, ...]
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def replication_factor(self) -> int:
        return len(self.partitions[0].replicas)

    def to_json(self) -> dict[str, Any]:
        """The description as a JSON-able dict."""
        return {
            "name": self.name,
            "partitions": [{**vars(p), "replicas": list(p.replicas), "isr": list(p.isr)} for p in self.partitions],
            "config": dict(self.config),
        }
