"""A real Kafka on a laptop, for anything: start, status, stop."""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

import psutil

from streaming_lab import settings
from streaming_lab.cli import VERSION, whole
from streaming_lab.cluster.embedded import client, state
from streaming_lab.cluster.embedded.start_stop import stop_cluster
from streaming_lab.cluster.embedded.state import State
from streaming_lab.reader.decode import native


def main(arguments: Sequence[str] | None = None) -> int:
    """`start [--port N] [--brokers N]`, `status` or `stop`; returns 1 when `status` finds no cluster, otherwise 0."""
    parser = argparse.ArgumentParser(
        prog="cluster.py",
        description=__doc__,
        epilog=settings.help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start Kafka, or keep the running one, until stop")
    start.add_argument("--port", type=whole(1, 65535 - 8), help="the first broker's port (default: free ones)")
    start.add_argument("--brokers", type=whole(1, 9), default=1, metavar="N", help="1..9, default 1")
    start.add_argument(
        "--throughput", action="store_true", help="the whole JIT and a 1 GB heap: slower to start, faster to run"
    )
    commands.add_parser("status", help="show what runs and its users")
    commands.add_parser("stop", help="end it, even while it is in use")
    asked = parser.parse_args(arguments)
    if asked.command == "start":
        return _start(asked)
    return _status() if asked.command == "status" else _stop()


def _start(asked: argparse.Namespace) -> int:
    cluster = client.attach_embedded(
        brokers=asked.brokers, throughput=asked.throughput, port=asked.port, user="cluster.py start", hold=True
    )
    ready = f"ready in {cluster.ready_seconds:.1f} s" if cluster.ready_seconds else "it ran already"
    _say(f"Kafka {cluster.version() or ''} at {','.join(cluster.connection['bootstrap_servers'])} ({ready})")
    _say("It runs until: python3 scripts/cluster.py stop")
    return 0


def _status() -> int:
    files = [state.state_file(name) for name in state.instance_names()]
    found = [one for file in files if (one := state.read_state(file)) and state.is_alive(one.supervisor)]
    strangers = [file for file in files if state.strangers(file)]
    for one in found:
        _say("\n".join(lines(one)))
    for file in strangers:
        _say(f"another version's cluster ({file}); end it: python3 scripts/cluster.py stop")
    if not found and not strangers:
        _say("no cluster runs; start one: python3 scripts/cluster.py start")
    return 0 if found or strangers else 1


def lines(one: State) -> list[str]:
    """The lines of `status` about one cluster."""
    age = timedelta(seconds=int(time.time() - one.started_at))
    return [
        f"Kafka {one.version or '?'}, {one.status} for {age}, profile {one.profile}",
        f"  cluster id  {one.cluster_id}",
        *(f"  broker {b.id}    127.0.0.1:{b.port}, {b.status}, {_memory(b.process)}" for b in one.brokers),
        f"  supervisor  {_memory(one.supervisor)}; ends {one.grace:g} s after the last user",
        *(
            f"  user        {user.name}{f', pid {user.process.pid}' if user.process else ', until stop'}"
            for user in one.users
        ),
        f"  reader      {native.core_status()}",
        f"  files       {one.run}",
    ]


def _memory(process: state.ProcessId | None) -> str:
    if process is None or not state.is_alive(process):
        return "no process"
    try:
        return f"pid {process.pid}, {psutil.Process(process.pid).memory_info().rss / 1e6:.0f} MB"
    except psutil.Error:
        return "no process"


def _stop() -> int:
    ended = 0
    for name in list(state.instance_names()):
        end = stop_cluster(state.state_file(name), _say)
        if end is None:
            continue
        ended += 1
        how = f"by force ({', '.join(map(str, end.forced))})" if end.forced else "cleanly"
        _say(f"stopped {how}{', start-up cache written' if end.trained else ''}")
    if not ended:
        _say("no cluster runs")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
