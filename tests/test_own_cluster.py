"""A client properties file as `-p cluster`: what it may say, what is refused, and that no secret is repeated."""

import os
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lying import LyingBroker
from topics_of import new_topic, write

from streaming_lab.client import topics
from streaming_lab.client.client_properties import connection_from_file, connection_named, parse_properties
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import BrokerUnavailable
from streaming_lab.cluster import ClusterError, attach, check_cluster_name
from streaming_lab.delivery.ways import DELIVERING, log_class, open_log
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT
from streaming_lab.reader import read_batches, read_text, read_topic

WORD = "open-sesame-1815"
EXPECTED = {
    "bootstrap_servers": ["kafka.example.org:9093"],
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-256",
    "sasl_plain_username": "ada",
    "sasl_plain_password": WORD,
}
KAFKA = f"""# Kafka's own names
bootstrap.servers = kafka.example.org:9093
security.protocol: sasl_ssl
sasl.mechanism=SCRAM-SHA-256
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\
    username="ada" password="{WORD}";
ssl.truststore.type=PEM
ssl.truststore.location=ca.pem
acks=all
"""
LIBRDKAFKA = f"""bootstrap.servers=kafka.example.org:9093
security.protocol=SASL_SSL
sasl.mechanisms=SCRAM-SHA-256
sasl.username=ada
sasl.password={WORD}
ssl.ca.location=ca.pem
"""
KAFKA_PYTHON = """bootstrap_servers=kafka.example.org:9093
security_protocol=SASL_SSL
sasl_mechanism=SCRAM-SHA-256
sasl_plain_username=${KAFKA_USER}
sasl_plain_password=${env:KAFKA_WORD}
ssl_cafile=ca.pem
"""


def file_of(folder: Path, text: str) -> str:
    (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (folder / "client.properties").write_text(text)
    return str(folder / "client.properties")


@pytest.mark.parametrize("text", [KAFKA, LIBRDKAFKA, KAFKA_PYTHON])
def test_three_ways_to_write_one_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Kafka's names, librdkafka's and kafka-python's mean the same; the password's repr hides it."""
    monkeypatch.setenv("KAFKA_USER", "ada")
    monkeypatch.setenv("KAFKA_WORD", WORD)
    found = connection_named(file_of(tmp_path, text))
    assert found == {**EXPECTED, "ssl_cafile": str(tmp_path / "ca.pem")}
    assert WORD not in repr(found)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("bootstrap.servers", "bootstrap.server"), "bootstrap.servers is missing"),
        (("sasl_ssl", "SSL_SASL"), "security.protocol=SSL_SASL is unknown"),
        (("sasl.mechanism=SCRAM-SHA-256", ""), "needs sasl.mechanism"),
        (("ssl.truststore.location", "ssl.truststore.path"), "ssl.truststore.path is not known here"),
        (("ca.pem", "gone.pem"), "there is no file"),
        ((WORD, "${NO_SUCH_VARIABLE}"), "wants the variable NO_SUCH_VARIABLE, which is not set"),
        (("ScramLoginModule", "Krb5LoginModule"), "names Krb5LoginModule"),
        (('username="ada"', ""), "has no username and password"),
        (("kafka.example.org:9093", "kafka.example.org"), "is not host:port"),
        (("=SCRAM-SHA-256", "=GSSAPI"), "sasl.mechanism=GSSAPI is not taken from a file"),
        (("sasl.jaas.config", "x.jaas.config"), "needs a user and a password"),
        (("ssl.truststore.location=ca.pem", "ssl.ca.pem=-----BEGIN CERTIFICATE-----"), "read from files here"),
        (("ssl.truststore.type=PEM", "ssl.keystore.key=-----BEGIN PRIVATE KEY-----"), "read from files here"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is(tmp_path: Path, change: tuple[str, str], problem: str) -> None:
    """One line with the file, the name and what to write instead."""
    with pytest.raises(LabError, match=re.escape(problem)) as caught:
        check_cluster_name(file_of(tmp_path, KAFKA.replace(*change)))
    assert (WORD in str(caught.value), bool(caught.value.cure)) == (False, True)


@pytest.mark.parametrize(
    ("name", "magic", "command"),
    [
        ("trust.jks", b"\xfe\xed\xfe\xed\0\0", "keytool -importkeystore -srckeystore"),
        ("trust.p12", b"\x30\x82\x01\x02\0\0", "openssl pkcs12 -in"),
    ],
)
def test_a_key_store_is_refused_with_the_command_that_makes_pem(
    tmp_path: Path, name: str, magic: bytes, command: str
) -> None:
    """Only Java reads JKS; PKCS12 is one openssl away."""
    (tmp_path / name).write_bytes(magic)
    with pytest.raises(LabError, match="Java key store") as caught:
        connection_from_file(file_of(tmp_path, KAFKA.replace("ca.pem", name)))
    assert command in caught.value.cure


@pytest.mark.parametrize(
    "name",
    [
        f"sasl.jaas.config=PlainLoginModule required username=ada password={WORD};",
        f"ada:{WORD}@kafka.example.org:9093",
        f"bootstrap.servers=h:1;sasl.password={WORD}",
    ],
)
def test_a_secret_in_the_name_itself_is_refused_and_not_written(tmp_path: Path, name: str) -> None:
    """The report says so with exit code 2, repeats nothing, and leaves no file that holds the word."""
    program = (
        "from streaming_lab.cli import run; from streaming_lab.report.cli import main; raise SystemExit(run(main))"
    )
    command = [sys.executable, "-c", program, "01", "-p", "cluster", name]
    environment = {**os.environ, "LAB_BUILD": str(tmp_path / "build")}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=PROJECT, timeout=60)
    assert ran.returncode == 2
    assert "holds settings or a login" in ran.stderr
    assert WORD not in ran.stdout + ran.stderr
    assert [file for file in tmp_path.rglob("*") if file.is_file() and WORD.encode() in file.read_bytes()] == []


def test_java_properties_are_read_as_java_reads_them() -> None:
    r"""Comments, three separators, continued lines, \uXXXX, escaped separators, and a section of kcat's."""
    text = '! c\n a = 1\nb:2\nc 3\nd=x\\\n   y\ne=\\u00e9\\t\nf\\ g=h\n[default]\n"e"\n'
    pairs = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "xy"), ("e", "é\t"), ("f g", "h"), ('"e"', "")]
    assert parse_properties(text) == pairs


def test_a_plain_file_leads_to_a_real_broker(kafka: Connection, tmp_path: Path) -> None:
    """`attach` takes the file like a name, and another process is told the file."""
    name = file_of(tmp_path, f"bootstrap.servers={kafka['bootstrap_servers'][0]}\n")
    with attach(name) as cluster:
        assert (cluster.kind, cluster.locator) == ("external", name)
        assert len(cluster.describe().brokers) == 1


class Misleading(LyingBroker):
    """A proxy that sends its clients to another port of this machine, as `advertised.listeners` may."""

    def __init__(self, real: int, elsewhere: int) -> None:
        super().__init__(real, 0, 0.0)
        self._elsewhere = elsewhere

    def _told(self, data: bytes) -> bytes | None:
        return data.replace(struct.pack(">i", self._real), struct.pack(">i", self._elsewhere))


def test_an_address_that_leads_nowhere_is_named_everywhere(kafka: Connection, tmp_path: Path) -> None:
    """Readers, topics, every way to deliver and `attach` say where the broker sends its clients, within 10 s."""
    topic = new_topic(kafka)
    write(kafka, topic, {0: [(None, b"{}")]})
    real = int(kafka["bootstrap_servers"][0].rpartition(":")[2])
    with socket.socket() as held:  # bound, so that nobody else takes the port, and not listening
        held.bind(("127.0.0.1", 0))
        misled(real, held.getsockname()[1], topic, tmp_path)


def misled(real: int, closed: int, topic: str, tmp_path: Path) -> None:
    with Misleading(real, closed) as broker:
        connection = {"bootstrap_servers": [f"127.0.0.1:{broker.port}"]}
        calls = {
            "read_topic": lambda: read_topic(connection, topic),
            "read_text": lambda: read_text(connection, topic),
            "read_batches": lambda: list(read_batches(connection, topic)),
            "end_offsets": lambda: topics.end_offsets(connection, topic),
            "create_topic": lambda: topics.create_topic(connection, f"{topic}-new"),
            "attach": lambda: attach(f"127.0.0.1:{broker.port}"),
            **{way: lambda way=way: connect(way, connection, topic, tmp_path) for way in DELIVERING if way != "outbox"},
        }
        for name, call in calls.items():
            started = time.monotonic()
            with pytest.raises((BrokerUnavailable, ClusterError)) as caught:
                call()
            said = f"connected to 127.0.0.1:{broker.port}, which sends its clients to 127.0.0.1:{closed}"
            assert (name, said in caught.value.problem) == (name, True), caught.value.problem
            assert time.monotonic() - started < 10


def connect(way: str, connection: Connection, topic: str, folder: Path) -> None:
    log = open_log(way, connection, topic, **log_class(way).settings_in(folder))
    try:
        log.connect()
    finally:
        log.close(timeout=0)
