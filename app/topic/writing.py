"""The command `write`: a record for each line of stdin or of a file, each acknowledged before the command ends."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Any, NamedTuple

from streaming_lab.cli import write_error
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, kafka_python_settings
from streaming_lab.errors import LabError
from streaming_lab.wording import counted

_BATCH = 1000  # records under way; their acknowledgements are awaited before the next ones are read
_TIMEOUT_MS = 20_000  # for one record's acknowledgement


class Record(NamedTuple):
    """A record to write; a value of None is a tombstone."""

    key: bytes | None
    value: bytes | None


def write_command(connection: Connection, options: argparse.Namespace) -> int:
    """Write each line; returns 1, with the first reason, when a record was not acknowledged."""
    partitions = topics.describe_topic(connection, options.name).partitions  # raises `UnknownTopic`
    if options.partition is not None and options.partition >= len(partitions):
        last = len(partitions) - 1
        raise LabError(f"topic {options.name!r} has no partition {options.partition}", f"The last is {last}.")
    with ExitStack() as stack:
        source = sys.stdin.buffer if options.file == "-" else stack.enter_context(_opened(options.file))
        records = (_record(line.rstrip(b"\r\n"), options) for line in source)
        written, failures = send(connection, options, records)
    end = ", ".join(f"{count} {reason}" for reason, count in failures.items())
    write_error(f"{counted(written, 'record')} written to {options.name!r}{f'; not written: {end}' if end else ''}")
    return 1 if failures else 0


def _opened(file: str) -> Any:
    try:
        return open(file, "rb")
    except OSError as error:
        raise LabError(f"cannot read {file}: {error.strerror}", "Name a file, or - for standard input.") from error


def _record(line: bytes, options: argparse.Namespace) -> Record:
    key = options.key.encode() if options.key is not None else None
    if options.key_separator is not None:
        first, found, rest = line.partition(options.key_separator.encode())
        key, line = (first, rest) if found else (None, line)
    return Record(key, None if options.tombstones and not line else line)


def send(connection: Connection, options: argparse.Namespace, records: Iterator[Record]) -> tuple[int, dict[str, int]]:
    """How many records the brokers acknowledged, and reason -> count of those that they did not."""
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    written, failures = 0, dict[str, int]()
    headers = [(name, value.encode()) for name, value in options.header]
    producer = KafkaProducer(
        **kafka_python_settings(connection),
        acks="all",
        linger_ms=5,
        delivery_timeout_ms=_TIMEOUT_MS,
        request_timeout_ms=_TIMEOUT_MS // 2,
        max_block_ms=_TIMEOUT_MS // 2,
    )
    try:
        while batch := list(islice(records, _BATCH)):
            sent = []
            for key, value in batch:
                try:
                    sent.append(producer.send(options.name, value, key, headers=headers, partition=options.partition))
                except (KafkaError, ValueError) as error:  # larger than a request, or no metadata in time
                    failures[_reason(error)] = failures.get(_reason(error), 0) + 1
            for future in sent:
                try:
                    future.get(_TIMEOUT_MS / 1000)
                    written += 1
                except KafkaError as error:
                    failures[_reason(error)] = failures.get(_reason(error), 0) + 1
    finally:
        with suppress(KafkaError):  # every outcome is known; a broker that is away can't be told good-bye
            producer.close(timeout=5)
    return written, failures


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
