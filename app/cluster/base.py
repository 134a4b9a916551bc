"""What every cluster can do, wherever its brokers run."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.errors import LabError

# What can be done to one broker. A cluster of the lab's own does each of them in its `command`.
BrokerVerb = Literal["kill", "pause", "resume", "restart"]
BROKER_VERBS: tuple[BrokerVerb, ...] = get_args(BrokerVerb)


class ClusterError(LabError):
    """A cluster that cannot be started, reached or stopped."""


@dataclass(frozen=True)
class Broker:
    """One broker as it advertises itself; `role` is what the lab knows of it, for example `broker,controller`."""

    id: int
    host: str
    port: int
    role: str = "broker"


@dataclass(frozen=True)
class Description:
    """What a cluster says of itself: `version` is None where a broker does not tell it."""

    version: str | None
    cluster_id: str
    controller_id: int | None
    brokers: tuple[Broker, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists, for `run.json`."""
        return {**asdict(self), "brokers": [asdict(broker) for broker in self.brokers]}


class Cluster(ABC):
    """A Kafka to talk to: `with attach(...) as cluster: KafkaProducer(**cluster.connection)`."""

    kind: ClassVar[str]  # "embedded", "external" or "compose"

    def __init__(self, name: str, connection: Connection, ready_seconds: float | None = None) -> None:
        self.name = name
        self.connection = connection
        self.ready_seconds = ready_seconds  # from the first exec to the last open port; None: it ran already

    @abstractmethod
    def describe(self) -> Description:
        """Ask the brokers for version, cluster id and members; raises `ClusterError` when none answers in time."""

    def close(self, wait: bool = False, say: Callable[[str], None] | None = None) -> None:
        """Stop using the cluster; may be called twice.

        `wait`: return when what this ends is really gone; `say` is told what takes long.
        """
        del wait, say

    def command(self, verb: BrokerVerb, broker: int = 1) -> None:
        """Do to one broker what the verb says (see the methods below), and return when it is done."""
        raise ClusterError(
            f"cannot {verb} broker {broker} of {self.name!r}: it is not the lab's own",
            "Use cluster='embedded' for experiments with faults.",
        )

    def kill(self, broker: int = 1) -> None:
        """SIGKILL one broker, as a power cut would; `restart` takes the same port, if nothing else has it by then."""
        self.command("kill", broker)

    def pause(self, broker: int = 1) -> None:
        """Freeze one broker (SIGSTOP, or the container's freezer): it keeps its connections and answers nothing."""
        self.command("pause", broker)

    def resume(self, broker: int = 1) -> None:
        """Let a paused broker go on."""
        self.command("resume", broker)

    def restart(self, broker: int = 1) -> None:
        """Start one broker again on the same ports and data, and wait until it serves."""
        self.command("restart", broker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


# What brokers say of themselves, asked through kafka-python's admin client.


DESCRIBE_TIMEOUT = 8.0  # seconds for the whole inquiry


def describe_brokers(connection: Connection, role: str = "broker") -> Description:
    """Cluster id, controller, brokers, and the release they speak; raises `ClusterError` when none answers in 8 s."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        with KafkaAdminClient(**connection, bootstrap_timeout_ms=int(DESCRIBE_TIMEOUT * 1000)) as admin:
            found = admin.describe_cluster()
            known = admin._manager.broker_version  # by the API versions that it offers: no broker says its release
    except KafkaError as error:
        raise ClusterError(
            f"no broker answers at {addresses(connection)}: {error}",
            "Is the cluster up? See `python3 scripts/cluster.py status`.",
        ) from error
    return Description(
        version=".".join(map(str, known)) + " or later" if known else None,
        cluster_id=found["cluster_id"],
        controller_id=found["controller_id"],
        brokers=tuple(Broker(b["broker_id"], b["host"], b["port"], role) for b in found["brokers"]),
    )
