"""The compose files on a real engine: they start, they hold the assignment's steps, their failures are told apart."""

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer
from peers import missing, needs

from streaming_lab.client import topics
from streaming_lab.client.connection import librdkafka_settings
from streaming_lab.cluster.base import BROKER_VERBS, ClusterError
from streaming_lab.cluster.compose import cluster, docker
from streaming_lab.cluster.compose.cluster import ComposeCluster
from streaming_lab.cluster.compose.docker import ComposeProject
from streaming_lab.cluster.compose.explain import explain_compose_file
from streaming_lab.errors import LabError
from streaming_lab.game.server import GameServer
from streaming_lab.paths import PROJECT
from streaming_lab.ports import PortTaken
from streaming_lab.seed import game_api
from streaming_lab.seed.then_and_now import Line, beside_today

FILES = ("docker-compose.yml", "compose/trio.yml", "compose/2019.yml", "compose/scale.yml")
OWN = f"lab-test-{os.getpid()}"  # no container of the user's is called that


@pytest.fixture(scope="module")
def engine() -> None:
    """A Docker engine, or a skip with the reason; in CI its absence is a failure."""
    try:
        docker.check_docker()
    except LabError as error:
        if sys.platform == "darwin":  # GitHub's machines have none
            pytest.skip(f"needs a Docker engine ({error.problem})")
        missing(f"a Docker engine ({error.problem})")


@pytest.fixture(scope="module")
def box(engine: None) -> Iterator[ComposeCluster]:
    """docker-compose.yml, up, with the tools box built from what is here now: for all tests that only use it."""
    with own("compose", free()) as cluster:
        try:
            built(cluster).up(["lab"], 60)
            yield cluster
        finally:
            cluster.project.down(volumes=True)


@pytest.fixture
def ports() -> dict[str, str]:
    """A set of ports of this test's own."""
    return free()


def free() -> dict[str, str]:
    """The files' variables with free ports, so that a running lab is not in the way."""
    names = ("KAFKA_PORT", "KAFKA_PORT_2", "KAFKA_PORT_3", "GAME_PORT", "JUPYTER_PORT")
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    found = {name: str(holder.getsockname()[1]) for name, holder in zip(names, holders, strict=True)}
    for holder in holders:
        holder.close()
    return {**found, "JUPYTER_TOKEN": "a-token"}


@pytest.fixture(params=["compose", "compose:2019"])
def boxed(request: pytest.FixtureRequest, box: ComposeCluster, ports: dict[str, str]) -> Iterator[ComposeCluster]:
    """A whole compose file, up: the broker and the tools box, which is built by now."""
    if request.param == "compose":
        yield box
        return
    with own(request.param, ports) as cluster:
        try:
            cluster.project.up(["lab"], 60)
            yield cluster
        finally:
            cluster.project.down(volumes=True)


def own(name: str, ports: dict[str, str], project: str = OWN) -> ComposeCluster:
    return cluster.attach_compose(name, project=project, ports=ports)


def built(cluster: ComposeCluster) -> ComposeProject:
    """The project, with the tools box built from what is here now."""
    ran(cluster.project, "build", "lab")
    return cluster.project


def ran(project: ComposeProject, *command: str) -> str:
    """The output of a command that may take minutes on a busy machine, and must not fail."""
    done = docker.run_docker(project.command(*command), 600, project.environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def leftovers(name: str) -> str:
    """Whatever container, volume or network of a project is still there."""
    mine = ["--filter", f"name={name}", "--quiet"]
    kinds = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
    return "".join(docker.run_docker(["docker", *kind, *mine]).stdout for kind in kinds)


@pytest.mark.docker
@pytest.mark.parametrize("file", FILES)
def test_a_file_has_no_warning(engine: None, file: str) -> None:
    """`docker compose config` has nothing to say, with every profile on."""
    command = ["docker", "compose", "--file", str(PROJECT / file), "--profile", "*", "config", "--quiet"]
    done = docker.run_docker(command)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("file", FILES)
def test_a_file_pins_and_publishes_with_care(file: str) -> None:
    """Every image has a version, and nothing is published beyond this machine."""
    lines = [line.split(" #")[0].strip() for line in (PROJECT / file).read_text().splitlines()]
    images = [line.split()[1] for line in lines if line.startswith("image:")]
    published = [line for line in lines if re.match(r"- .*:\d+$", line)]
    assert all(re.search(r":(\d+\.\d+\.\d+|local)$", image) for image in images)
    assert bool(published) == (file != "compose/scale.yml")  # its ports are those of compose/trio.yml
    assert all(line.startswith("- 127.0.0.1:${") for line in published)


# The outputs that the assignment shows; only the times are not these, and Kafka dropped the quotes around the topic.
CREATED = 'Created topic "events".'
FIRST_LOG = """\
127.0.0.1 - - [TIME] "GET / HTTP/1.1" 200 -
127.0.0.1 - - [TIME] "GET / HTTP/1.1" 200 -
127.0.0.1 - - [TIME] "GET /purchase_a_sword HTTP/1.1" 200 -
127.0.0.1 - - [TIME] "GET / HTTP/1.1" 200 -
127.0.0.1 - - [TIME] "GET /purchase_a_sword HTTP/1.1" 200 -
127.0.0.1 - - [TIME] "GET /purchase_a_sword HTTP/1.1" 200 -"""
READ = "default\npurchased_sword\npurchased_sword"


def timeless(log: str) -> str:
    return re.sub(r"\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\]", "[TIME]", log)


@pytest.mark.docker
@pytest.mark.slow
def test_the_assignments_commands_give_the_assignments_output(boxed: ComposeCluster) -> None:
    """Its steps 1 to 6 in the box `lab`, today and on ZooKeeper: the same topic, access log and three lines."""
    lines = beside_today(boxed)
    by_step: dict[str, Line] = {line.step: line for line in lines}
    assert all(line.ran and line.today.startswith("docker compose ") for line in lines)
    assert by_step["Create the topic"].output == CREATED.replace('"', "")
    assert timeless(by_step["Serve source code 1"].output) == FIRST_LOG
    assert lines[3].output == "This is the default response. No purchase or sale!"
    assert by_step["Read the topic"].output == READ
    # ... and the claims about 2019's lines are true of the tools in these images
    tool = "kafka-topics" if boxed.name == "compose:2019" else "/opt/kafka/bin/kafka-topics.sh"
    old = boxed.project.command("exec", "-T", "kafka", tool, "--list", "--zookeeper", "zookeeper:32181")
    assert "zookeeper is not a recognized option" in docker.run_docker(old).stderr


@pytest.mark.docker
@pytest.mark.slow
def test_the_game_is_reachable_from_this_machine(box: ComposeCluster) -> None:
    """The profiles `game` and `jupyter` serve: the game answers here and in the box, JupyterLab wants its token."""
    ports = box.project.environment
    box.project.up(["lab", "game", "jupyter"], 60)
    assert curl(f"http://127.0.0.1:{ports['GAME_PORT']}/") == "\nThis is the default response!\n"
    inside = box.project.tell("exec", "-T", "lab", "curl", "--silent", "http://localhost:5000/purchase_a_sword")
    assert inside == "\nSword Purchased!\n"
    assert sum(topics.end_offsets(box.connection, "game-events").values()) == 2
    notebooks = f"http://127.0.0.1:{ports['JUPYTER_PORT']}/api/contents"
    assert "Forbidden" in curl(notebooks)
    assert '"type"' in curl(f"{notebooks}?token=a-token")


def curl(url: str) -> str:
    command = [needs("curl"), "--silent", "--noproxy", "127.0.0.1", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


@pytest.mark.docker
@pytest.mark.slow
def test_started_attached_and_stopped(engine: None, ports: dict[str, str]) -> None:
    """Who started the containers stops them, who attached does not; the data goes only when asked."""
    name = f"{OWN}-life"
    first = own("compose", ports, name)
    try:
        assert first.ready_seconds is not None
        assert first.connection == {"bootstrap_servers": [f"127.0.0.1:{ports['KAFKA_PORT']}"]}
        assert first.describe().version == "4.3.1"
        topics.create_topic(first.connection, "kept")
        with own("compose", ports, name) as second:
            assert (second.ready_seconds, second.connection) == (None, first.connection)
        assert list(first.project.containers()) == ["kafka"]
        first.close()
        first.close()
        assert first.project.containers() == {}
        with own("compose", ports, name) as third:
            assert topics.topic_names(third.connection) == ["kept"]
            third.close(volumes=True)
    finally:
        first.project.down(volumes=True)
    assert leftovers(name) == ""


@pytest.mark.docker
@pytest.mark.slow
def test_one_of_three_brokers_dies_and_nothing_confirmed_is_lost(engine: None, ports: dict[str, str]) -> None:
    """The leader is killed under confirmed load: each acknowledged value is in the topic once, and the pause ends."""
    with own("compose:trio", ports, f"{OWN}-trio") as trio:
        try:
            topics.create_topic(trio.connection, "load", replication_factor=3)
            leader = topics.describe_topic(trio.connection, "load").partitions[0].leader
            assert leader is not None
            acknowledged, pause = load_with_a_death(trio, leader)
            end = topics.end_offsets(trio.connection, "load")[0]
            read = kcat(trio, "load", end)
            trio.restart(leader)
            whole = wait_for_three(trio)
        finally:
            trio.project.down(volumes=True)
    assert len(acknowledged) > 100
    assert sorted(read) == sorted(set(read))
    assert set(acknowledged) - set(read) == set()
    assert 0 < pause < 20, f"the longest silence was {pause:.1f} s"
    assert whole == (1, 2, 3)


def load_with_a_death(trio: ComposeCluster, leader: int) -> tuple[list[str], float]:
    """A value every 10 ms, the leader killed after 2 s, then on until another one has taken over and a second more.

    Returns what was acknowledged, and the longest silence.
    """
    acknowledged: list[str] = []
    times: list[float] = []

    def report(error: KafkaError | None, message: Message) -> None:
        if error is None:
            acknowledged.append((message.value() or b"").decode())
            times.append(time.monotonic())

    # infinite patience for one record: a delivery that expires may have arrived all the same
    producer = Producer(
        {**librdkafka_settings(trio.connection), "enable.idempotence": True, "message.timeout.ms": 0, "linger.ms": 0}
    )
    began, killed, number = time.monotonic(), 0.0, 0
    while not killed or times[-1] < killed + 1:
        assert time.monotonic() - began < 90
        if time.monotonic() - began > 2 and not killed:
            trio.kill(leader)
            killed = time.monotonic()
        producer.produce("load", str(number).encode(), on_delivery=report)
        producer.poll(0.01)
        number += 1
    assert producer.flush(60) == 0
    assert len(acknowledged) == number
    return acknowledged, max(later - earlier for earlier, later in itertools.pairwise(times))


def kcat(cluster: ComposeCluster, topic: str, count: int) -> list[str]:
    """An independent reader: every value of the topic."""
    servers = ",".join(cluster.connection["bootstrap_servers"])
    command = [needs("kcat"), "-C", "-b", servers, "-t", topic, "-o", "beginning", "-c", str(count), "-q"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()


def wait_for_three(trio: ComposeCluster) -> tuple[int, ...]:
    """The in-sync replicas, once there are three again (or after 30 s)."""
    deadline = time.monotonic() + 30
    while (
        len(found := topics.describe_topic(trio.connection, "load").partitions[0].isr) < 3
        and time.monotonic() < deadline
    ):
        time.sleep(0.2)
    return found


@pytest.mark.docker
@pytest.mark.slow
def test_the_chapters_run_on_containers(box: ComposeCluster, tmp_path: Path) -> None:
    """`report.py -p cluster compose`: the same chapters and ledger, on containers that were running and still do."""
    command = [sys.executable, str(PROJECT / "scripts/report.py"), "01", "02", "03"]
    ran = subprocess.run(
        [*command, "-p", "cluster", "compose", "-p", "requests", "300"],
        env={**box.project.environment, "LAB_COMPOSE_PROJECT": OWN, "LAB_BUILD": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-2000:]
    record = json.loads((tmp_path / "run.json").read_text())
    assert [chapter["status"] for chapter in record["chapters"]] == ["passed"] * 3
    assert (record["cluster"]["version"], record["ledger"]["requests"]) == ("4.3.1", 300)
    assert record["ledger"]["closed"]
    assert {"kafka", "lab"} <= set(box.project.containers())


@pytest.fixture(scope="module")
def scaled(box: ComposeCluster) -> Iterator[ComposeProject]:
    """compose/scale.yml, up: three brokers, a scheduler, two workers, the lab; its image adds Dask to that of `box`."""
    name, file = f"{OWN}-scale", PROJECT / "compose/scale.yml"
    project = ComposeProject(name, file, {**os.environ, **free()})
    try:
        ran(project, "up", "--detach", "--wait", "--build", "--wait-timeout", "120")
        yield project
    finally:
        project.down(volumes=True)
    assert leftovers(name) == ""


def typed_for_scale() -> list[str]:
    """The command for the lab's box that heads the compose file."""
    (line,) = re.findall(r"exec (lab python scripts/report.py .*)", (PROJECT / "compose/scale.yml").read_text())
    return str(line).split()


@pytest.mark.docker
@pytest.mark.slow
def test_chapter_06_runs_on_the_workers_of_the_compose_file(scaled: ComposeProject) -> None:
    """The command of the file's head: two workers read the slices, and no table differs from pandas' in a byte."""
    assert "Passed" in ran(scaled, "exec", "-T", *typed_for_scale())
    record = json.loads(scaled.tell("exec", "-T", "lab", "cat", "build/run.json"))
    assert [one["host"] for one in record["cluster"]["brokers"]] == ["kafka", "kafka-2", "kafka-3"]
    chapter = json.loads(scaled.tell("exec", "-T", "lab", "cat", "build/06-outgrow-one-machine.ipynb"))
    (table,) = (cell["outputs"][0]["data"]["text/plain"] for cell in chapter["cells"] if cell["id"] == TABLES)
    rows = [line.split() for line in "".join(table).splitlines()[2:]]
    assert [(row[0], row[3], *row[-2:]) for row in rows] == [
        ("pandas", "1", "15", "0"),
        ("processes", rows[1][3], "15", "0"),  # as many as the lab's box has cores
        ("dask", "2", "15", "0"),
    ]
    assert len({row[1] for row in rows}) == 1


TABLES = "tables-from-slices"
# Typed into the lab's box: 3,000 records in 60 slices, read by the file's workers, slowly enough to kill one of them.
SLOWLY = """
import os, sys, time
from kafka import KafkaProducer
from streaming_lab.client import topics
from streaming_lab.client.connection import connection_for
from streaming_lab.slices.executors import open_executor
from streaming_lab.slices.plan import plan_slices
from streaming_lab.slices.run import run_slices
brokers = os.environ["LAB_CLUSTER"]
topics.create_topic(connection_for(brokers), "slow", partitions=3, replication_factor=3)
with KafkaProducer(**connection_for(brokers)) as producer:
    for n in range(3000):
        producer.send("slow", b'{"n": %d}' % n, key=b"%d" % n)
def slowly(frame):
    time.sleep(0.1)
    return int(frame.events["n"].sum())
def merged(one, other):
    print("merged", flush=True)
    return one + other
plan = plan_slices(brokers, "slow", offsets=50)
with open_executor("dask", "tcp://scheduler:8786") as executor:
    found = run_slices(brokers, plan.slices, slowly, merged, executor)
print(found.part, found.rows, found.slices == len(plan.slices) >= 60)
"""


@pytest.mark.docker
@pytest.mark.slow
def test_a_workers_container_that_is_killed_in_mid_run_changes_no_number(scaled: ComposeProject) -> None:
    """One of two is killed while both read: the other one reads its slices again, and the sum is that of all rows."""
    command = scaled.command("exec", "-T", "lab", "python", "-c", SLOWLY)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=scaled.environment) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "merged\n"
        one, _ = scaled.tell("ps", "--quiet", "worker").split()
        assert docker.run_docker(["docker", "kill", one]).returncode == 0
        said = run.stdout.read().splitlines()
    assert said.count("merged") > 20  # most of it was done after the kill
    assert said[-1] == f"{sum(range(3000))} 3000 True"


@pytest.mark.parametrize("value", ["tcp://10.96.0.12:9092", "70000", "9092x"])
def test_a_variable_that_holds_no_port_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes sets KAFKA_PORT: refused before docker is asked, with the variable to unset."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match=f"KAFKA_PORT={value} is no port") as raised:
        cluster.attach_compose("compose", ports={"KAFKA_PORT": value})
    assert raised.value.cure.startswith("Unset KAFKA_PORT")


def config(file: str) -> dict[str, Any]:
    """The services of a compose file with all profiles, as docker compose reads it; no engine is needed."""
    if subprocess.run([needs("docker"), "compose", "version"], capture_output=True, timeout=60, check=False).returncode:
        missing("docker compose")  # an engine's command without the plug-in
    command = ["docker", "compose", "--profile", "*", "--file", file, "config", "--format", "json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def test_no_health_check_and_no_curl_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each curl of the file against a server here, with a proxy that nobody serves, as Docker would put it there."""
    services = config(FILES[0])
    tests = [one["healthcheck"]["test"][1:] for one in services.values() if "healthcheck" in one]
    checks = [test for test in tests if test[0] == "curl"]
    assert len(checks) == 2
    with GameServer(game_api.app) as game:
        dead = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        url = game.url.replace("127.0.0.1", "localhost") + "/"
        for check in checks:
            subprocess.run([*check[:-1], url], env={**os.environ, **dead}, check=True, timeout=30, capture_output=True)
        for service in ("lab", "game", "jupyter"):
            set_there = {name: value for name, value in services[service]["environment"].items() if value is not None}
            environment = {**os.environ, **dead, **set_there}
            typed = [needs("curl"), "--silent", "--fail", url]
            subprocess.run(typed, env=environment, check=True, timeout=30, capture_output=True)


@pytest.mark.parametrize("file", FILES)
def test_everything_is_published_on_this_machine_alone(file: str) -> None:
    """As docker compose reads the file, with all that it takes from another one: 127.0.0.1, and nothing of Dask."""
    published = {name: {port["host_ip"] for port in one.get("ports", ())} for name, one in config(file).items()}
    assert set().union(*published.values()) == {"127.0.0.1"}
    assert not published.get("scheduler")
    assert not published.get("worker")


@pytest.mark.parametrize("file", FILES)
def test_no_broker_in_a_container_deletes_by_time(file: str) -> None:
    """Every broker of every file keeps records of any age."""
    brokers = [one for name, one in config(file).items() if name.startswith("kafka")]
    assert {one["environment"]["KAFKA_LOG_RETENTION_MS"] for one in brokers} == {"-1"}


def test_every_verb_has_its_subcommand() -> None:
    """What can be done to a broker can be done to one in a container."""
    assert set(cluster.SUBCOMMANDS) == set(BROKER_VERBS)


@pytest.mark.docker
def test_a_taken_port_is_named(engine: None, ports: dict[str, str]) -> None:
    """The port and its way round are in the error, and nothing is left half-way."""
    name = f"{OWN}-port"
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        with pytest.raises(PortTaken) as raised:
            own("compose", {**ports, "KAFKA_PORT": port}, name)
    assert raised.value.problem.startswith(f"port {port} is taken by ")
    assert "KAFKA_PORT=" in raised.value.cure
    ComposeProject(name, PROJECT / "docker-compose.yml", {**os.environ, **ports}).down(volumes=True)
    assert leftovers(name) == ""


@pytest.mark.docker
@pytest.mark.slow
def test_an_unhealthy_container_shows_the_end_of_its_log(engine: None, tmp_path: Path) -> None:
    """A broker with a broken setting: its own last words are in the error."""
    file = tmp_path / "broken.yml"
    file.write_text((PROJECT / "docker-compose.yml").read_text().replace("1@kafka:29093", "nonsense"))
    project = ComposeProject(f"{OWN}-broken", file, {**os.environ, "KAFKA_PORT": "0", "GAME_PORT": "0"})
    try:
        with pytest.raises(docker.Unhealthy) as raised:
            project.up(["kafka"], 60)
    finally:
        project.down(volumes=True)
    assert re.match(r"container kafka of broken.yml does not serve \(exited\)", raised.value.problem)
    assert "Invalid configuration value for controller.quorum.voters" in raised.value.problem


@pytest.mark.docker
@pytest.mark.slow
def test_containers_of_another_folder_are_not_touched(engine: None, tmp_path: Path, ports: dict[str, str]) -> None:
    """The same project name, made from another file: an error names that file, and its container stays."""
    (tmp_path / "docker-compose.yml").write_text("services: {kafka: {image: apache/kafka:4.3.1, command: sleep 600}}")
    name = f"{OWN}-theirs"
    theirs = ComposeProject(name, tmp_path / "docker-compose.yml")
    try:
        theirs.tell("up", "--detach")
        before = docker.run_docker(["docker", "ps", "--quiet", "--filter", f"name={name}"]).stdout
        with pytest.raises(LabError, match=re.escape(str(tmp_path))):
            own("compose", ports, name)
        assert docker.run_docker(["docker", "ps", "--quiet", "--filter", f"name={name}"]).stdout == before != ""
    finally:
        theirs.down(volumes=True)


def test_no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a docker command the error says so, and names the cluster that needs none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(docker.DockerMissing, match="-p cluster embedded"):
        cluster.attach_compose("compose")


@pytest.mark.docker
def test_no_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: None) -> None:
    """A docker command with nothing behind it."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(docker.DaemonDown, match="Start Docker"):
        cluster.attach_compose("compose")


@pytest.mark.docker
def test_no_compose_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: None) -> None:
    """A real docker that finds no plugin; where one is installed for the whole machine there is nothing to hide."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    if docker.run_docker(["docker", "compose", "version"]).returncode == 0:
        pytest.skip("needs a compose plugin that is not installed for the whole machine")
    with pytest.raises(docker.ComposeMissing, match="docker-compose-plugin"):
        cluster.attach_compose("compose")


@pytest.mark.docker
def test_no_permission(engine: None) -> None:
    """The real engine, asked by a user who is not in its group."""
    if os.geteuid() != 0:
        pytest.skip("needs root, who can become another user")
    nobody = [needs("setpriv"), "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    words = docker.run_docker([*nobody, "docker", "version"]).stderr
    assert isinstance(docker.explain_failure(words), docker.NotAllowed)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("Got permission denied while trying to connect to the Docker daemon socket at unix:///x", docker.NotAllowed),
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", docker.DaemonDown),
        ("error during connect: open //./pipe/docker_engine: The system cannot find the file", docker.DaemonDown),
        ("docker: 'compose' is not a docker command.", docker.ComposeMissing),
        ("docker: unknown command: docker compose", docker.ComposeMissing),
        ("Bind for 127.0.0.1:9092 failed: port is already allocated", PortTaken),
        ("listen tcp4 127.0.0.1:9092: bind: address already in use", PortTaken),
        ("Ports are not available: exposing port TCP 127.0.0.1:9092", PortTaken),
        ("no configuration file provided: not found", type(None)),
    ],
)
def test_dockers_words_are_told_apart(
    words: str, error: type[LabError], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What engines of several years and systems say, sorted by what a person can do about it."""
    monkeypatch.setattr(docker, "_holder", lambda port: "")
    assert isinstance(docker.explain_failure(words), error)


def test_the_assignments_file_is_explained() -> None:
    """Its two images with the version that ended them and what replaces them; its other lines of the past, too."""
    found = {finding.line: finding for finding in explain_compose_file(SEED)}
    assert [(n, f.text) for n, f in found.items()] == [
        (2, "version: '2'"),
        (4, "zookeeper:"),
        (5, "image: confluentinc/cp-zookeeper:latest"),
        (11, "image: confluentinc/cp-kafka:latest"),
        (15, "KAFKA_BROKER_ID: 1"),
        (16, "KAFKA_ZOOKEEPER_CONNECT: zookeeper:32181"),
        (20, "image: midsw205/base:0.1.8"),
        (24, '- "5000:5000"'),
    ]
    assert all("Confluent Platform 8.0" in found[line].since for line in (5, 11))
    assert "cp-zookeeper:7.9.2" in found[5].cure
    assert "apache/kafka:4.3.1" in found[11].cure


@pytest.mark.parametrize("file", FILES)
def test_our_own_files_need_no_explanation(file: str) -> None:
    """The checker has nothing to say about a file of today, nor about 2019 when it is pinned."""
    assert explain_compose_file((PROJECT / file).read_text()) == []


# The assignment's file, as it stands there: without its indentation (and without the lines that no rule looks at).
SEED = """\
---
version: '2'
services:
zookeeper:
image: confluentinc/cp-zookeeper:latest
environment:
ZOOKEEPER_CLIENT_PORT: 32181
ZOOKEEPER_TICK_TIME: 2000

kafka:
image: confluentinc/cp-kafka:latest
depends_on:
- zookeeper
environment:
KAFKA_BROKER_ID: 1
KAFKA_ZOOKEEPER_CONNECT: zookeeper:32181
KAFKA_ADVERTISED_LISTENERS: PLAINTEXT://kafka:29092

mids:
image: midsw205/base:0.1.8
volumes:
- ~/w205:/w205
ports:
- "5000:5000"
"""
