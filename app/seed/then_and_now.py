"""2019 beside today: each command of the assignment, why it fails now, today's line, and that line's output.

The outputs are measured: `beside_today` runs each line on the given cluster, in the assignment's order.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape

from streaming_lab.analysis.display import LEFT, bare_html, prose_html
from streaming_lab.analysis.measured import marked
from streaming_lab.client import topics
from streaming_lab.cluster.base import Cluster
from streaming_lab.cluster.compose.cluster import ComposeCluster
from streaming_lab.seed.shells import CommandResult, HostShell, ToolsContainer, as_typed, run_command
from streaming_lab.waiting import wait_until

TOPIC = "events"  # the assignment's programs write to this one
SEED_GAMES = ("app/seed/game_api.py", "app/seed/game_api_with_kafka.py")
DELIVERY_TIMEOUT = 5.0  # seconds to wait for the events of a program whose `send` does not wait


@dataclass(frozen=True)
class Line:
    """One command then and now. `ran` is False if today's line can't run here; `output` then names the missing tool."""

    step: str
    old: str
    why: str
    today: str
    output: str
    ran: bool = True


_V1 = "`docker-compose` (v1) ended in 2023; it is `docker compose` now."
_BOX = "The box `mids` is called `lab` now, as `docker-compose` is `docker compose`."
_MIDS = "docker-compose exec mids "

# Sources: Docker's end of Compose v1 (July 2023), Apache Kafka 3.0's notes (no --zookeeper in the tools), kcat 1.7.0.
_THEN: tuple[tuple[str, str, str], ...] = (
    (
        "Start the cluster",
        "docker-compose up -d",
        f"{_V1} And `latest` of its images is Confluent Platform 8, which has no ZooKeeper: Kafka exits.",
    ),
    (
        "Create the topic",
        "docker-compose exec kafka kafka-topics --create --topic events --partitions 1 --replication-factor 1 "
        "--if-not-exists --zookeeper zookeeper:32181",
        "`--zookeeper` left the tools with Kafka 3.0 (2021): they ask the broker, `--bootstrap-server`.",
    ),
    (
        "Serve source code 1",
        f"{_MIDS}env FLASK_APP=/w205/assignment-09/game_api.py flask run",
        f"{_BOX} `flask run` is the same.",
    ),
    ("Ask for the default", f"{_MIDS}curl http://localhost:5000/", f"{_BOX} curl is the same."),
    ("Purchase a sword", f"{_MIDS}curl http://localhost:5000/purchase_a_sword", f"{_BOX} curl is the same."),
    (
        "Serve source code 2",
        f"{_MIDS}env FLASK_APP=/w205/assignment-09/game_api_with_kafka.py flask run",
        f"{_BOX} `flask run` is the same.",
    ),
    ("Ask for the default", f"{_MIDS}curl http://localhost:5000/", f"{_BOX} curl is the same."),
    ("Purchase a sword", f"{_MIDS}curl http://localhost:5000/purchase_a_sword", f"{_BOX} curl is the same."),
    (
        "Read the topic",
        f'{_MIDS}bash -c "kafkacat -C -b kafka:29092 -t events -o beginning -e"',
        f"{_BOX} `kafkacat` was renamed `kcat` in 2021.",
    ),
)


def beside_today(cluster: Cluster, topic: str = TOPIC) -> tuple[Line, ...]:
    """Run today's counterpart of each of the assignment's commands on `cluster`, in its order; takes about 2 s.

    Writes the assignment's three events to `topic`, which it creates. With the tools box running (`docker
    compose up -d`) every line runs there, as in 2019; otherwise the lines are those for this machine, and a line whose
    tool is missing has `ran=False`. Ports and times in `today` and `output` are those of this run.
    """
    then = zip(_THEN, _now(cluster, topic), strict=True)
    return tuple(Line(step, old, why, now.today, now.output, now.ran) for (step, old, why), now in then)


def _now(cluster: Cluster, topic: str) -> list[CommandResult]:
    boxed = isinstance(cluster, ComposeCluster) and _has_box(cluster)
    shell = ToolsContainer(cluster) if isinstance(cluster, ComposeCluster) and boxed else HostShell(cluster)
    answers = [_start(cluster, boxed), _create(cluster, topic)]
    with ExitStack() as servers:
        first = servers.enter_context(shell.serving(SEED_GAMES[0], topic))
        if not boxed:  # both start at once; in the box both take port 5000
            second = servers.enter_context(shell.serving(SEED_GAMES[1], topic))
        sword = "purchase_a_sword"
        six = [shell.get(first, path) for path in ("", "", sword, "", sword, sword)]  # the assignment's, in its order
        if boxed:
            servers.close()
            second = servers.enter_context(shell.serving(SEED_GAMES[1], topic))
        before = _written(cluster, topic)
        three = [shell.get(second, path) for path in ("", sword, sword)]
        _await_delivery(cluster, topic, before + len(three))
    answers += [CommandResult(first.line, first.access_log), six[0], six[2]]
    answers += [CommandResult(second.line, second.access_log), three[0], three[1]]
    return [*answers, shell.read(topic, before)]


def _start(cluster: Cluster, boxed: bool) -> CommandResult:
    """`docker compose up` for containers; any other cluster is described."""
    if isinstance(cluster, ComposeCluster):
        line = ["up", "-d", "--wait", *([] if boxed else cluster.services)]
        return run_command(
            cluster.project.command(*line), as_typed(cluster, " ".join(line)), cluster.project.environment
        )
    found = cluster.describe()
    count = len(found.brokers)
    version = f"Apache Kafka {found.version}" if found.version else "Apache Kafka"
    say = f"{version}, {count} broker{'s' * (count != 1)}, cluster {found.cluster_id}"
    return CommandResult(f'attach("{cluster.name}").describe()', say)


def _create(cluster: Cluster, topic: str) -> CommandResult:
    """Kafka's own tool in a container, otherwise the same request from Python."""
    if isinstance(cluster, ComposeCluster):
        tool = "kafka-topics" if cluster.name == "compose:2019" else "/opt/kafka/bin/kafka-topics.sh"
        line = (
            f"kafka {tool} --create --topic {topic} --partitions 1 --replication-factor {len(cluster.services)} "
            "--if-not-exists --bootstrap-server kafka:29092"
        )
        command = cluster.project.command("exec", "-T", *line.split())
        return run_command(command, as_typed(cluster, f"exec {line}"), cluster.project.environment)
    shown = f'create(connection, "{topic}", partitions=1, replication_factor={cluster.copies})'
    try:
        made = topics.create_topic(cluster.connection, topic, partitions=1, replication_factor=cluster.copies)
        return CommandResult(shown, f'Created topic "{topic}".' if made else f'Topic "{topic}" was there already.')
    except topics.TopicClash as clash:
        return CommandResult(shown, clash.problem)


def _has_box(cluster: ComposeCluster) -> bool:
    box = cluster.project.containers().get("lab")
    return box is not None and box.serves


def _written(cluster: Cluster, topic: str) -> int:
    return sum(topics.end_offsets(cluster.connection, topic).values())


def _await_delivery(cluster: Cluster, topic: str, end: int) -> None:
    """Returns when the topic has the sent events, or after 5 s; the read then shows which are missing."""
    wait_until(lambda: _written(cluster, topic) >= end, DELIVERY_TIMEOUT)


MAX_OUTPUT_LINES = 8


@dataclass(frozen=True)
class ThenAndNow:
    """The table of old and new commands; the cells of today are marked as measured (ports, times)."""

    lines: Sequence[Line]

    def _repr_html_(self) -> str:
        caption = (
            f'<caption{LEFT}><b><span class="no table"></span>2019 beside today</b> '
            "<span>the assignment’s commands; today’s were run just now, with this output</span></caption>"
        )
        heads = "".join(f'<th scope="col"{LEFT}>{name}</th>' for name in ("step", "2019", "today"))
        rows = "\n".join(map(table_row, self.lines))
        return (
            '<div class="table" tabindex="0" role="group" aria-label="2019 beside today">\n'
            f'<table class="then">\n{caption}\n<thead><tr>{heads}</tr></thead>\n'
            f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
        )

    def __repr__(self) -> str:
        return "\n\n".join(
            f"{line.step}\n  2019   {line.old}\n         {bare_html(line.why)}\n  today  {line.today}\n"
            + "\n".join(f"         {text}" for text in shown_lines(line.output))
            for line in self.lines
        )


def then_and_now_table(lines: Sequence[Line]) -> ThenAndNow:
    """The lines of `streaming_lab.seed.then_and_now.beside_today` as a table."""
    return ThenAndNow(lines)


def table_row(line: Line) -> str:
    output = escape("\n".join(shown_lines(line.output)), quote=False)
    today = marked(f"<code>{escape(line.today, quote=False)}</code>\n<pre>{output}</pre>")
    return (
        f'<tr><th scope="row"{LEFT}>{prose_html(line.step)}</th>'
        f'<td{LEFT}><code>{escape(line.old, quote=False)}</code><small style="display:block">'
        f"{prose_html(line.why)}</small></td>"
        f"<td{LEFT}>{today}</td></tr>"
    )


def shown_lines(output: str) -> list[str]:
    """The output's lines without the blank ones; a long output is cut and its other lines are counted."""
    lines = [text for text in output.splitlines() if text.strip()]
    left = len(lines) - MAX_OUTPUT_LINES
    return lines if left <= 0 else [*lines[:MAX_OUTPUT_LINES], f"({left:,} more lines)"]
