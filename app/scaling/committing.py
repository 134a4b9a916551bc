"""A consumer that dies at a chosen place, in a process of its own: python -m streaming_lab.scaling.committing

Its task, one line of JSON on stdin: connection, topic, ends (partition and end offset), group, batch, kind (one of
`COMMIT_KINDS`), crash (the batch in which it kills itself; 0: none), effects (SQLite file), output (topic).
"""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, Message, TopicPartition

from streaming_lab.child import receive_task, send_report
from streaming_lab.game.events import Event
from streaming_lab.scaling.clients import POLL_TIMEOUT, make_consumer, make_producer

BEFORE, AFTER = "commit, then work", "work, then commit"
UPSERT, TRANSACTION = "upsert, then commit", "transaction"
COMMIT_KINDS = (BEFORE, AFTER, UPSERT, TRANSACTION)
TRANSACTION_TIMEOUT = 30.0  # seconds for each step of a transaction

INSERT = "insert into effects values (?, ?)"
TABLES = {
    BEFORE: ("create table if not exists effects (event_id text, player text)", INSERT),
    AFTER: ("create table if not exists effects (event_id text, player text)", INSERT),
    UPSERT: (
        "create table if not exists effects (event_id text primary key, player text)",
        f"{INSERT} on conflict (event_id) do update set player = excluded.player",
    ),
}


def batches_to_end(consumer: Consumer, task: dict[str, Any]) -> Iterator[list[Message]]:
    """Batches from the group's committed offsets to the ends; no group is joined, so that nobody waits for the dead."""
    ends = dict(task["ends"])
    wanted = [TopicPartition(task["topic"], partition) for partition in ends]
    begin = consumer.committed(wanted, timeout=TRANSACTION_TIMEOUT)
    reached = {one.partition: 0 if one.offset == OFFSET_INVALID else one.offset for one in begin}
    consumer.assign([TopicPartition(task["topic"], partition, at) for partition, at in reached.items()])
    while any(reached[partition] < end for partition, end in ends.items()):
        batch = [one for one in consumer.consume(task["batch"], POLL_TIMEOUT) if not one.error()]
        if batch:
            yield batch
            reached |= ends_of(batch)


def ends_of(batch: Sequence[Message]) -> dict[int, int]:
    """The offset behind the last record of each partition in the batch."""
    return {one.partition() or 0: (one.offset() or 0) + 1 for one in batch}


def into_table(consumer: Consumer, task: dict[str, Any], crash_if: Callable[[int], None]) -> None:
    """Each batch is one commit of the table, before or after the commit of its offsets."""
    create, insert = TABLES[task["kind"]]
    with closing(sqlite3.connect(task["effects"])) as table:
        table.execute(create)
        for number, batch in enumerate(batches_to_end(consumer, task), 1):
            if task["kind"] == BEFORE:
                consumer.commit(asynchronous=False)
                crash_if(number)
            with table:
                table.executemany(insert, [(event.event_id, event.player) for event in _events(batch)])
            if task["kind"] != BEFORE:
                crash_if(number)
                consumer.commit(asynchronous=False)


def into_topic(consumer: Consumer, task: dict[str, Any], crash_if: Callable[[int], None]) -> None:
    """Each batch and its offsets are one transaction; the first one ends what a dead predecessor left open."""
    producer = make_producer(task["connection"], settings={"transactional.id": task["group"]})
    producer.init_transactions(TRANSACTION_TIMEOUT)
    for number, batch in enumerate(batches_to_end(consumer, task), 1):
        producer.begin_transaction()
        for record in batch:
            producer.produce(task["output"], record.value(), record.key())
        offsets = [TopicPartition(task["topic"], partition, at) for partition, at in ends_of(batch).items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), TRANSACTION_TIMEOUT)
        producer.flush(TRANSACTION_TIMEOUT)
        crash_if(number)
        producer.commit_transaction(TRANSACTION_TIMEOUT)


def _events(batch: Sequence[Message]) -> list[Event]:
    return [Event.from_bytes(one.value() or b"") for one in batch]


def main() -> None:
    """Take the task, and work to the ends, or to the batch of the crash."""
    task = receive_task(lambda: os._exit(3))

    def crash_if(number: int) -> None:
        send_report("batch", number)
        if number == task["crash"]:
            os.kill(os.getpid(), signal.SIGKILL)

    with closing(make_consumer(task["connection"], task["group"])) as consumer:
        (into_topic if task["kind"] == TRANSACTION else into_table)(consumer, task, crash_if)


if __name__ == "__main__":
    main()
