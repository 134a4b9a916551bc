"""A member of a consumer group in a process of its own: python -m streaming_lab.scaling.group_member

Its task, one line of JSON on stdin: connection, topic, group, batch (records between two commits), work (seconds for a
record), session (seconds until a silent member counts as dead).
"""

import threading
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streaming_lab.child import receive_task, send_report
from streaming_lab.scaling.clients import POLL_TIMEOUT, make_consumer


def consume(task: dict[str, Any], stopped: threading.Event) -> None:
    """Read batch by batch, work on each record, report the record, commit the batch; until the starter says stop."""
    session = int(1000 * task["session"])
    settings = {
        "session.timeout.ms": session,
        "heartbeat.interval.ms": session // 6,
        "partition.assignment.strategy": "cooperative-sticky",  # members go on with what they keep
    }
    consumer = make_consumer(task["connection"], task["group"], settings)

    def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
        send_report("assigned", sorted(one.partition for one in partitions))

    def revoked(_: Consumer, partitions: list[TopicPartition]) -> None:
        send_report("revoked", sorted(one.partition for one in partitions))

    consumer.subscribe([task["topic"]], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    try:
        while not stopped.is_set():
            records = [one for one in consumer.consume(task["batch"], POLL_TIMEOUT) if not one.error()]
            for record in records:
                time.sleep(task["work"])  # stands for the work on a record
                send_report("handled", [record.partition(), record.offset()])
            if records:
                _commit(consumer)
    finally:
        consumer.close()


def _commit(consumer: Consumer) -> None:
    try:
        done = consumer.commit(asynchronous=False) or []
        send_report("committed", [[one.partition, one.offset] for one in done])
    except KafkaException as error:  # the partitions were given to another member meanwhile: it repeats the batch
        send_report("refused", error.args[0].str())


def main() -> None:
    """Take the task, and be a member until the starter closes stdin."""
    stopped = threading.Event()
    consume(receive_task(stopped.set), stopped)


if __name__ == "__main__":
    main()
