"""The command line for topics of a running Kafka: read, tail, describe, lag, write, create, list."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import TypeAlias

from streaming_lab.cli import command_parser, positive, whole
from streaming_lab.client import topics
from streaming_lab.client.client_properties import connection_named
from streaming_lab.client.connection import Connection
from streaming_lab.client.topics import Partition, TopicDescription
from streaming_lab.cluster import cli
from streaming_lab.cluster.base import describe_brokers
from streaming_lab.errors import LabError
from streaming_lab.topic.places import PLACE_FORMS, TopicPlace, parse_place

TopicCommand: TypeAlias = Callable[[Connection, argparse.Namespace], int]
PRINT_FORMATS = ("table", "csv", "json")
VALUES = ("json", "nearly", "stream", "text")
SERVERS = "KAFKA_BOOTSTRAP_SERVERS"


def main(arguments: Sequence[str] | None = None) -> int:
    """One of `COMMANDS` on the cluster of `--cluster`, `KAFKA_BOOTSTRAP_SERVERS`, or the lab's running one."""
    options = parse_options(arguments)
    try:
        return COMMANDS[options.command](find_connection(options.cluster), options)
    except BrokenPipeError:  # `topic.py read … | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = command_parser("topic.py", __doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--cluster", metavar="HOST:PORT|FILE", help=f"default: {SERVERS}, else the lab's running cluster"
    )
    one = argparse.ArgumentParser(add_help=False, parents=[common])
    one.add_argument("name", help="the topic")
    commands = parser.add_subparsers(dest="command", required=True)
    read = commands.add_parser("read", parents=[one, _how_to_read()], help="print the records of a range")
    read.add_argument(
        "--from", dest="start", type=read_place, metavar="PLACE", help=f"{PLACE_FORMS} (default: beginning)"
    )
    read.add_argument(
        "--to", dest="end", type=read_place, metavar="PLACE", help="the same, not included (default: end)"
    )
    read.add_argument("--rows", type=whole(1), default=40, metavar="N", help="rows of a table (default 40)")
    tail = commands.add_parser("tail", parents=[one, _how_to_read()], help="print the last records")
    tail.add_argument("-n", "--lines", type=whole(0), default=10, metavar="N", help="so many (default 10)")
    tail.add_argument("-f", "--follow", action="store_true", help="and each new one, until Ctrl-C")
    commands.add_parser("describe", parents=[one, _json()], help="show leaders, replicas, offsets and config")
    lag = commands.add_parser("lag", parents=[one], help="show how far consumer groups are behind")
    lag.add_argument("--group", help="only this one")
    lag.add_argument("--format", choices=PRINT_FORMATS, default="table")
    _add_write(commands.add_parser("write", parents=[one], help="write a record for each line"))
    create = commands.add_parser("create", parents=[one], help="make a topic, unless it is there in this shape")
    create.add_argument("--partitions", type=whole(1, 1000), default=1, metavar="N", help="default 1")
    create.add_argument("--replicas", type=whole(1, 9), metavar="N", help="default: one a broker, at most 3")
    create.add_argument("--config", type=setting, action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    commands.add_parser("list", parents=[common, _json()], help="print the names of all topics but Kafka's own")
    return parser.parse_args(arguments)


def _json() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _how_to_read() -> argparse.ArgumentParser:
    """What `read` and `tail` share."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--format", choices=PRINT_FORMATS, default="table", help="json is an object a line")
    parser.add_argument(
        "--columns", type=read_names, metavar="A,B", help="only these; partition, offset, timestamp, key too"
    )
    parser.add_argument("--partition", type=whole(0), action="append", metavar="N", help="only this one; repeatable")
    parser.add_argument("--headers", action="store_true", help="the records' headers as a column")
    parser.add_argument("--values", choices=VALUES, default="json", help="what a value is (docs/reading.md)")
    parser.add_argument("--flat", action="store_true", help="a column for each field of nested objects")
    parser.add_argument("--committed", action="store_true", help="without aborted and open transactions")
    parser.add_argument("--timeout", type=positive, default=60.0, metavar="SECONDS", help="for all of it (default 60)")
    return parser


def _add_write(write: argparse.ArgumentParser) -> None:
    write.add_argument("file", nargs="?", default="-", help="a file of lines (default: standard input)")
    key = write.add_mutually_exclusive_group()
    key.add_argument("--key", help="the key of every record")
    key.add_argument("--key-separator", metavar="TEXT", help="what stands between a line's key and its value")
    write.add_argument("--header", type=setting, action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    write.add_argument("--partition", type=whole(0), metavar="N", help="default: by key, or the producer's choice")
    write.add_argument("--tombstones", action="store_true", help="an empty value is none (null)")


def read_place(text: str) -> TopicPlace:
    """For argparse: a place in a topic."""
    try:
        return parse_place(text, datetime.now(UTC))
    except LabError as error:
        raise argparse.ArgumentTypeError(f"{error.problem}. {error.cure}") from error


def read_names(text: str) -> list[str]:
    """For argparse: names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def setting(text: str) -> tuple[str, str]:
    """For argparse: a topic's setting as KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, as retention.ms=60000")
    return key, value


def find_connection(servers: str | None) -> Connection:
    """The connection of `--cluster` (host:port, or a file), of `KAFKA_BOOTSTRAP_SERVERS`, or of the running cluster."""
    servers = servers or os.environ.get(SERVERS)
    return connection_named(servers or cli.running_cluster().locator)


def create(connection: Connection, options: argparse.Namespace) -> int:
    """Make the topic, and print its shape."""
    replicas = options.replicas or min(3, len(describe_brokers(connection).brokers))
    made = topics.create_topic(
        connection,
        options.name,
        partitions=options.partitions,
        replication_factor=replicas,
        config=dict(options.config),
    )
    what = "created" if made else "was there already, in this shape"
    _say(
        f"topic {options.name!r} {what}: {_count(options.partitions, 'partition')}, {_count(replicas, 'replica')} each"
    )
    return 0


def describe(connection: Connection, options: argparse.Namespace) -> int:
    """Print the topic's partitions and its own settings."""
    found = topics.describe_topic(connection, options.name)
    _say(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(description_lines(found)))
    return 0


def description_lines(found: TopicDescription) -> list[str]:
    """A topic's description for a person: a line for each partition and for each setting of its own."""
    count = _count(len(found.partitions), "partition")
    head = f"topic {found.name!r}: {count}, {_count(found.replication_factor, 'replica')} each"
    config = [f"  {key}={value}" for key, value in found.config.items()]
    return [head, *map(_partition_line, found.partitions), *config]


def _partition_line(one: Partition) -> str:
    brokers = f"replicas {_numbers(one.replicas)}, in sync {_numbers(one.isr)}"
    if one.begin is None or one.end is None:
        return f"  partition {one.id}  no leader, {brokers}"
    offsets = f"{one.end - one.begin:,} offsets: {one.begin} to {one.end}"
    return f"  partition {one.id}  leader {one.leader}, {brokers}, {offsets}"


def list_names(connection: Connection, options: argparse.Namespace) -> int:
    """Print the names, one a line."""
    names = topics.topic_names(connection)
    if options.json:
        _say(json.dumps(names))
    elif names:
        _say("\n".join(names))
    else:
        sys.stderr.write("no topics; make one: python3 scripts/topic.py create NAME\n")
    return 0


def _late(module: str, name: str) -> TopicCommand:
    """A command of a module that loads pandas: imported when it is typed."""
    return lambda connection, options: int(
        getattr(import_module(f"streaming_lab.topic.{module}"), name)(connection, options)
    )


COMMANDS: Mapping[str, TopicCommand] = {
    "read": _late("reading", "read_command"),
    "tail": _late("reading", "tail_command"),
    "describe": describe,
    "lag": _late("lag", "lag_command"),
    "write": _late("writing", "write_command"),
    "create": create,
    "list": list_names,
}


def _numbers(ids: Sequence[int]) -> str:
    return ",".join(map(str, ids)) or "none"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
