"""TLS and SASL on a real broker: the same rows as over plain text, and a refusal that says what is wrong."""

import gc
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kafka.net.sasl import SASL_MECHANISMS
from peers import needs
from secure import KEY_PASSWORD, PASSWORD, Doors, Tokens, secured
from topics_of import new_topic, producer, write
from waiting import eventually, no_new_thread, within

from streaming_lab.client import topics
from streaming_lab.client.connection import FRAME_LOGGERS, Connection, kafka_python_settings, librdkafka_settings
from streaming_lab.client.errors import AccessDenied, UnknownTopic
from streaming_lab.delivery.event_log import EventLog
from streaming_lab.delivery.outcome import Counts
from streaming_lab.delivery.producer import IdempotentProducer
from streaming_lab.delivery.ways import DELIVERING, log_class, open_log
from streaming_lab.errors import LabError
from streaming_lab.reader import read_batches, read_text, read_topic
from streaming_lab.reader.fetch.request import ReadRequest

WRONG = "not-the-password"
WAYS_IN = [
    ("SASL_SSL", "PLAIN"),
    ("SASL_SSL", "SCRAM-SHA-256"),
    ("SASL_SSL", "OAUTHBEARER"),
    ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
    ("SSL", ""),
]


# kafka-python 3.0 forgets a TLS connection that it was still opening when its client was closed.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test's clients forgot is collected at its end, not in the middle of another test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A broker of this module's own, with a port for each security protocol."""
    needs("openssl")
    with secured(tmp_path_factory.mktemp("secured")) as found:
        yield found


@pytest.fixture(scope="module")
def topic(doors: Doors) -> str:
    """Rows, a reject, tombstones, a committed, an aborted and an open transaction, on two partitions."""
    connection = doors.connection()
    name = new_topic(connection, 2)
    rows = [(b"k%d" % i, b'{"n": %d, "s": "\xc3\xa9"}' % i) for i in range(500)]
    write(connection, name, {0: [*rows, (b"k", None), (None, b"{"), (b"\xff", b'{"n": 0.5}')], 1: rows})
    for end in ("commit_transaction", "abort_transaction", ""):
        out = producer(connection, transactional_id=f"{name}-{end}", transaction_timeout_ms=600_000)
        out.init_transactions(20)
        out.begin_transaction()
        write(connection, name, {1: [(None, b'{"n": -1, "end": "%s"}' % end.encode())] * 3}, out)
        if end:
            getattr(out, end)(20)
    return name


@pytest.mark.parametrize("isolation", ["read_uncommitted", "read_committed"])
@pytest.mark.parametrize(("protocol", "mechanism"), WAYS_IN)
def test_the_same_frame_as_over_plain_text(
    doors: Doors, topic: str, protocol: str, mechanism: str, isolation: str
) -> None:
    """Everything that is read, and the result says that it came through KafkaConsumer."""
    found = read_topic(doors.connection(protocol, mechanism), topic, isolation=isolation)
    assert found.decoder == f"consumer: the connection is {protocol}"
    same(found, read_topic(doors.connection(), topic, isolation=isolation))
    assert len(found.events) == {"read_uncommitted": 1010, "read_committed": 1004}[isolation]


@pytest.mark.parametrize(
    "wanted", [{"ranges": {0: (490, 502), 1: (3, 5)}}, {"columns": ["offset", "n"]}, {"limit": 505}, {"start": 499}]
)
def test_parts_of_a_topic(doors: Doors, topic: str, wanted: dict[str, Any]) -> None:
    """Ranges, columns and a limit mean the same."""
    same(read_topic(doors.connection("SASL_SSL"), topic, **wanted), read_topic(doors.connection(), topic, **wanted))


def test_batches_and_text(doors: Doors, topic: str) -> None:
    """The other two readers, too."""
    plain, safe = doors.connection(), doors.connection("SASL_SSL")
    assert read_text(safe, topic) == read_text(plain, topic)
    frames = [pd.concat(table.to_pandas() for table in batches(each, topic)) for each in (plain, safe)]
    in_order = [frame.sort_values(["partition", "offset"], ignore_index=True) for frame in frames]
    pd.testing.assert_frame_equal(*in_order)


def test_topics_are_made_and_described(doors: Doors, topic: str) -> None:
    """The admin's questions have the same answers."""
    plain, safe = doors.connection(), doors.connection("SASL_SSL", "SCRAM-SHA-256")
    assert topics.create_topic(safe, f"{topic}-more", partitions=3)
    assert topics.describe_topic(safe, topic) == topics.describe_topic(plain, topic)
    assert topics.end_offsets(safe, f"{topic}-more") == {0: 0, 1: 0, 2: 0}
    with pytest.raises(UnknownTopic, match=f"did you mean '{topic}'"):
        read_topic(safe, f"{topic}s")


@pytest.mark.parametrize("way", DELIVERING)
@pytest.mark.parametrize(
    ("protocol", "mechanism"), [("SASL_SSL", "SCRAM-SHA-256"), ("SASL_SSL", "OAUTHBEARER"), ("SSL", "")]
)
def test_every_way_to_deliver(doors: Doors, way: str, protocol: str, mechanism: str, tmp_path: Path) -> None:
    """Both client libraries get in with the one mapping, and each event is in the topic once."""
    topic = new_topic(doors.connection())
    with opened(way, doors.connection(protocol, mechanism), topic, tmp_path) as log:
        for number in range(20):
            log.append("ada", json.dumps({"n": number}).encode(), f"e{number}")
        assert log.close() == 0
    assert log.counts == Counts(accepted=20, acknowledged=20, relayed=20 if way == "outbox" else 0)
    assert read_topic(doors.connection(), topic).events["n"].tolist() == list(range(20))


def test_a_session_outlives_its_tokens(doors: Doors, tmp_path: Path) -> None:
    """The broker hangs up on who does not bring a new one in time; nobody's event is lost by that."""
    tokens = Tokens(8.0)  # enough for a busy machine to use one before it is too old
    connection = doors.connection("SASL_SSL", "OAUTHBEARER", sasl_oauth_token_provider=tokens)
    topic = new_topic(doors.connection())
    with ExitStack() as stack:
        logs = [stack.enter_context(opened(way, connection, topic, tmp_path)) for way in DELIVERING]
        for seconds in (tokens.seconds, 0.0):
            for log in logs:
                log.append("ada", b"{}", "e")
            tokens.seconds = 60.0
            time.sleep(seconds + 1.0 if seconds else 0.0)
    assert [log.counts.acknowledged for log in logs] == [2] * len(logs)
    assert len(read_topic(connection, topic).events) == 2 * len(logs)


@pytest.mark.parametrize("way", ["fire-and-forget", "confirmed"])
def test_a_list_of_revoked_certificates(doors: Doors, way: str) -> None:
    """Both clients read it; a broker that is not on it is let be."""
    connection = doors.connection("SASL_SSL", ssl_crlfile=str(doors.certificates / "none.crl"))
    topic = new_topic(connection)
    with open_log(way, connection, topic) as log:
        log.append("ada", b"{}", "e1")
    assert len(read_topic(connection, topic).events) == 1


def test_librdkafka_does_not_talk_to_a_revoked_broker(doors: Doors, topic: str) -> None:
    """It has a list of its own to read."""
    for name, lets_in in {"none.crl": True, "revoked.crl": False}.items():
        connection = doors.connection("SASL_SSL", ssl_crlfile=str(doors.certificates / name))
        with closing(IdempotentProducer(connection, linger=0, events=9, memory=9999)) as engine:
            assert engine.answers(topic, 5) is lets_in


REFUSALS = {
    "password": ("SASL_SSL", {"sasl_plain_password": WRONG}, "user 'ada', PLAIN: Authentication failed: Invalid user"),
    "scram": ("SASL_PLAINTEXT", {"sasl_plain_password": WRONG}, "user 'ada', SCRAM-SHA-256: Authentication failed"),
    "no user": ("SASL_SSL", {"sasl_plain_username": None}, "PLAIN needs a user and a password"),
    "mechanism": ("SASL_SSL", {"sasl_mechanism": "SCRAM-SHA-512"}, "'SCRAM-SHA-512' is not possible, it offers PLAIN"),
    "authority": ("SASL_SSL", {"ssl_cafile": "stranger.pem"}, "its certificate is not trusted (unable to get"),
    "name": ("SASL_SSL", {"host": "localhost"}, "its certificate is not trusted (Hostname mismatch"),
    "revoked": ("SASL_SSL", {"ssl_crlfile": "revoked.crl"}, "its certificate is not trusted (certificate revoked)"),
    "list of another": (
        "SASL_SSL",
        {"ssl_crlfile": "client.pem"},
        "its certificate is not trusted (unable to get cert",
    ),
    "no list": ("SASL_SSL", {"ssl_crlfile": "client.key"}, "client.key: ["),
    "no file": ("SASL_SSL", {"ssl_cafile": "none.pem"}, "none.pem: [Errno 2] No such file"),
    "client": ("SSL", {"ssl_certfile": None, "ssl_keyfile": None}, "CERTIFICATE_REQUIRED"),
    "key": ("SSL", {"ssl_password": WRONG}, "TLS can't be spoken with ssl_cafile="),
    "plain text to TLS": ("PLAINTEXT", {"port": "SSL"}, "speaks TLS, as a broker does that does not want"),
    "plain text to SASL": ("PLAINTEXT", {"port": "SASL_PLAINTEXT"}, "does not want security_protocol=PLAINTEXT"),
    "TLS to plain text": ("SSL", {"port": "PLAINTEXT"}, "does not want security_protocol=SSL"),
    "SASL to plain text": ("SASL_PLAINTEXT", {"port": "PLAINTEXT"}, "it offers no SASL at all"),
}


class Sealed(Tokens):
    def token(self) -> str:
        raise PermissionError("the vault is sealed")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sasl_oauth_token_provider": None}, "sasl_oauth_token_provider required for OAUTHBEARER"),
        ({"sasl_oauth_token_provider": Sealed()}, "OAUTHBEARER failed on this side: the vault is sealed"),
        ({"sasl_oauth_token_provider": Tokens(-60)}, 'OAUTHBEARER: {"status":"invalid_token"}'),
    ],
    ids=["none", "fails", "expired"],
)
def test_a_refused_token(doors: Doors, topic: str, changes: dict[str, Any], reason: str) -> None:
    """The library's and the provider's own troubles are one error, too."""
    connection = doors.connection("SASL_SSL", "OAUTHBEARER", **changes)
    assert reason in within_five_seconds(read_topic, connection, topic).problem


def test_a_mechanism_without_its_library(doors: Doors, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As GSSAPI mostly is."""
    monkeypatch.setitem(SASL_MECHANISMS, "PLAIN", SASL_MECHANISMS["GSSAPI"])  # that the broker takes the name
    monkeypatch.setitem(sys.modules, "gssapi", None)
    reason = within_five_seconds(read_topic, doors.connection("SASL_SSL"), topic).problem
    assert "PLAIN failed on this side: GSSAPI lib not found!" in reason


@pytest.mark.filterwarnings("error:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal(doors: Doors, topic: str, case: str, caplog: pytest.LogCaptureFixture) -> None:
    """One error within five seconds, with what to do next; the password is in no error, log line or repr."""
    caplog.set_level(logging.DEBUG)
    protocol, changes, reason = REFUSALS[case]
    connection = refused(doors, protocol, changes, "SCRAM-SHA-256" if case == "scram" else "PLAIN")
    with no_new_thread():
        for ask in (read_topic, topics.describe_topic):
            error = within_five_seconds(ask, connection, topic)
            assert reason in error.problem
            assert any(word in error.cure for word in ("ssl_", "sasl_", "PLAINTEXT", "bootstrap.servers"))
            assert_silent(caplog.text, str(error), repr(error), repr(error.__cause__))
        gc.collect()  # a socket that was left open would say so now


@pytest.mark.parametrize("way", ["fire-and-forget", "buffered", "confirmed"])
def test_a_log_that_is_refused(doors: Doors, topic: str, way: str) -> None:
    """Connecting says why, and leaves nothing behind."""
    connection = doors.connection("SASL_SSL", sasl_plain_password=WRONG)
    with open_log(way, connection, topic) as log, pytest.raises(AccessDenied, match="Invalid username or password"):
        log.connect()


UNUSABLE = ("no user", "no file", "key")


@pytest.mark.parametrize("case", ["password", "client", "plain text to TLS"])
def test_an_outbox_that_is_refused(
    doors: Doors, case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no broker, so it takes the event; why nobody gets it is said once, and nothing is lost."""
    monkeypatch.setattr("streaming_lab.delivery.relay.WARN_AFTER", 0.2)
    topic, file = new_topic(doors.connection()), tmp_path / "outbox.sqlite"
    protocol, changes, reason = REFUSALS[case]
    connection = refused(doors, protocol, changes, "SCRAM-SHA-256" if case == "scram" else "PLAIN")
    with open_log("outbox", connection, topic, path=file) as log:
        log.append("ada", b"{}", "e1")
        assert eventually(lambda: reason in caplog.text, 10)
        assert log.close(0.5) == 1
    assert [record.name for record in caplog.records if reason in record.message] == ["streaming_lab.delivery.relay"]
    assert_silent(caplog.text)
    with open_log("outbox", doors.connection("SASL_SSL"), topic, path=file) as log:
        log.connect()
        assert log.close() == 0
    assert topics.end_offsets(doors.connection(), topic) == {0: 1}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_outbox_that_cannot_even_try(doors: Doors, case: str, tmp_path: Path) -> None:
    """What no client could use is an error at once, each time, and lets go of the file."""
    protocol, changes, _ = REFUSALS[case]
    connection, file = refused(doors, protocol, changes, "PLAIN"), tmp_path / "outbox.sqlite"
    with open_log("outbox", connection, "events", path=file) as log:
        for _ in range(2):
            with pytest.raises(LabError, match="no producer can be made for this connection") as caught:
                log.connect()
            assert_silent(str(caught.value))
    with open_log("outbox", doors.connection("SASL_SSL"), "events", path=file) as log:
        log.connect()


@pytest.fixture
def unfiltered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps secrets out of the log has not been put up by another test."""
    for name in FRAME_LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "filters", [])


def test_passwords_are_not_shown(doors: Doors, topic: str, unfiltered: None, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when everything is logged and all goes well."""
    caplog.set_level(logging.DEBUG)
    connection = doors.connection("SSL") | doors.connection("SASL_SSL")
    read_topic(connection, topic)
    assert "Starting KafkaAdminClient with configuration" in caplog.text
    assert_silent(caplog.text, repr(ReadRequest(connection, topic)), repr(kafka_python_settings(connection)))
    assert {**kafka_python_settings(connection), "ssl_context": None} == {**connection, "ssl_context": None}
    assert librdkafka_settings(connection)["sasl.password"] == PASSWORD


def test_tokens_are_not_shown(doors: Doors, topic: str, unfiltered: None, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has one is let in."""
    caplog.set_level(logging.DEBUG)
    connection = doors.connection("SASL_SSL", "OAUTHBEARER")
    read_topic(connection, topic)
    begin = Tokens().token().split(".")[0]  # what all of them begin with
    assert "OAUTHBEARER" in caplog.text
    assert begin not in caplog.text + repr(kafka_python_settings(connection))


def opened(way: str, connection: Connection, topic: str, folder: Path) -> EventLog:
    """The log of that way; an outbox has its file in the folder."""
    return open_log(way, connection, topic, **log_class(way).settings_in(folder))


def same(found: Any, expected: Any) -> None:
    """Two results that differ in nothing but the way that they came."""
    for name in ("events", "rejects", "tombstones"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name))
    assert (found.ranges, found.mixed) == (expected.ranges, expected.mixed)


def batches(connection: Connection, topic: str) -> list[Any]:
    """All tables; rejects are skipped."""
    return list(read_batches(connection, topic, columns=["partition", "offset", "n"], on_rejected=lambda *_: None))


def refused(doors: Doors, protocol: str, changes: dict[str, Any], mechanism: str) -> Connection:
    """The connection of a case: `port` and `host` change the address, files lie with the certificates."""
    files = {key: str(doors.certificates / value) for key, value in changes.items() if key.endswith("file") and value}
    host, port = changes.get("host", "127.0.0.1"), doors.ports[changes.get("port", protocol)]
    others = {key: value for key, value in changes.items() if key not in ("host", "port")}
    return doors.connection(protocol, mechanism, bootstrap_servers=[f"{host}:{port}"], **others | files)


def within_five_seconds(ask: Callable[..., object], connection: Connection, topic: str) -> AccessDenied:
    with within(5), pytest.raises(AccessDenied) as caught:
        ask(connection, topic)
    return caught.value


def assert_silent(*texts: str) -> None:
    """No password is in any of them."""
    assert [word for word in (PASSWORD, KEY_PASSWORD, WRONG) for text in texts if word in text] == []
