"""Topics: made on purpose, described, measured in offsets. Each call connects, asks and leaves; waits are bounded."""

import difflib
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, OffsetSpec

from streaming_lab.errors import LabError
from streaming_lab.stream.admin import PATIENCE, asking
from streaming_lab.stream.connection import Connection
from streaming_lab.stream.description import Partition, TopicDescription
from streaming_lab.stream.door import RETRY
from streaming_lab.stream.missing import TopicMissing
from streaming_lab.waiting import wait_until

Ranges: TypeAlias = Mapping[int, tuple[int, int]]  # partition -> [start, end)


class TopicClash(LabError):
    """The topic exists, in another shape than the one asked for."""


def create(
    connection: Connection,
    name: str,
    *,
    partitions: int = 1,
    replication_factor: int = 1,
    config: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> bool:
    """Make the topic unless it is there: True when it was made, False when it existed in the same shape.

    Waits until every partition has a leader. An existing topic with other partitions, another replication factor or
    other values of the asked `config` raises `TopicClash`; configuration that was not asked about is left alone.
    """
    asked = {key: str(value) for key, value in (config or {}).items()}
    shape = {"num_partitions": partitions, "replication_factor": replication_factor, "configs": asked}
    with asking(connection, timeout) as admin:
        (answer,) = admin.create_topics({name: shape}, timeout_ms=int(timeout * 1000), raise_errors=False)["topics"]
        if answer["error_code"] == kafka_errors.TopicAlreadyExistsError.errno:
            _same_shape(admin, name, partitions, replication_factor, asked)
            return False
        if answer["error_code"]:
            raise LabError(
                f"topic {name!r} was refused: {answer['error_message']}", "Change the name, the numbers or the config."
            )
        admin.wait_for_topics([name], timeout_ms=int(timeout * 1000))
        return True


def delete(connection: Connection, names: Iterable[str], timeout: float = 10.0) -> None:
    """Remove topics with all that is in them; one that is not there is as good as removed."""
    fine = (0, kafka_errors.UnknownTopicOrPartitionError.errno)
    with asking(connection, timeout) as admin:
        answers = admin.delete_topics(list(names), timeout_ms=int(timeout * 1000), raise_errors=False)["topics"]
    for answer in answers:
        if answer["error_code"] not in fine:
            raise LabError(
                f"topic {answer['name']!r} was not deleted: {answer['error_message']}", "Does the broker allow it?"
            )


def describe(connection: Connection, name: str, timeout: float = PATIENCE) -> TopicDescription:
    """Leaders, replicas, in-sync replicas, first and end offsets per partition, and the topic's own configuration."""
    with asking(connection, timeout) as admin:
        raw = _partitions(admin, name)
        led = [TopicPartition(name, p["partition_index"]) for p in raw if p["leader_id"] >= 0]
        begin, end = (_offsets(admin, led, spec) for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST))
        return TopicDescription(name, tuple(_partition(p, begin, end) for p in raw), _config(admin, name))


def end_offsets(connection: Connection, name: str, timeout: float = PATIENCE) -> dict[int, int]:
    """The end offset of each partition now.

    Waits for the election of missing leaders; a `LabError` names the partitions that have none after `timeout`.
    """
    deadline = time.monotonic() + timeout
    raw: list[dict[str, Any]] = []

    def all_led() -> bool:
        raw[:] = _partitions(admin, name)
        return not _leaderless(raw)

    def missing() -> LabError:
        return LabError(
            f"partitions {_leaderless(raw)} of topic {name!r} have no leader",
            "Wait for an election, or restart the broker.",
        )

    with asking(connection, timeout) as admin:
        wait_until(all_led, deadline - time.monotonic(), missing, RETRY)
        return _offsets(admin, [TopicPartition(name, p["partition_index"]) for p in raw], OffsetSpec.LATEST)


def answers(connection: Connection, name: str, timeout: float = 1.0) -> bool:
    """Is the topic there, with a leader for each partition? A quick question: what stands in the way is not told."""
    try:
        end_offsets(connection, name, timeout)
    except LabError:
        return False
    return True


def since(before: Mapping[int, int], after: Mapping[int, int]) -> Ranges:
    """What was written between two `end_offsets`: partition -> [start, end), empty ranges included."""
    for partition, start in before.items():
        if after.get(partition, -1) < start:
            raise LabError(
                f"partition {partition} went from offset {start} back to {after.get(partition)}",
                "The topic was deleted and made again in between: capture the offsets anew.",
            )
    return {partition: (before.get(partition, 0), end) for partition, end in sorted(after.items())}


def names(connection: Connection, timeout: float = PATIENCE) -> list[str]:
    """The names of all topics that are not Kafka's own, sorted."""
    with asking(connection, timeout) as admin:
        return _names(admin)


# A leader that was just elected does not know the end of its log yet, or is not where it was.
_MOVED = (
    kafka_errors.OffsetNotAvailableError,
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.LeaderNotAvailableError,
)


def _partitions(admin: KafkaAdminClient, name: str) -> list[dict[str, Any]]:
    (topic,) = admin.describe_topics([name])
    if topic["error_code"]:
        raise _missing(name, _names(admin))
    return sorted(topic["partitions"], key=lambda partition: int(partition["partition_index"]))


def _leaderless(raw: Iterable[Mapping[str, Any]]) -> list[int]:
    return [int(partition["partition_index"]) for partition in raw if partition["leader_id"] < 0]


def _missing(name: str, existing: list[str]) -> TopicMissing:
    near = difflib.get_close_matches(name, existing, n=1, cutoff=0.6)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    here = ", ".join(existing[:10]) or "none"
    return TopicMissing(
        f"topic {name!r} does not exist{guess}", f"Create it first, or pass the right name; topics here: {here}."
    )


def _names(admin: KafkaAdminClient) -> list[str]:
    return sorted(name for name in admin.list_topics() if not name.startswith("__"))


def _offsets(admin: KafkaAdminClient, partitions: Iterable[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
    asked = dict.fromkeys(partitions, spec)
    found: dict[TopicPartition, Any] = {}
    trouble: list[Exception] = []

    def answered() -> bool:
        try:
            found.update(admin.list_partition_offsets(asked))
        except _MOVED as error:
            trouble[:] = [error]
            return False
        return True

    wait_until(answered, PATIENCE, lambda: trouble[0], RETRY)
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


def _config(admin: KafkaAdminClient, name: str, which: str = "modified") -> dict[str, str]:
    resource = ConfigResource("TOPIC", name, None)
    found = admin.describe_configs([resource], config_filter=which)["topic"][name]
    return {key: entry["value"] for key, entry in sorted(found.items())}


def _same_shape(
    admin: KafkaAdminClient, name: str, partitions: int, replication: int, asked: Mapping[str, str]
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
