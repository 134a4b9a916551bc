"""Metadata and ListOffsets on our own sockets: where a topic's partitions are led, and what offsets they have."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kafka.protocol.consumer.offsets import ListOffsetsRequest, ListOffsetsResponse
from kafka.protocol.metadata.metadata import MetadataRequest, MetadataResponse

from streaming_lab.client.broker_connection import Address, BrokerConnection, ConnectionBroken, Unsupported

Ranges: TypeAlias = Mapping[int, tuple[int, int]]  # partition -> [start, end)

EARLIEST, LATEST = -2, -1  # ListOffsets' own names for the two ends

# Errors that may be gone a little later, or on another broker (https://kafka.apache.org/protocol#protocol_error_codes).
UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID, OUT_OF_RANGE = 3, 100, 1
STALE_ERRORS = {
    UNKNOWN_TOPIC: "unknown topic or partition",
    5: "no leader",
    6: "not the leader",
    7: "request timed out",
    9: "replica not available",
    13: "network exception",
    56: "storage error",
    74: "fenced leader epoch",
    75: "unknown leader epoch",
    78: "offset not available",
    UNKNOWN_TOPIC_ID: "unknown topic id",
}
_NO_ID = uuid.UUID(int=0)


class StaleMetadata(Exception):
    """The cluster is between two states; ask again soon. `missing`: a broker answered that the topic does not exist."""

    def __init__(self, why: str, missing: bool = False) -> None:
        super().__init__(why)
        self.missing = missing


@dataclass(frozen=True)
class TopicMetadata:
    """A topic's id, the address of each partition's leader (None: no leader now), and every broker of the cluster."""

    topic: str
    topic_id: uuid.UUID
    leaders: Mapping[int, Address | None]
    brokers: tuple[Address, ...]


def fetch_metadata(
    topic: str, addresses: Iterable[Address], connect: Callable[[Address], BrokerConnection]
) -> TopicMetadata:
    """Ask one broker after another for a topic's metadata; no answer or no such topic raises `StaleMetadata`."""
    trouble: list[str] = []
    for address in addresses:
        try:
            with connect(address) as connection:
                return _topic_metadata(topic, connection)
        except ConnectionBroken as error:
            trouble.append(str(error))
    raise StaleMetadata("; ".join(trouble) or "no broker is known")


def ask_metadata(topic: str, connection: BrokerConnection) -> tuple[int, Any]:
    """The version in which a broker is asked about a topic, which it does not create, and its answer."""
    version = connection.version(MetadataRequest, 1)
    asked = MetadataRequest.MetadataRequestTopic(version=version, name=topic, topic_id=_NO_ID)
    request = MetadataRequest(version=version, topics=[asked], allow_auto_topic_creation=False)
    return version, connection.request(request, MetadataResponse)


def _topic_metadata(topic: str, connection: BrokerConnection) -> TopicMetadata:
    version, answer = ask_metadata(topic, connection)
    found = next((each for each in answer.topics or () if each.name == topic), None)
    if found is None:
        raise ConnectionBroken(f"{connection}: an answer about another topic")
    if found.error_code:
        raise error_of(found.error_code, f"topic {topic!r}")
    brokers = {broker.node_id: (broker.host, broker.port) for broker in answer.brokers or () if broker.host}
    leaders = {p.partition_index: brokers.get(p.leader_id) for p in found.partitions or ()}
    if not leaders:
        raise ConnectionBroken(f"{connection}: a topic without partitions")
    topic_id = (found.topic_id if version >= 10 else None) or _NO_ID
    return TopicMetadata(topic, topic_id, dict(sorted(leaders.items())), tuple(brokers.values()))


def list_offsets(
    metadata: TopicMetadata,
    partitions: Iterable[int],
    when: int,
    committed: bool,
    connections: Mapping[Address, BrokerConnection],
) -> dict[int, int]:
    """The offset per partition at EARLIEST, LATEST, or the first record at or after a time (ms UTC; -1 if none).

    With `committed`, LATEST is the last stable offset, so that no reader waits for an open transaction.
    """
    found: dict[int, int] = {}
    partitions = list(partitions)
    for leader, led in by_leader(metadata, partitions).items():
        connection = connections[leader]
        version = connection.version(ListOffsetsRequest, 2)
        places = [
            ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
                version=version, partition_index=partition, current_leader_epoch=-1, timestamp=when
            )
            for partition in led
        ]
        request = ListOffsetsRequest(
            version=version,
            replica_id=-1,
            isolation_level=int(committed),
            topics=[ListOffsetsRequest.ListOffsetsTopic(version=version, name=metadata.topic, partitions=places)],
            timeout_ms=2000,
        )
        answer = connection.request(request, ListOffsetsResponse)
        for place in [place for topic in answer.topics or () for place in topic.partitions or ()]:
            if place.error_code:
                raise error_of(place.error_code, f"partition {place.partition_index}")
            found[place.partition_index] = int(place.offset)
        if missing := set(led) - set(found):
            raise ConnectionBroken(f"{connection}: an answer without the offsets of partitions {sorted(missing)}")
    return {partition: found[partition] for partition in partitions}


def by_leader(metadata: TopicMetadata, partitions: Iterable[int]) -> dict[Address, list[int]]:
    """The partitions of each leader; a partition without one raises `StaleMetadata`."""
    led: dict[Address, list[int]] = {}
    for partition in partitions:
        leader = metadata.leaders.get(partition)
        if leader is None:
            raise StaleMetadata(f"partition {partition} has no leader")
        led.setdefault(leader, []).append(partition)
    return led


def error_of(code: int, what: str) -> Exception:
    """`StaleMetadata` for an error code that may pass, `Unsupported` for any other."""
    if code in STALE_ERRORS:
        return StaleMetadata(f"{what}: {STALE_ERRORS[code]}", code in (UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID))
    return Unsupported(f"{what}: error {code}")


def parse_addresses(servers: Any) -> tuple[Address, ...]:
    """Bootstrap servers, a list or one text with commas, as (host, port)."""
    pieces = servers.split(",") if isinstance(servers, str) else list(servers)
    found = []
    for piece in pieces:
        host, _, port = piece.strip().rpartition(":")
        found.append((host.strip("[]"), int(port)))
    return tuple(found)
