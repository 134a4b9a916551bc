"""Keys and partitions: the order in which a consumer gets each player's events, and how full each partition is."""

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from confluent_kafka import Producer, TopicPartition

from streaming_lab.cluster import Cluster
from streaming_lab.errors import LabError
from streaming_lab.game.events import Event
from streaming_lab.scaling.clients import POLL_TIMEOUT, flush_all, make_consumer, make_producer
from streaming_lab.scaling.sender import create_experiment_topic, numbered_events

EVEN, HOT, NO_KEY = "key: player", "key: player, one is hot", "no key"
KEYINGS = (EVEN, HOT, NO_KEY)
PARTITION_COUNTS = (1, 3, 12)
HOT_SHARE = 0.5  # of all events are the hot player's
READ_TIMEOUT = 60.0


@dataclass(frozen=True)
class KeyedEvent:
    """One event as a consumer got it: `sequence` counts the player's own events in the order of their sending."""

    keying: str
    partitions: int
    partition: int
    player: str
    sequence: int


def spread_keys(
    kafka: Cluster,
    *,
    events: int = 1200,
    players: int = 48,
    seed: int = 2019,
    partition_counts: Sequence[int] = PARTITION_COUNTS,
) -> pd.DataFrame:
    """Events with each keying, on a topic of so many partitions each: a row for each `KeyedEvent`, as they came."""
    found: list[KeyedEvent] = []
    producer = make_producer(kafka.connection, settings={"linger.ms": 5, "sticky.partitioning.linger.ms": 0})
    sent = {keying: list(played(keying, events, players, seed)) for keying in KEYINGS}
    for partitions in partition_counts:
        topic = f"keys-{partitions}-{uuid.uuid4().hex[:8]}"
        create_experiment_topic(kafka, topic, partitions)
        for keying in KEYINGS:
            _send_keyed(producer, topic, sent[keying], keyed=keying != NO_KEY)
        found += _consume_all(kafka, topic, partitions, sent)
    rank = {keying: number for number, keying in enumerate(KEYINGS)}
    found.sort(key=lambda one: (one.partitions, rank[one.keying]))
    return pd.DataFrame(found)


def played(keying: str, events: int, players: int, seed: int) -> Iterator[Event]:
    """So many events of players in random order; all play alike, or with a hot key the first one half of the time."""
    dice = random.Random(seed)  # noqa: S311  # a game's dice, not a secret
    names = [f"player-{number:02}" for number in range(1, players + 1)]
    weights = [HOT_SHARE, *[(1 - HOT_SHARE) / (players - 1)] * (players - 1)] if keying == HOT else None
    for event, player in zip(numbered_events(keying), dice.choices(names, weights, k=events), strict=False):
        yield replace(event, player=player)


def _send_keyed(producer: Producer, topic: str, sent: Sequence[Event], *, keyed: bool) -> None:
    for event in sent:
        producer.produce(topic, event.to_bytes(), event.player.encode() if keyed else None)
        producer.poll(0)
    flush_all(producer, len(sent))


def _consume_all(
    kafka: Cluster, topic: str, partitions: int, sent: Mapping[str, Sequence[Event]]
) -> Iterator[KeyedEvent]:
    """The events in the order in which one consumer of all partitions gets them."""
    places, counts = dict[str, tuple[str, int]](), Counter[tuple[str, str]]()
    for keying, events in sent.items():
        for event in events:
            places[event.event_id] = keying, counts[keying, event.player]
            counts[keying, event.player] += 1
    consumer = make_consumer(kafka.connection, topic)
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        left, deadline = len(places), time.monotonic() + READ_TIMEOUT
        while left:
            if time.monotonic() > deadline:
                raise LabError(
                    f"{left} of {len(places)} events did not come", "Is the machine very busy? Run it again."
                )
            for record in consumer.consume(500, POLL_TIMEOUT):
                if not record.error():
                    event = Event.from_bytes(record.value() or b"")
                    left -= 1
                    keying, sequence = places[event.event_id]
                    yield KeyedEvent(keying, partitions, record.partition() or 0, event.player, sequence)
    finally:
        consumer.close()


def order_and_balance(found: pd.DataFrame) -> pd.DataFrame:
    """A row for each keying and number of partitions, from the rows of `spread_keys`.

    events; players; late: events that came after a later one of the same player; homes: the most partitions that one
    player has; used: partitions with any event; share: of the fullest partition, in shares of the even one.
    """
    groups = found.groupby(["keying", "partitions"], sort=False)
    return pd.DataFrame([_in_numbers(rows) for _, rows in groups])


def _in_numbers(rows: pd.DataFrame) -> dict[str, object]:
    keying, partitions = str(rows["keying"].iloc[0]), int(rows["partitions"].iloc[0])
    latest = rows.groupby("player")["sequence"].cummax()
    held = rows["partition"].value_counts()
    return {
        "keying": keying,
        "partitions": partitions,
        "events": len(rows),
        "players": rows["player"].nunique(),
        "late": int((rows["sequence"] < latest).sum()),
        "homes": int(rows.groupby("player")["partition"].nunique().max()),
        "used": len(held),
        "share": float(held.max() / (len(rows) / partitions)),
    }


def broken_order_promises(numbers: pd.DataFrame) -> list[str]:
    """A sentence for each case that breaks the order which its keys promise; one partition promises it without any."""
    found = []
    for row in numbers.to_dict("records"):
        keyed, case = row["keying"] != NO_KEY, f"{row['keying']}, {row['partitions']} partitions"
        if row["late"] and (keyed or row["partitions"] == 1):
            found.append(f"{case}: {row['late']} events came after a later one of the same player")
        if row["homes"] > 1 and keyed:
            found.append(f"{case}: a player has {row['homes']} partitions")
    return found
