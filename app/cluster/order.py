"""What the keeper is asked to run: the one message from the starter to it."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Order:
    """A cluster to start: where, how many brokers, on which JVM, and for whom (`pid` None: until `stop`)."""

    home: str
    instance: str
    brokers: int
    port: int | None
    java: str
    jars: tuple[str, ...]
    profile: str
    heap: str
    cache: str
    user: str
    pid: int | None
    grace: float
    keep: bool

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Order":
        """The inverse of `to_json`."""
        return cls(**{**data, "jars": tuple(data["jars"])})
