"""Topics: created on purpose, described, measured in offsets; each call opens its connection and waits in bounds."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import kafka.errors as kafka_errors
from kafka.protocol.consumer.offsets import OffsetSpec
from kafka.structs import TopicPartition

from streaming_lab.client.admin import ADMIN_TIMEOUT, ask_admin
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import UnknownTopic
from streaming_lab.client.metadata import Ranges
from streaming_lab.client.preflight import RETRY_INTERVAL
from streaming_lab.errors import LabError
from streaming_lab.waiting import wait_until
from streaming_lab.wording import closest

if TYPE_CHECKING:
    from kafka import KafkaAdminClient


@dataclass(frozen=True)
class Partition:
    """One partition: `leader` is a broker id, or None while there is none; then `begin` and `end` are None as well."""

    id: int
    leader: int | None
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    begin: int | None
    end: int | None


@dataclass(frozen=True)
class TopicDescription:
    """A topic as the cluster describes it; `config` holds only what was set for this topic."""

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


class TopicClash(LabError):
    """The topic exists, with another shape than the wanted one."""


def create_topic(
    connection: Connection,
    name: str,
    *,
    partitions: int = 1,
    replication_factor: int = 1,
    config: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> bool:
    """Create the topic unless it exists: True when it was created, False when it existed in the same shape.

    Waits until every partition has a leader. Brokers that are all fenced, as they are for a moment after a pause, are
    asked again within `timeout` seconds. An existing topic with other partitions, another replication factor or
    other values of the given `config` raises `TopicClash`; other configuration is not compared.
    """
    asked = {key: str(value) for key, value in (config or {}).items()}
    shape = {"num_partitions": partitions, "replication_factor": replication_factor, "configs": asked}

    def create(admin: "KafkaAdminClient") -> bool:
        def answered() -> dict[str, Any]:
            (answer,) = admin.create_topics({name: shape}, timeout_ms=int(timeout * 1000), raise_errors=False)["topics"]
            return {} if _all_fenced(answer) else answer

        away = f"topic {name!r} was not created: for {timeout:g} s no broker has taken part in the cluster"
        cure = "A broker that was paused or starts needs some seconds. Is the machine very busy?"
        answer = wait_until(answered, timeout, lambda: LabError(away, cure), RETRY_INTERVAL)
        if answer["error_code"] == kafka_errors.TopicAlreadyExistsError.errno:
            _same_shape(admin, name, partitions, replication_factor, asked)
            return False
        if answer["error_code"] in _FORBIDDEN:
            raise kafka_errors.TopicAuthorizationFailedError(f"topic {name!r}")
        if answer["error_code"]:
            raise LabError(
                f"topic {name!r} was refused: {answer['error_message']}", "Change the name, the numbers or the config."
            )
        admin.wait_for_topics([name], timeout_ms=int(timeout * 1000))
        return True

    return ask_admin(connection, timeout, create)


def delete_topics(connection: Connection, names: Iterable[str], timeout: float = 10.0) -> None:
    """Delete topics with all their records; a topic that does not exist counts as deleted."""
    fine = (0, kafka_errors.UnknownTopicOrPartitionError.errno)
    asked, patience = list(names), int(timeout * 1000)

    def delete(admin: "KafkaAdminClient") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = admin.delete_topics(asked, timeout_ms=patience, raise_errors=False)["topics"]
        return found

    for answer in ask_admin(connection, timeout, delete):
        if answer["error_code"] not in fine:
            raise LabError(
                f"topic {answer['name']!r} was not deleted: {answer['error_message']}", "Does the broker allow it?"
            )


def describe_topic(connection: Connection, name: str, timeout: float = ADMIN_TIMEOUT) -> TopicDescription:
    """Leaders, replicas, in-sync replicas, first and end offsets per partition, and the topic's own configuration."""

    def describe(admin: "KafkaAdminClient") -> TopicDescription:
        raw = _partitions(admin, name)
        led = [TopicPartition(name, p["partition_index"]) for p in raw if p["leader_id"] >= 0]
        begin, end = (_offsets(admin, led, spec) for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST))
        return TopicDescription(name, tuple(_partition(p, begin, end) for p in raw), _config(admin, name))

    return ask_admin(connection, timeout, describe)


def end_offsets(connection: Connection, name: str, timeout: float = ADMIN_TIMEOUT) -> dict[int, int]:
    """The end offset of each partition now.

    Waits for the election of missing leaders; a `LabError` names the partitions that have none after `timeout`.
    """
    deadline = time.monotonic() + timeout
    raw: list[dict[str, Any]] = []

    def missing() -> LabError:
        return LabError(
            f"partitions {_leaderless(raw)} of topic {name!r} have no leader",
            "Wait for an election, or restart the broker.",
        )

    def ends(admin: "KafkaAdminClient") -> dict[int, int]:
        def all_led() -> bool:
            raw[:] = _partitions(admin, name)
            return not _leaderless(raw)

        wait_until(all_led, deadline - time.monotonic(), missing, RETRY_INTERVAL)
        return _offsets(admin, [TopicPartition(name, p["partition_index"]) for p in raw], OffsetSpec.LATEST)

    return ask_admin(connection, timeout, ends)


_DEBUGGING_REPLICA = -2  # ListOffsetsRequest.DEBUGGING_REPLICA_ID in Kafka: it sees the log to its very end


def log_end_offsets(connection: Connection, name: str, timeout: float = ADMIN_TIMEOUT) -> dict[int, int]:
    """The end of each partition's log at its leader now, with records that its in-sync replicas do not have yet.

    No consumer sees those; once `end_offsets` has passed them, all of them are there for good.
    """

    def ends(admin: "KafkaAdminClient") -> dict[int, int]:
        build = admin._list_partition_offsets_request

        def as_a_replica(*asked: Any) -> Any:
            request = build(*asked)
            request.replica_id = _DEBUGGING_REPLICA
            return request

        admin._list_partition_offsets_request = as_a_replica
        raw = _partitions(admin, name)
        return _offsets(admin, [TopicPartition(name, p["partition_index"]) for p in raw], OffsetSpec.LATEST)

    return ask_admin(connection, timeout, ends)


def is_available(connection: Connection, name: str, timeout: float = 1.0) -> bool:
    """Does the topic exist, with a leader for each partition? False for whatever stands in the way."""
    try:
        end_offsets(connection, name, timeout)
    except LabError:
        return False
    return True


def written_between(before: Mapping[int, int], after: Mapping[int, int]) -> Ranges:
    """The ranges between two results of `end_offsets`: partition -> [start, end), empty ranges included."""
    for partition, start in before.items():
        if after.get(partition, -1) < start:
            raise LabError(
                f"partition {partition} went from offset {start} back to {after.get(partition)}",
                "The topic was deleted and created again in between: capture the offsets anew.",
            )
    return {partition: (before.get(partition, 0), end) for partition, end in sorted(after.items())}


def topic_names(connection: Connection, timeout: float = ADMIN_TIMEOUT) -> list[str]:
    """The names of all topics that are not Kafka's own, sorted."""
    return ask_admin(connection, timeout, _names)


_FORBIDDEN = (kafka_errors.TopicAuthorizationFailedError.errno, kafka_errors.ClusterAuthorizationFailedError.errno)

# A new leader does not know the end of its log yet; an old one is no longer the leader.
_TRANSIENT = (
    kafka_errors.OffsetNotAvailableError,
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.LeaderNotAvailableError,
)


def _all_fenced(answer: Mapping[str, Any]) -> bool:
    """Whether a topic was refused because no broker takes part in the cluster now: none has sent heartbeats lately."""
    refused = answer["error_code"] == kafka_errors.InvalidReplicationFactorError.errno
    return refused and "All brokers are currently fenced" in (answer["error_message"] or "")


def _partitions(admin: "KafkaAdminClient", name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def told() -> bool:
        topic = _described(admin, name)
        if topic["error_code"]:
            existing = _names(admin)
            if name in existing:
                return False  # that broker has not heard of the new topic yet, another one has
            raise _unknown_topic(name, existing)
        found[:] = topic["partitions"]
        return True

    wait_until(told, ADMIN_TIMEOUT, lambda: _unknown_topic(name, []), RETRY_INTERVAL)
    return sorted(found, key=lambda partition: int(partition["partition_index"]))


def _described(admin: "KafkaAdminClient", name: str) -> dict[str, Any]:
    described: list[dict[str, Any]] = admin.describe_topics([name])
    if len(described) != 1:
        raise kafka_errors.KafkaProtocolError(f"an answer about {len(described)} topics, where one was asked about")
    if described[0]["error_code"] == kafka_errors.TopicAuthorizationFailedError.errno:
        raise kafka_errors.TopicAuthorizationFailedError(f"topic {name!r}")
    return described[0]


def _leaderless(raw: Iterable[Mapping[str, Any]]) -> list[int]:
    return [int(partition["partition_index"]) for partition in raw if partition["leader_id"] < 0]


def _unknown_topic(name: str, existing: list[str]) -> UnknownTopic:
    near = closest(name, existing)
    guess = f" (did you mean {near!r}?)" if near else ""
    here = ", ".join(existing[:10]) or "none"
    return UnknownTopic(
        f"topic {name!r} does not exist{guess}", f"Create it first, or pass the right name; topics here: {here}."
    )


def _names(admin: "KafkaAdminClient") -> list[str]:
    return sorted(name for name in admin.list_topics() if not name.startswith("__"))


def _offsets(admin: "KafkaAdminClient", partitions: Iterable[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
    asked = dict.fromkeys(partitions, spec)
    found: dict[TopicPartition, Any] = {}
    trouble: list[Exception] = []

    def answered() -> bool:
        try:
            found.update(admin.list_partition_offsets(asked))
        except _TRANSIENT as error:
            trouble[:] = [error]
            return False
        return True

    wait_until(answered, ADMIN_TIMEOUT, lambda: trouble[0], RETRY_INTERVAL)
    return {partition.partition: at.offset for partition, at in sorted(found.items())}


def _partition(raw: Mapping[str, Any], begin: Mapping[int, int], end: Mapping[int, int]) -> Partition:
    number, leader = raw["partition_index"], raw["leader_id"]
    return Partition(
        id=number,
        leader=leader if leader >= 0 else None,
        replicas=tuple(raw["replica_nodes"]),
        isr=tuple(sorted(raw["isr_nodes"])),
        begin=begin.get(number),
        end=end.get(number),
    )


def _config(admin: "KafkaAdminClient", name: str, which: str = "modified") -> dict[str, str]:
    from kafka.admin import ConfigResource

    resource = ConfigResource("TOPIC", name, None)
    found = admin.describe_configs([resource], config_filter=which)["topic"][name]
    return {key: entry["value"] for key, entry in sorted(found.items())}


def _same_shape(
    admin: "KafkaAdminClient", name: str, partitions: int, replication: int, asked: Mapping[str, str]
) -> None:
    raw = _partitions(admin, name)
    values = _config(admin, name, "all") if asked else {}
    wanted = (partitions, replication, dict(asked))
    found = (len(raw), len(raw[0]["replica_nodes"]), {key: values.get(key, "unknown") for key in asked})
    if wanted != found:
        raise TopicClash(
            f"topic {name!r} exists with {_shape(*found)}, not with {_shape(*wanted)}",
            "Use another name, ask for the existing shape, or delete the topic first.",
        )


def _shape(partitions: int, replication: int, config: Mapping[str, str]) -> str:
    settings = "".join(f", {key}={value}" for key, value in sorted(config.items()))
    return f"{partitions} partition{'s' * (partitions != 1)}, replication factor {replication}{settings}"
