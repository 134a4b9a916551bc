"""A Kafka to talk to: the embedded one in all its ways to start, and other people's."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import link_jars, now
from java import stand_in
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from waiting import within

from streaming_lab.client import preflight, topics
from streaming_lab.client.errors import BrokerUnavailable
from streaming_lab.cluster import ClusterError, Description, attach, cli
from streaming_lab.cluster.embedded import jars, state
from streaming_lab.cluster.embedded.broker import BrokerPorts, server_properties
from streaming_lab.cluster.embedded.jvm import (
    META_FILE,
    SNAPSHOT,
    FormatCache,
    Jvm,
    StartCache,
    new_cluster_id,
)
from streaming_lab.cluster.embedded.start_stop import one_at_a_time, stop_cluster
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT
from streaming_lab.ports import PortTaken, free_ports


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lab home of this test's own, with a short grace time; whatever a test leaves running ends with it."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "lab"))
    monkeypatch.setenv("LAB_GRACE", "0.4")
    yield tmp_path / "lab"
    for name in list(state.instance_names(tmp_path / "lab")):
        stop_cluster(state.state_file(name, tmp_path / "lab"), lambda line: None)


def test_the_lock_names_every_jar_with_its_checksum_and_no_host() -> None:
    """Maven Central's public coordinates only: where they come from is each machine's business."""
    locked = jars.locked()
    assert len(locked) == 45
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in locked)
    assert "http" not in jars.LOCK.read_text()
    assert jars.kafka_version() == {jar.version for jar in locked if jar.artifact == "kafka-clients"}.pop() == "4.4.0"


def test_a_changed_jar_is_noticed_and_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verified jar is not hashed again until its size or time differs; then only a right one is kept."""
    link_jars(tmp_path)
    folder, fetched = tmp_path / "jars", list[str]()
    monkeypatch.setattr(jars, "_fetch", lambda missing, folder: fetched.extend(jar.file_name for jar in missing))
    assert len(jars.class_path(folder)) == 45
    assert round(jars.megabytes(folder)) == jars.MEGABYTES
    bad = folder / "slf4j-api-1.7.36.jar"
    bad.unlink()
    bad.write_bytes(b"something else")
    jars.class_path(folder)
    assert fetched == [bad.name]


def test_without_a_network_there_is_one_error_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing cached and nobody to ask."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(ClusterError, match=r"cannot fetch .+\.jar from Maven") as raised:
        jars.class_path(tmp_path)
    assert "needs the network" in raised.value.cure
    assert list(tmp_path.iterdir()) == []


def test_the_properties_never_name_anything_but_loopback() -> None:
    """The own cluster advertises 127.0.0.1 whatever the host name is, and never says localhost."""
    quorum = (BrokerPorts(1, 1001, 2001), BrokerPorts(2, 1002, 2002), BrokerPorts(3, 1003, 2003))
    found = server_properties(quorum[1], quorum)
    assert found["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1002"
    assert found["controller.quorum.voters"] == "1@127.0.0.1:2001,2@127.0.0.1:2002,3@127.0.0.1:2003"
    assert (found["offsets.topic.replication.factor"], found["transaction.state.log.min.isr"]) == (3, 2)
    assert not re.search(r"localhost|0\.0\.0\.0", str(found))
    assert socket.gethostname() not in str(found)


@pytest.mark.parametrize("grace", ["soon", "-1", "inf", "nan"])
def test_a_grace_that_is_no_time_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, grace: str) -> None:
    """What, which value, what to do next; and nothing was started."""
    monkeypatch.setenv("LAB_GRACE", grace)
    with pytest.raises(LabError, match=f"LAB_GRACE={grace} is no number of seconds"):
        attach("embedded")
    assert not list(home.glob("*.json"))


def test_ids_never_look_like_an_option() -> None:
    """A cluster id with a leading dash made StorageTool print its usage instead."""
    ids = {new_cluster_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert not [one for one in ids if one.startswith("-") or len(one) != 22]


def test_a_start_that_waits_in_vain_names_who_is_starting(tmp_path: Path) -> None:
    """Another process's start keeps ours back for a bounded time, and the error has its name and pid."""
    program = f"""
import sys; from pathlib import Path; from streaming_lab.cluster.embedded.start_stop import one_at_a_time
with one_at_a_time(Path({str(tmp_path)!r}, "home", "cluster.lock"), 5.0): print("held", flush=True); sys.stdin.read()
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ClusterError, match=rf"-c \(pid {other.pid}\) has been starting a cluster for 0 s"):
            one_at_a_time(tmp_path / "home" / "cluster.lock", 0.1)
        other.kill()
        other.wait()
        with one_at_a_time(tmp_path / "home" / "cluster.lock", 5.0):  # the lock ended with its holder
            pass


@pytest.mark.slow
def test_an_embedded_cluster_describes_itself(home: Path) -> None:
    """Version from its log, ids from the broker, and the one connection mapping."""
    with attach("embedded") as cluster:
        found = now(home)
        described = cluster.describe()
        assert isinstance(described, Description)
        assert (described.version, described.cluster_id, described.controller_id) == ("4.4.0", found.cluster_id, 1)
        assert [(b.id, b.host, b.port, b.role) for b in described.brokers] == [
            (1, "127.0.0.1", found.brokers[0].port, "broker,controller")
        ]
        assert cluster.connection == {"bootstrap_servers": [f"127.0.0.1:{found.brokers[0].port}"]}
        assert cluster.ready_seconds == found.ready_seconds
        assert json.loads(json.dumps(described.to_json()))["brokers"][0]["host"] == "127.0.0.1"


@pytest.mark.slow
def test_faults_keep_the_ports_and_the_records(home: Path) -> None:
    """Killed and restarted, frozen and resumed: the same address and the same topic."""
    with attach("embedded") as cluster:
        topics.create_topic(cluster.connection, "kept")
        _send(cluster.connection, b"before")
        cluster.kill()
        assert now(home).brokers[0].status == "killed"
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", now(home).brokers[0].port), timeout=1).close()
        cluster.restart()
        _send(cluster.connection, b"after the kill")
        cluster.pause()
        assert now(home).brokers[0].status == "paused"
        with pytest.raises((KafkaTimeoutError, ClusterError)):
            _send(cluster.connection, b"never", patience=1.0)
        cluster.resume()
        _send(cluster.connection, b"after the frost")
        assert topics.end_offsets(cluster.connection, "kept", timeout=15.0)[0] >= 3
        with pytest.raises(ClusterError, match="no broker 2"):
            cluster.kill(2)


def _send(connection: object, value: bytes, patience: float = 30.0) -> None:
    producer = KafkaProducer(**connection, max_block_ms=int(patience * 1000))  # type: ignore[arg-type]
    try:
        producer.send("kept", value).get(patience)
    finally:
        try:
            producer.close(timeout=5)
        except KafkaTimeoutError:
            producer.close(timeout=0)


@pytest.mark.slow
def test_three_brokers_replicate_and_survive_a_killed_one(home: Path) -> None:
    """A cluster apart, with its own state file; a topic on all three can be written with one broker gone."""
    with attach("embedded:trio") as cluster:
        assert [p.name for p in home.glob("cluster*.json")] == ["cluster-3-brokers.json"]
        assert sorted(b.id for b in cluster.describe().brokers) == [1, 2, 3]
        assert (cluster.name, cluster.copies) == ("embedded:trio", 3)
        topics.create_topic(cluster.connection, "kept", replication_factor=cluster.copies)
        cluster.kill(topics.describe_topic(cluster.connection, "kept").partitions[0].leader)
        _send(cluster.connection, b"still here")


@pytest.mark.slow
def test_too_little_memory_is_said_within_seconds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heap that is too small, and one that the machine cannot give: no wait for a port, and the word memory."""
    for heap in ("12m", "900000g"):
        monkeypatch.setenv("LAB_KAFKA_HEAP", heap)
        with pytest.raises(ClusterError, match="out of memory") as raised:
            attach("embedded")
        assert "350 MB" in raised.value.cure
        assert not list(home.glob("cluster*.json"))


@pytest.mark.slow
def test_a_start_that_fails_shows_the_end_of_kafkas_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heap that no JVM takes stands for whatever keeps Kafka from starting."""
    monkeypatch.setenv("LAB_KAFKA_HEAP", "1k")
    with pytest.raises(ClusterError, match=r"Too small maximum heap") as raised:
        attach("embedded")
    assert Path(raised.value.cure.removeprefix("The whole log is ").rstrip(".")).exists()


def test_a_taken_port_is_named_with_its_holder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`start --port` on somebody's port; free ports are taken where none is asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} is taken by .+ \(pid {os.getpid()}\)"):
            cli.main(["start", "--port", str(port)])


@pytest.mark.slow
def test_the_command_line_starts_shows_and_stops(
    home: Path, java: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hold lasts until stop, though the command that made it has ended; status names all that one may want."""
    stand_in(java, monkeypatch)
    assert cli.main(["status"]) == 1
    [port] = free_ports(1)
    command = [sys.executable, "-c", f"from streaming_lab.cluster.cli import main; main(['start', '--port', '{port}'])"]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    time.sleep(1.0)  # more than the grace time
    found = now(home)
    assert cli.main(["start"]) == 0
    capsys.readouterr()
    assert cli.main(["status"]) == 0
    shown = capsys.readouterr().out
    for fact in ("Kafka 4.4.0", found.cluster_id, f"127.0.0.1:{port}", " MB", "until stop"):
        assert fact in shown
    assert re.search(r"running for 0:\d\d:\d\d", shown)
    assert cli.main(["stop"]) == 0
    assert "stopped cleanly" in capsys.readouterr().out
    assert not list(home.glob("cluster*.json"))
    assert cli.main(["stop"]) == 0


@pytest.mark.slow
def test_the_start_up_cache_is_trained_once_and_a_cut_one_is_not_used(
    home: Path, java: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two clusters that start without a cache one trains it; a good one is used, a cut one is not."""
    stand_in(java, monkeypatch)
    link_jars(tmp_path / "cache")
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    with attach("embedded") as cluster:
        assert now(home).training
        with attach("embedded", instance="second") as second:  # one of the two is enough
            second.close(wait=True, say=said.append)  # type: ignore[call-arg]
        assert said == []
        cluster.close(wait=True, say=said.append)  # type: ignore[call-arg]
    assert said == ["training Kafka's start-up cache (once, some seconds)"]
    [cache] = [StartCache(file) for file in (tmp_path / "cache" / "start").glob("*.aot")]
    for usable in (True, False):
        with attach("embedded") as cluster:
            assert (cache.usable(), now(home).training) == (usable, not usable)
            cluster.kill()
            cluster.close(wait=True)
        cache.file.write_bytes(b"train")  # cut off


def test_a_cache_that_changed_or_is_half_there_is_not_used(tmp_path: Path) -> None:
    """Only the file that the training left, with the stamp it left."""
    cache = StartCache(tmp_path / "lesson-1.aot")
    assert not cache.usable()
    assert not cache.accept(cache.temporary())
    cache.temporary().write_bytes(b"trained")
    assert cache.accept(cache.temporary())
    assert cache.usable()
    kept = cache.file.stat()
    for content in (b"trained!", b"Trained"):  # the second one has size and time of the first
        cache.file.write_bytes(content)
        os.utime(cache.file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
        assert not cache.usable()
    cache.discard()
    assert list(tmp_path.iterdir()) == []


def test_the_cache_key_follows_jdk_jars_order_and_flags() -> None:
    """Whatever would make the JVM refuse a cache makes another name."""
    jvm = Jvm("/java", ("a.jar", "b.jar"), "lesson")
    others = [
        Jvm("/java2", ("a.jar", "b.jar"), "lesson"),
        Jvm("/java", ("b.jar", "a.jar"), "lesson"),
        Jvm("/java", ("a.jar", "b.jar"), "throughput"),
        Jvm("/java", ("a.jar", "b.jar"), "lesson", heap="99m"),
    ]
    assert len({jvm.key(), *(other.key() for other in others)}) == 5
    assert Jvm("/java", ("a.jar", "b.jar"), "lesson").key() == jvm.key()


def test_a_template_formats_as_the_tool_does(tmp_path: Path) -> None:
    """It learns from a folder with exactly the two files, and gives a folder with them, with new ids."""
    template = FormatCache.of(("kafka.jar",), tmp_path)
    tool = tmp_path / "tool"
    (tool / SNAPSHOT).parent.mkdir(parents=True)
    (tool / SNAPSHOT).write_bytes(b"levels")
    template.keep(tool)
    assert not template.apply(tmp_path / "none", "id", 2)
    (tool / META_FILE).write_text("version=1\n")
    template.keep(tool)
    assert template.apply(tmp_path / "data", "id", 2)
    assert (tmp_path / "data" / SNAPSHOT).read_bytes() == b"levels"
    lines = (tmp_path / "data" / META_FILE).read_text().splitlines()
    assert [lines[0], lines[2], lines[3]] == ["cluster.id=id", "node.id=2", "version=1"]
    assert re.fullmatch(r"directory\.id=[\w-]{22}", lines[1])
    template.file.write_bytes(b"others")
    assert not template.apply(tmp_path / "changed", "id", 2)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("127.0.0.1:9", "127.0.0.1:9: Connection refused"),
        ("nosuch.invalid:9092", "nosuch.invalid: the name does not resolve"),
        ("cluster", "there is no cluster 'cluster'"),
        ("compose:quartet", "there is no cluster 'compose:quartet'"),
        ("localhost:99999", "'localhost:99999'"),
    ],
)
def test_what_cannot_be_reached_is_named(name: str, problem: str) -> None:
    """One line, at once."""
    with within(5), pytest.raises(LabError, match=re.escape(problem)):
        attach(name)


def test_a_silent_address_is_given_up_in_time() -> None:
    """It accepts and says nothing, or is no Kafka: both are said within 10 s."""
    with (
        _server(b"") as silent,
        _server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as web,
        within(10),
        pytest.raises(ClusterError, match=rf"{silent}: no answer in .*{web}: .*no Kafka broker"),
    ):
        attach(f"127.0.0.1:{silent},127.0.0.1:{web}")


def test_of_a_names_addresses_the_one_with_kafka_is_taken(
    kafka: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """localhost is ::1 first, where something else listens at the same port."""
    port = int(kafka["bootstrap_servers"][0].rpartition(":")[2])
    with _server(b"HTTP/1.1 400 Bad Request\r\n\r\n", ("::1", port)):
        monkeypatch.setattr(
            preflight, "resolve_host", lambda host, port, failures: [("::1", port), ("127.0.0.1", port)]
        )
        with attach(f"localhost:{port}") as cluster:
            assert (cluster.kind, cluster.connection) == ("external", {"bootstrap_servers": [f"127.0.0.1:{port}"]})
            assert [b.port for b in cluster.describe().brokers] == [port]
            with pytest.raises(ClusterError, match="the lab does not own that cluster"):
                cluster.kill()


def test_a_broker_that_advertises_an_unknown_name_is_explained() -> None:
    """Connected to X, told to go to Y, Y does not resolve; or Y is there and nothing listens."""
    with pytest.raises(BrokerUnavailable, match=r"connected to 127.0.0.1:1, .*kafka.invalid:29092.*does not resolve"):
        preflight.check_advertised(preflight.ReachedBroker("127.0.0.1:1", (("kafka.invalid", 29092),)), {})
    with pytest.raises(BrokerUnavailable, match=r"clients to 127.0.0.1:9, and nothing accepts"):
        preflight.check_advertised(preflight.ReachedBroker("127.0.0.1:1", (("127.0.0.1", 9),)), {})


class _server:
    """Something that listens and answers everyone with the same bytes; nothing at all for b""."""

    def __init__(self, answer: bytes, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.answer, self.socket = answer, socket.create_server(address, family=family)
        self.calls: list[socket.socket] = []
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self.thread.start()
        return int(self.socket.getsockname()[1])

    def __exit__(self, *failure: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()
        for call in self.calls:
            call.close()

    def _serve(self) -> None:
        while True:
            try:
                call, _ = self.socket.accept()
            except OSError:
                return
            self.calls.append(call)
            if self.answer:
                call.sendall(self.answer)
