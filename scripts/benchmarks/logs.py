"""Event logs as people write them by hand, and the floors: the least time that a broker, or a disk, takes."""

import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

from streaming_lab.client.broker_connection import BrokerConnection
from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.client.metadata import parse_addresses
from streaming_lab.delivery.outcome import Counts


class Peer:
    """The part of an event log that the game needs; a peer's own `deliver` is measured."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self.connection, self.topic = connection, topic
        self._accepted = 0
        self._lock = threading.Lock()

    def append(self, key: str, value: bytes, event_id: str) -> None:
        self.deliver(key, value)
        with self._lock:
            self._accepted += 1

    def ready(self) -> bool:
        return True

    @property
    def counts(self) -> Counts:
        return Counts(accepted=self._accepted)


class KafkaPython(Peer):
    """kafka-python with its defaults, but for linger; with `wait`, each request waits for its acknowledgement."""

    def __init__(self, connection: Connection, topic: str, linger_ms: int, wait: bool) -> None:
        super().__init__(connection, topic)
        from kafka import KafkaProducer

        self.producer = KafkaProducer(**connection, linger_ms=linger_ms)
        self.producer.partitions_for(topic)
        self.wait = wait

    def deliver(self, key: str, value: bytes) -> None:
        future = self.producer.send(self.topic, value, key.encode())
        if self.wait:
            future.get(30)

    def close(self, timeout: float) -> None:
        self.producer.close(timeout)


class ConfluentEach(Peer):
    """confluent-kafka as its examples have it: produce, then flush, in each request."""

    def __init__(self, connection: Connection, topic: str) -> None:
        super().__init__(connection, topic)
        from confluent_kafka import Producer

        settings = {**librdkafka_settings(connection), "enable.idempotence": True, "linger.ms": 0}
        self.producer = Producer(settings)

    def deliver(self, key: str, value: bytes) -> None:
        failed: list[Any] = []
        self.producer.produce(self.topic, value, key, on_delivery=lambda error, _: error and failed.append(error))
        self.producer.flush(30)
        if failed:
            raise RuntimeError(failed[0])

    def close(self, timeout: float) -> None:
        self.producer.flush(timeout)


class AppendAlone(Peer):
    """One request, made once and sent for each event over a plain socket that waits for the answer.

    The time over no logging is the broker's and the machine's; nothing that waits for an acknowledgement is faster.
    """

    def __init__(self, connection: Connection, topic: str) -> None:
        super().__init__(connection, topic)
        self.address = parse_addresses(connection["bootstrap_servers"])[0]
        self.mine = threading.local()
        self.request = b""

    def deliver(self, key: str, value: bytes) -> None:
        self.request = self.request or self._made(key, value)
        if not hasattr(self.mine, "socket"):
            self.mine.socket = socket.create_connection(self.address, 30)
            self.mine.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.mine.answers = self.mine.socket.makefile("rb")
        self.mine.socket.sendall(self.request)
        (size,) = struct.unpack(">i", self.mine.answers.read(4))
        self.mine.answers.read(size)

    def close(self, timeout: float) -> None:
        pass

    def _made(self, key: str, value: bytes) -> bytes:
        from kafka.protocol.producer import ProduceRequest
        from kafka.record.memory_records import MemoryRecordsBuilder

        records = MemoryRecordsBuilder(2, 0, 1 << 20)
        records.append(int(time.time() * 1000), key.encode(), value)
        records.close()
        with BrokerConnection(self.address, time.monotonic() + 30) as link:
            version = min(link.version(ProduceRequest), 12)  # later ones name topics by id
        data = ProduceRequest.TopicProduceData
        partition = data.PartitionProduceData(version=version, index=0, records=records.buffer())
        topic = data(version=version, name=self.topic, partition_data=[partition])
        request = ProduceRequest[version](transactional_id=None, acks=-1, timeout_ms=30_000, topic_data=[topic])
        request.with_header(correlation_id=1, client_id="append-alone")
        return bytes(request.encode(framed=True, header=True))


class FsyncAlone(Peer):
    """Appends each value to a file and calls fsync: the cost of a durable answer on this disk."""

    def __init__(self, connection: Connection, topic: str, folder: Path) -> None:
        super().__init__(connection, topic)
        self.file = (folder / "values").open("wb", buffering=0)
        self.locked = threading.Lock()

    def deliver(self, key: str, value: bytes) -> None:
        with self.locked:
            self.file.write(value)
            os.fsync(self.file.fileno())

    def close(self, timeout: float) -> None:
        self.file.close()
