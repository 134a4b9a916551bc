"""The roof: Fetch alone. The bytes are received into one buffer, their batches counted, and nothing is decoded.

Ways: kafka-python (its protocol classes, which copy the batches out of the answer) and in-place (without that copy).
"""

import measure  # first: it starts the clock

# isort: split
import socket
import struct
from typing import Any

from kafka.protocol.consumer.fetch import FetchRequest, FetchResponse

from streaming_lab.client.broker_connection import decode_in_place

VERSION = 12
ANSWER, PART = 16 << 20, 4 << 20  # bytes of an answer, and of one partition in it


def request(task: measure.Task, positions: dict[int, int], locked: int) -> bytes:
    topic, place = FetchRequest.FetchTopic, FetchRequest.FetchTopic.FetchPartition
    order = sorted(positions)
    order = order[locked % len(order) :] + order[: locked % len(order)]
    places = [
        place(version=VERSION, partition=each, fetch_offset=positions[each], partition_max_bytes=PART) for each in order
    ]
    asked = FetchRequest(
        version=VERSION,
        max_wait_ms=500,
        min_bytes=1,
        max_bytes=ANSWER,
        topics=[topic(version=VERSION, topic=task.topic, partitions=places)],
    )
    asked.with_header(correlation_id=locked, client_id="roof")
    return bytes(asked.encode(framed=True, header=True))


def received(connection: socket.socket, buffer: bytearray) -> memoryview:
    head = memoryview(bytearray(4))
    fill(connection, head)
    view = memoryview(buffer)[: struct.unpack(">i", head)[0]]
    fill(connection, view)
    return view


def fill(connection: socket.socket, view: memoryview) -> None:
    at = 0
    while at < len(view):
        got = connection.recv_into(view[at:])
        assert got, "the broker closed the connection"
        at += got


def walked(records: Any, at: int) -> tuple[int, int]:
    """The offset after the whole batches in `records`, and how many records they have."""
    place, count = 0, 0
    while len(records) - place >= 61:
        base, length = struct.unpack_from(">qi", records, place)
        if place + 12 + length > len(records):
            break
        at = base + struct.unpack_from(">i", records, place + 23)[0] + 1
        count += struct.unpack_from(">i", records, place + 57)[0]
        place += 12 + length
    return at, count


def decoded(answer: Any, data: memoryview, version: int) -> Any:
    return answer.decode(data, version=version)


def load(task: measure.Task) -> None:
    host, port = task.bootstrap.split(",")[0].rsplit(":", 1)
    buffer = bytearray(ANSWER + (1 << 20))
    decode = decode_in_place if task.way == "in-place" else decoded
    positions, count, number = dict.fromkeys(range(task.partitions), 0), 0, 0
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        while count < task.events:
            number += 1
            connection.sendall(request(task, positions, number))
            answer = decode(FetchResponse, received(connection, buffer)[5:], VERSION)
            for part in answer.responses[0].partitions:
                assert part.error_code == 0, f"partition {part.partition_index}: error {part.error_code}"
                after, found = walked(part.records or b"", positions[part.partition_index])
                positions[part.partition_index], count = after, count + found


measure.run(load)
