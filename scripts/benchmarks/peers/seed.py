"""Fills a topic with events of about 252 bytes, by confluent-kafka; arguments: the task, codec, batch bytes."""

import json
import random
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from measure import Task

TYPES = ("purchased_sword", "purchased_shield", "joined_guild", "climbed_mountain", "sold_item", "default")
ITEMS = ("sword", "bröadsword", "Zweihänder", "shield", "薙刀", "potion", "épée", None)
HOSTS = ("user1.comcast.com", "user2.att.com", "user3.example.org")
AGENTS = ("ApacheBench/2.3", "curl/8.14.1", "python-requests/2.34.2")
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def events(count: int, seed: int = 7) -> Iterator[bytes]:
    """The same events for every run: text with and without other letters, missing items, floats, integers, times."""
    dice = random.Random(seed)  # noqa: S311 - events must repeat, not surprise
    for number in range(count):
        kind = dice.choice(TYPES)
        item = dice.choice(ITEMS) if kind.startswith(("purchased", "sold")) else None
        at = BEGIN + timedelta(microseconds=number * 1500 + dice.randrange(1000))
        row = {
            "event_id": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            "event_type": kind,
            "player": f"player{dice.randrange(20_000):05}",
            "at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "host": dice.choice(HOSTS),
            "user_agent": dice.choice(AGENTS),
            "price": round(dice.random() * 500, 2) if item else None,
            "item": item,
            "quantity": dice.randrange(1, 9),
        }
        yield json.dumps(row, ensure_ascii=False).encode()


def main() -> None:
    task, codec, batch = Task(**json.loads(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    topic = NewTopic(task.topic, task.partitions, 1, config={"compression.type": "producer"})
    admin = AdminClient({"bootstrap.servers": task.bootstrap})  # kept: without its client, a future never ends well
    admin.create_topics([topic])[task.topic].result(30)
    settings = {"compression.type": codec, "linger.ms": 20, "batch.size": batch, "queue.buffering.max.kbytes": 1 << 18}
    producer = Producer({"bootstrap.servers": task.bootstrap, "queue.buffering.max.messages": 200_000, **settings})
    size = 0
    for number, value in enumerate(events(task.events)):
        size += len(value)
        while True:
            try:
                producer.produce(task.topic, value, partition=number % task.partitions)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    print(json.dumps({"bytes": size, "left": left}))


if __name__ == "__main__":
    main()
