"""A real Kafka on a laptop, for anything: start, status, address, stop."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from streaming_lab.cli import command_parser, whole
from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.embedded import client, state
from streaming_lab.cluster.embedded.start_stop import forget_cluster, stop_cluster
from streaming_lab.cluster.embedded.state import State
from streaming_lab.paths import describe_missing_space
from streaming_lab.processes import ProcessId, is_alive
from streaming_lab.reader.decode import native

EVAL = 'eval "$(python3 scripts/cluster.py address --shell)"'


def main(arguments: Sequence[str] | None = None) -> int:
    """`start`, `status`, `address`, `stop` or `forget`; returns 1 when `status` finds no cluster, otherwise 0."""
    parser = command_parser("cluster.py", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start Kafka, or keep the running one, until stop")
    start.add_argument("--port", type=whole(1, 65535 - 8), help="the first broker's port (default: free ones)")
    start.add_argument("--brokers", type=whole(1, 9), default=1, metavar="N", help="1..9, default 1")
    start.add_argument("--auto-create", action="store_true", help="make each topic at its first use")
    start.add_argument("--keep", action="store_true", help="the data outlive stop; the next start --keep finds them")
    start.add_argument("--secure", action="store_true", help="TLS, users and access lists; a client file for each user")
    start.add_argument(
        "--throughput", action="store_true", help="the whole JIT and a 1 GB heap: slower to start, faster to run"
    )
    commands.add_parser("status", help="show what runs and its users")
    address = commands.add_parser("address", help="print the running Kafka's host:port")
    form = address.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as clients take it: bootstrap_servers, and the cluster id")
    form.add_argument("--shell", action="store_true", help=f"a line that sets KAFKA_BOOTSTRAP_SERVERS: {EVAL}")
    commands.add_parser("stop", help="end it, even while it is in use")
    commands.add_parser("forget", help="remove the files of a cluster whose machine or container is gone")
    options = parser.parse_args(arguments)
    if options.command == "start":
        return _start(options)
    if options.command == "address":
        return _address(options)
    return {"status": _status, "stop": _stop, "forget": _forget}[options.command]()


def _start(options: argparse.Namespace) -> int:
    cluster = client.attach_embedded(
        brokers=options.brokers,
        throughput=options.throughput,
        port=options.port,
        user="cluster.py start",
        hold=True,
        auto_create=options.auto_create,
        keep=options.keep,
        secure=options.secure,
    )
    ready = f"ready in {cluster.ready_seconds:.1f} s" if cluster.ready_seconds else "it ran already"
    one = cluster.state
    _say(f"Kafka {cluster.version() or ''} at {','.join(one.servers)} ({ready})")
    for line in rules(one):
        _say(line)
    instance = client.instance_name(options.brokers, options.throughput, "secure" if options.secure else "")
    kept = client.kept_folder(state.state_file(instance))
    if not one.kept and kept.is_dir():
        _say(f"              (earlier data, in {kept}, are not read: start --keep reads them)")
    _say("It runs until: python3 scripts/cluster.py stop")
    return 0


def rules(one: State) -> list[str]:
    """What holds for topics and data of a cluster, a line each."""
    create = "python3 scripts/topic.py create NAME"
    topics = (
        "made at their first use" if one.auto_create else f"made on purpose, with: {create} (or start --auto-create)"
    )
    data = f"kept in {one.kept}" if one.kept else "gone at stop (start --keep keeps them)"
    users = "admin, player (reads and writes), reader (reads), stranger (may nothing)"
    security = [f"  users       {users}", f"  way in      -p cluster {one.secured}/player.properties"]
    return [f"  topics      {topics}", f"  data        {data}", *(security if one.secured else [])]


def running_cluster() -> State:
    """The default cluster if that runs, otherwise the only one that does; raises `ClusterError` without either."""
    found = _living()
    default = state.read_state(state.state_file())
    if default in found:
        return default
    if len(found) == 1:
        return found[0]
    if found:
        where = "; ".join(",".join(one.servers) for one in found)
        raise ClusterError(f"{len(found)} clusters run: {where}", "Name one by its host:port.")
    raise ClusterError("no cluster runs", "Start one: python3 scripts/cluster.py start")


def _living() -> list[State]:
    files = [state.state_file(name) for name in state.instance_names()]
    return [one for file in files if (one := state.read_state(file)) and one.runs]


def _address(options: argparse.Namespace) -> int:
    one = running_cluster()
    if options.json:
        found = {"bootstrap_servers": one.servers, "cluster_id": one.cluster_id}
        _say(json.dumps(found | ({"client_properties": one.locator} if one.secured else {})))
    else:
        _say(f"{'export KAFKA_BOOTSTRAP_SERVERS=' if options.shell else ''}{shlex.quote(one.locator)}")
    return 0


def _status() -> int:
    files = [state.state_file(name) for name in state.instance_names()]
    texts = [text for file in files if (text := describe_state_file(file))]
    for text in texts or ["no cluster runs; start one: python3 scripts/cluster.py start"]:
        _say(text)
    return 0 if texts else 1


def describe_state_file(file: Path) -> str:
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
    full = describe_missing_space(Path(one.run))
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
        *rules(one),
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
        file = state.state_file(name)
        try:
            found = state.read_state(file)
            end = stop_cluster(file, _say)
        except ClusterError as error:
            elsewhere = error  # raised after the others have been stopped
            continue
        if end is None:
            continue
        ended += 1
        how = f"by force ({', '.join(map(str, end.forced))})" if end.forced else "cleanly"
        _say(f"stopped {how}{', start-up cache written' if end.trained else ''}")
        if found is not None:
            again = "the next start --keep finds them"
            _say(f"Its data are kept in {found.kept}: {again}." if found.kept else "Its data are gone with it.")
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
