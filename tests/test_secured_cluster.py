"""`cluster.py start --secure` for real: TLS, users and access lists, and one clear error for each way to be refused."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from streaming_lab.client import topics
from streaming_lab.client.client_properties import connection_from_file
from streaming_lab.client.connection import Connection
from streaming_lab.client.errors import AccessDenied
from streaming_lab.cluster import attach
from streaming_lab.cluster.embedded.client import attach_embedded
from streaming_lab.cluster.embedded.security import RIGHTS, client_file, make_security, write_client_files
from streaming_lab.delivery.ways import open_log
from streaming_lab.errors import LabError
from streaming_lab.own_game.hosted import probe_game
from streaming_lab.own_game.session import hosted_game, run_game
from streaming_lab.reader import read_topic
from streaming_lab.topic.command_line import main as topic_main
from streaming_lab.waiting import wait_until

pytest.importorskip("cryptography")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


@pytest.fixture(scope="module")
def engine(own_home: Path) -> Iterator[Path]:
    """A secured cluster of this module's own: the folder of its users' files. It has one event in topic `secured`."""
    cluster = attach_embedded(secure=True)
    folder = Path(cluster.state.secured)
    with cluster:
        player = way_in(folder, "player")
        topics.create_topic(player, "secured")
        with open_log("confirmed", player, "secured") as log:
            log.append("ann", b'{"n": 1}', "e1")
        yield folder


def way_in(folder: Path, user: str, **changes: object) -> Connection:
    return {**connection_from_file(str(client_file(folder, user))), **changes}


def test_a_user_with_rights_writes_and_reads(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is all that a reader, `attach` and topic.py need; the files are their owner's alone."""
    assert read_topic(way_in(engine, "reader"), "secured").events["n"].tolist() == [1]
    with attach(str(client_file(engine, "player"))) as cluster:
        assert cluster.describe().cluster_id
    assert topic_main(["read", "secured", "--cluster", str(client_file(engine, "reader")), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(",ann,1")
    assert {
        file.name: oct(file.stat().st_mode)[-3:] for file in engine.iterdir() if oct(file.stat().st_mode)[-2:] != "00"
    } == {}


def test_a_hosted_game_sends_with_the_users_login(engine: Path) -> None:
    """The password reaches the game's producer, and stands in no command line, environment, file or print."""
    password = (engine / "player.password").read_text()
    with attach(str(client_file(engine, "player"))) as cluster:
        found = probe_game(str(Path(__file__).parent / "games" / "course_game.py"))
        run = run_game(found, cluster, found.routes, players=2, requests=8, seed=1, run="secured")
        assert (run.account.kind, run.account.ledger.problems(), len(run.records.events)) == ("request id", [], 8)
        with hosted_game(found, cluster) as game:
            assert requests.get(f"{game.url}/", timeout=30).status_code == 200
            wait_until(lambda: [send.outcome for send in game.story().sends] == ["delivered"], 30)
            commands = subprocess.run(["ps", "axeww"], capture_output=True, text=True, timeout=30).stdout
            files = [
                file for file in game.folder.rglob("*") if file.is_file() and password.encode() in file.read_bytes()
            ]
        assert "own_game.host" in commands
        assert (files, password in commands, password in repr(run)) == ([], False, False)


def calls(connection: Connection) -> dict[str, Callable[[], object]]:
    return {
        "read": lambda: read_topic(connection, "secured"),
        "describe": lambda: topics.describe_topic(connection, "secured"),
        "create": lambda: topics.create_topic(connection, "secured-too"),
        "offsets": lambda: topics.end_offsets(connection, "secured"),
    }


@pytest.mark.parametrize("call", ["read", "describe", "create", "offsets"])
@pytest.mark.parametrize(
    ("user", "changes", "said"),
    [
        ("player", {"sasl_plain_password": "wrong"}, "user 'player', PLAIN: Authentication failed"),
        ("player", {"ssl_cafile": None}, "its certificate is not trusted"),
        ("player", {"sasl_mechanism": "SCRAM-SHA-256"}, "sasl_mechanism 'SCRAM-SHA-256' is not possible"),
        ("player", {"security_protocol": "PLAINTEXT"}, "speaks TLS"),
        ("stranger", {}, "user 'stranger' has no right to do this on topic 'secured"),
    ],
)
def test_each_refusal_has_one_clear_error(
    engine: Path, call: str, user: str, changes: dict[str, object], said: str
) -> None:
    """Problem and cure within 10 s, and no password in them."""
    connection, started = way_in(engine, user, **changes), time.monotonic()
    with pytest.raises(AccessDenied) as caught:
        calls(connection)[call]()
    assert said in caught.value.problem
    assert time.monotonic() - started < 10
    assert (engine / f"{user}.password").read_text() not in str(caught.value)


def test_a_reader_may_not_write(engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`create` is refused, `write` names the reason for each record and ends with 1."""
    with pytest.raises(AccessDenied, match="user 'reader' has no right to do this on topic 'other'"):
        topics.create_topic(way_in(engine, "reader"), "other")
    (tmp_path / "lines").write_text("{}\n{}\n")
    arguments = ["write", "secured", str(tmp_path / "lines"), "--cluster", str(client_file(engine, "reader"))]
    assert topic_main(arguments) == 1
    assert "2 TopicAuthorizationFailedError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "days", "said", "cure"),
    [
        (
            ("kafka.example.org",),
            1.0,
            "certificate is not valid for '127.0.0.1'",
            "Name the broker in bootstrap.servers",
        ),
        (("127.0.0.1",), -0.5, "certificate has expired", "Its certificate has to be renewed"),
    ],
)
def test_a_certificate_that_does_not_hold(
    tmp_path: Path, names: tuple[str, ...], days: float, said: str, cure: str
) -> None:
    """A wrong host name and an expired certificate are told apart, and each has its cure."""
    make_security(tmp_path / "s", names, days)
    with tls_server(tmp_path / "s" / "broker.pem") as port:
        write_client_files(tmp_path / "s", [f"127.0.0.1:{port}"])
        for ask in (
            lambda: attach(str(client_file(tmp_path / "s", "player"))),
            calls(way_in(tmp_path / "s", "player"))["read"],
        ):
            started = time.monotonic()
            with pytest.raises(LabError, match=said) as caught:
                ask()
            assert cure in caught.value.cure
            assert time.monotonic() - started < 10


class tls_server:
    """Something that shakes hands over TLS with this certificate, and says nothing."""

    def __init__(self, pem: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._socket = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._socket.getsockname()[1])

    def __exit__(self, *failure: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                self._socket.accept()[0].close()
            except ssl.SSLError:
                continue  # the client refused the certificate
            except OSError:
                return


def test_the_users_are_those_of_the_table(engine: Path) -> None:
    """A client file for each, and none for the brokers' own user."""
    assert {file.stem for file in engine.glob("*.properties")} == set(RIGHTS)
