"""A real Kafka on a laptop, for anything: start it, look at it, stop it."""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from streaming_lab import settings
from streaming_lab.cli import VERSION, whole
from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.embedded import client, state
from streaming_lab.cluster.embedded.start_stop import forget_cluster, stop_cluster
from streaming_lab.cluster.embedded.state import State
from streaming_lab.paths import describe_full_disk
from streaming_lab.processes import ProcessId, is_alive
from streaming_lab.reader.decode import native


def main(arguments: Sequence[str] | None = None) -> int:
    """`start [--port N] [--brokers N]`, `status`, `stop`, `forget`; 0 when done, 1 when `status` finds nothing."""
    parser = argparse.ArgumentParser(
        prog="cluster.py",
        description=__doc__,
        epilog=settings.help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start Kafka, or keep the running one, until stop")
    start.add_argument("--port", type=whole(1, 65535 - 8), help="the first broker's port; else free ones are taken")
    start.add_argument("--brokers", type=whole(1, 9), default=1, metavar="N", help="1..9, default 1")
    start.add_argument(
        "--throughput", action="store_true", help="the whole JIT and a 1 GB heap: slower to start, faster to run"
    )
    commands.add_parser("status", help="what runs, and who uses it")
    commands.add_parser("stop", help="end it, whoever uses it")
    commands.add_parser("forget", help="remove the files of a cluster whose machine or container is gone")
    asked = parser.parse_args(arguments)
    if asked.command == "start":
        return _start(asked)
    return {"status": _status, "stop": _stop, "forget": _forget}[asked.command]()


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
    told = [text for file in files if (text := describe_cluster(file))]
    for text in told or ["no cluster runs; start one: python3 scripts/cluster.py start"]:
        _say(text)
    return 0 if told else 1


def describe_cluster(file: Path) -> str:
    """What `status` says of the cluster of one state file; nothing when none of its processes is left."""
    stop, found = "python3 scripts/cluster.py stop", state.read_state(file)
    if place := state.find_elsewhere(file):
        return (
            f"a cluster runs on {place}, which is not this machine or container ({file}); stop it there, or when that "
            "is gone: python3 scripts/cluster.py forget"
        )
    if found is not None and found.runs:
        return "\n".join(lines(found))
    if found is not None and (left := found.living_brokers):
        pids = ", ".join(str(one.pid) for one in left)
        return f"a cluster whose supervisor was killed ({file}): its brokers still run (pid {pids}); end them: {stop}"
    return f"another version's cluster ({file}); end it: {stop}" if state.strangers(file) else ""


def lines(one: State) -> list[str]:
    """What `status` says of one cluster."""
    age = timedelta(seconds=max(0, int(time.time() - one.started_at)))
    died = ", ".join(f"broker {broker.id}" for broker in one.dead_brokers)
    lost = ", ".join(f"broker {broker.id}" for broker in one.lost_brokers)
    full = describe_full_disk(Path(one.run))
    return [
        f"Kafka {one.version or '?'}, {one.status} for {age}, profile {one.profile}",
        *([f"  broken: {died} died; end it: python3 scripts/cluster.py stop"] if died else []),
        *([f"  broken: {lost} ended, or is just being restarted"] if lost else []),
        *([f"  {full}; what is shown here may be old"] if full else []),
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


def _memory(process: ProcessId | None) -> str:
    if process is None or not is_alive(process):
        return "no process"
    import psutil

    try:
        return f"pid {process.pid}, {psutil.Process(process.pid).memory_info().rss / 1e6:.0f} MB"
    except psutil.Error:
        return "no process"


def _stop() -> int:
    ended, elsewhere = 0, None
    for name in list(state.instance_names()):
        try:
            end = stop_cluster(state.state_file(name), _say)
        except ClusterError as error:
            elsewhere = error  # said after the others have been stopped
            continue
        if end is None:
            continue
        ended += 1
        how = f"by force ({', '.join(map(str, end.forced))})" if end.forced else "cleanly"
        _say(f"stopped {how}{', start-up cache written' if end.trained else ''}")
    if elsewhere is not None:
        raise elsewhere
    if not ended:
        _say("no cluster runs")
    return 0


def _forget() -> int:
    forgotten = [place for name in list(state.instance_names()) if (place := forget_cluster(state.state_file(name)))]
    for place in forgotten:
        _say(f"forgot the cluster that ran on {place}")
    if not forgotten:
        _say("no cluster of another machine is known here; to end one of this machine: python3 scripts/cluster.py stop")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
