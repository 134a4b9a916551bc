"""A sender at a steady pace: events of the game to one topic, and the broker's answer to each."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pandas as pd

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection
from streaming_lab.cluster import Cluster
from streaming_lab.errors import LabError
from streaming_lab.game.events import EVENT_TYPES, Event
from streaming_lab.scaling.clients import SEND_LIMIT, make_producer
from streaming_lab.waiting import wait_until

PLAYERS = 12
STEP_TIMEOUT = 60.0  # seconds for one step of an experiment: an election, an assignment, a number of answers


def create_experiment_topic(kafka: Cluster, name: str, partitions: int = 1) -> None:
    """A topic with as many copies as the cluster keeps."""
    topics.create_topic(kafka.connection, name, partitions=partitions, replication_factor=kafka.copies, timeout=30.0)


def numbered_events(name: str) -> Iterator[Event]:
    """Events without end, by one player after the other; the ids are `name` and a number from 0."""
    kinds, number = [each for each, kind in EVENT_TYPES.items() if not kind.fields], 0
    while True:
        kind = kinds[number % len(kinds)]
        yield Event(f"{name}-{number:05}", kind, f"player-{number % PLAYERS + 1:02}", datetime.now(UTC))
        number += 1


@dataclass
class SendAnswer:
    """One event that was sent; times are monotonic seconds, `status` is 200, 503 (an error) or None (no answer)."""

    event_id: str
    player: str
    sent: float
    answered: float | None = None
    status: int | None = None
    partition: int | None = None
    offset: int | None = None


class Sender:
    """`with Sender(...)`: a thread sends `rate` events a second until the block ends, and then waits for answers.

    The block begins when the first event is answered: an idempotent producer asks for its id first. Events go to the
    partitions in turn. `name` begins the event ids.
    """

    def __init__(self, connection: Connection, topic: str, name: str, *, acks: str, rate: float, partitions: int = 1):
        self.answers = list[SendAnswer]()
        self.acknowledged = 0
        self._topic, self._rate, self._partitions = topic, rate, partitions
        self._producer = make_producer(connection, acks=acks)
        self._events = numbered_events(name)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name=f"sender-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._send(next(self._events), 0)
        self._producer.flush(SEND_LIMIT)
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait for the answers that are missing; a second call does nothing."""
        self._stopped.set()
        self._thread.join()
        self._producer.flush(SEND_LIMIT)

    def frame(self, began: float) -> pd.DataFrame:
        """A row for each event: request_id, player, status, partition, offset; sent and answered in s since `began`."""
        rows = [
            (one.event_id, one.player, one.status, one.partition, one.offset, one.sent, one.answered)
            for one in self.answers
        ]
        columns = ["request_id", "player", "status", "partition", "offset", "sent", "answered"]
        kinds = {"status": "Int64", "partition": "Int64", "offset": "Int64", "sent": "float64", "answered": "float64"}
        found = pd.DataFrame(rows, columns=columns).astype(kinds)
        return found.assign(sent=found["sent"] - began, answered=found["answered"] - began)

    def _send_all(self) -> None:
        due = time.monotonic()
        for number, event in enumerate(self._events, 1):
            if self._stopped.is_set():
                return
            self._send(event, number % self._partitions)
            due += 1 / self._rate
            self._producer.poll(0)
            while (left := due - time.monotonic()) > 0 and not self._stopped.is_set():
                self._producer.poll(left)  # returns after each answer

    def _send(self, event: Event, partition: int) -> None:
        one = SendAnswer(event.event_id, event.player, time.monotonic())
        self.answers.append(one)

        def answered(error: Any, message: Any) -> None:
            one.answered, one.status = time.monotonic(), 503 if error else 200
            if not error:
                one.partition, one.offset = message.partition(), message.offset()
                self.acknowledged += 1

        self._producer.produce(
            self._topic, event.to_bytes(), event.player.encode(), partition=partition, on_delivery=answered
        )


def await_step(condition: Callable[[], object], what: Callable[[], str]) -> None:
    """Wait for a step of an experiment; after `STEP_TIMEOUT` a `LabError` says what was waited for."""
    cure = "Is the machine very busy? Run the chapter again."
    wait_until(condition, STEP_TIMEOUT, lambda: LabError(f"waited {STEP_TIMEOUT:g} s for {what()}", cure))


def await_answers(senders: Iterable[Sender], more: int) -> None:
    """Wait until each sender has had so many more acknowledgements."""
    wanted = {sender: sender.acknowledged + more for sender in senders}
    await_step(
        lambda: all(one.acknowledged >= least for one, least in wanted.items()), lambda: f"{more} more acknowledgements"
    )
