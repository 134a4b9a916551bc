"""The interface of every cluster, wherever its brokers run."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from streaming_lab.client.connection import Connection, addresses, kafka_python_settings
from streaming_lab.errors import LabError

# The faults of one broker. A cluster that the lab owns implements them in `command`.
BrokerVerb = Literal["kill", "pause", "resume", "restart"]
BROKER_VERBS: tuple[BrokerVerb, ...] = get_args(BrokerVerb)


class ClusterError(LabError):
    """A cluster that cannot be started, reached or stopped."""

    at_start = True


@dataclass(frozen=True)
class Broker:
    """One broker as it advertises itself; `role` is, for example, `broker,controller`."""

    id: int
    host: str
    port: int
    role: str = "broker"


@dataclass(frozen=True)
class Description:
    """A cluster's answer to a describe request; `version` is None where no broker tells it."""

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
        self.ready_seconds = ready_seconds  # first exec to last open port; None if it ran already

    @property
    def copies(self) -> int:
        """How many brokers keep each record of a topic that the lab creates here."""
        return 1

    @property
    def locator(self) -> str:
        """What another process of this machine is told: `host:port[,host:port]`, or a client properties file."""
        return addresses(self.connection)

    @abstractmethod
    def describe(self) -> Description:
        """Version, cluster id and members as the brokers tell them; raises `ClusterError` when none answers in time."""

    def check(self) -> None:
        """Raise `ClusterError` when a broker of the lab's own died, with the reason; other clusters are not checked."""
        return

    def close(self, wait: bool = False, say: Callable[[str], None] | None = None) -> None:
        """Stop using the cluster; a second call does nothing.

        With `wait` the call returns when every process that it ends is gone; `say` receives a line about slow steps.
        """
        del wait, say

    def command(self, verb: BrokerVerb, broker: int = 1) -> None:
        """Apply a verb to one broker (see the methods below); returns when that is done."""
        raise ClusterError(
            f"cannot {verb} broker {broker} of {self.name!r}: the lab does not own that cluster",
            "Use cluster='embedded' for experiments with faults.",
        )

    def kill(self, broker: int = 1) -> None:
        """SIGKILL one broker, as a power cut would; `restart` takes the same port, if nothing else has it by then."""
        self.command("kill", broker)

    def pause(self, broker: int = 1) -> None:
        """Freeze one broker (SIGSTOP, or the container's freezer): it keeps its connections and answers nothing."""
        self.command("pause", broker)

    def resume(self, broker: int = 1) -> None:
        """Continue a paused broker (SIGCONT)."""
        self.command("resume", broker)

    def restart(self, broker: int = 1) -> None:
        """Start one broker again on the same ports and data; returns when it serves."""
        self.command("restart", broker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


DESCRIBE_TIMEOUT = 8.0  # seconds for the whole description


def describe_brokers(connection: Connection, role: str = "broker") -> Description:
    """Cluster id, controller, brokers and their release; raises `ClusterError` when no broker answers in 8 s."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        with KafkaAdminClient(
            **kafka_python_settings(connection), bootstrap_timeout_ms=int(DESCRIBE_TIMEOUT * 1000)
        ) as admin:
            found = admin.describe_cluster()
            known = admin._manager.broker_version  # from the API versions: no broker tells its release
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
