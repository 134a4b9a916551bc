"""The command line for topics of a running Kafka: create, describe, list."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from streaming_lab import settings
from streaming_lab.cli import VERSION, whole
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, connection_for
from streaming_lab.client.topics import Partition, TopicDescription
from streaming_lab.cluster import cli
from streaming_lab.cluster.base import describe_brokers

SERVERS = "KAFKA_BOOTSTRAP_SERVERS"


def main(arguments: Sequence[str] | None = None) -> int:
    """One of `COMMANDS` on the cluster of `--cluster`, `KAFKA_BOOTSTRAP_SERVERS`, or the lab's running one."""
    options = parse_options(arguments)
    COMMANDS[options.command](find_connection(options.cluster), options)
    return 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="topic.py",
        description=__doc__,
        epilog=settings.help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--cluster", metavar="HOST:PORT", help=f"default: {SERVERS}, else the lab's running cluster")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", parents=[common], help="make a topic, unless it is there in this shape")
    create.add_argument("name")
    create.add_argument("--partitions", type=whole(1, 1000), default=1, metavar="N", help="default 1")
    create.add_argument("--replicas", type=whole(1, 9), metavar="N", help="default: one a broker, at most 3")
    create.add_argument("--config", type=setting, action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    describe = commands.add_parser("describe", parents=[common], help="show leaders, replicas, offsets and config")
    describe.add_argument("name")
    names = commands.add_parser("list", parents=[common], help="print the names of all topics but Kafka's own")
    for command in (describe, names):
        command.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args(arguments)


def setting(text: str) -> tuple[str, str]:
    """For argparse: a topic's setting as KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, as retention.ms=60000")
    return key, value


def find_connection(servers: str | None) -> Connection:
    """The connection of `host:port`, of `KAFKA_BOOTSTRAP_SERVERS`, or of the lab's running cluster, the first given."""
    servers = servers or os.environ.get(SERVERS)
    return connection_for(servers) if servers else {"bootstrap_servers": cli.running_cluster().servers}


def create(connection: Connection, options: argparse.Namespace) -> None:
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


def describe(connection: Connection, options: argparse.Namespace) -> None:
    """Print the topic's partitions and its own settings."""
    found = topics.describe_topic(connection, options.name)
    _say(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(description_lines(found)))


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


def list_names(connection: Connection, options: argparse.Namespace) -> None:
    """Print the names, one a line."""
    names = topics.topic_names(connection)
    if options.json:
        _say(json.dumps(names))
    elif names:
        _say("\n".join(names))
    else:
        sys.stderr.write("no topics; make one: python3 scripts/topic.py create NAME\n")


COMMANDS: Mapping[str, Callable[[Connection, argparse.Namespace], None]] = {
    "create": create,
    "describe": describe,
    "list": list_names,
}


def _numbers(ids: Sequence[int]) -> str:
    return ",".join(map(str, ids)) or "none"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
