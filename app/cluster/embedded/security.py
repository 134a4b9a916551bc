"""A secured cluster's material: an authority, the broker's certificate, users with their rights, a file for each."""

import ipaddress
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streaming_lab.client.admin import ask_admin
from streaming_lab.client.connection import Connection
from streaming_lab.cluster.base import ClusterError
from streaming_lab.cluster.embedded.places import escape_property

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import Certificate

# User -> what the access list lets this user do on every topic; the admin may do everything.
RIGHTS: Mapping[str, tuple[str, ...]] = {
    "admin": (),
    "player": ("CREATE", "DELETE", "DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE"),
    "reader": ("DESCRIBE", "READ"),
    "stranger": (),
}
_BROKER = "broker"  # the brokers' own user, towards each other
_DAYS = 30  # that certificates are valid
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_GRANT_TIMEOUT = 20.0


def make_security(folder: Path, names: tuple[str, ...] = ("127.0.0.1", "localhost"), days: float = _DAYS) -> None:
    """Make `folder` with ca.pem, broker.pem (key and certificate) and a password file for each user; keeps old ones."""
    if (folder / "broker.pem").exists():
        return
    try:
        from cryptography import x509
    except ImportError as error:
        raise ClusterError(
            "start --secure makes certificates with the package cryptography, which is not installed",
            "Add it with the tools of the checks, from their lock: python3 scripts/test.py --help",
        ) from error
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key, authority = _issue("the lab's authority", None, _DAYS)
    hosts: list[Any] = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    broker_key, broker = _issue(names[0], (key, authority), days, x509.SubjectAlternativeName(hosts))
    _write(folder / "ca.pem", _pem(authority))
    for user in (*RIGHTS, _BROKER):
        _write(folder / f"{user}.password", secrets.token_urlsafe(18))
    _write(folder / "broker.pem", _private_pem(broker_key) + _pem(broker))  # last: now the folder is whole


def _issue(
    name: str,
    signer: "tuple[ec.EllipticCurvePrivateKey, Certificate] | None",
    days: float,
    extension: Any = None,
) -> "tuple[ec.EllipticCurvePrivateKey, Certificate]":
    """A key and its certificate, signed by `signer` or, an authority's, by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    ends = now + timedelta(days=days)
    builder = x509.CertificateBuilder(
        signer[1].subject if signer else subject, subject, key.public_key(), x509.random_serial_number()
    )
    builder = builder.not_valid_before(min(now, ends) - timedelta(days=1)).not_valid_after(ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    public = signer[0].public_key() if signer else key.public_key()
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    if signer is None:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return key, builder.sign(signer[0] if signer else key, hashes.SHA256())


def _pem(certificate: "Certificate") -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: "ec.EllipticCurvePrivateKey") -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _write(file: Path, text: str) -> None:
    """Write a file that only its owner reads, from its first byte on."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)


def secured_properties(folder: Path) -> dict[str, object]:
    """What a secured broker has beside, or instead of, `server_properties`: TLS and users on every listener."""
    passwords = {user: (folder / f"{user}.password").read_text() for user in (*RIGHTS, _BROKER)}
    known = " ".join(f'user_{user}="{password}"' for user, password in passwords.items())
    login = f'{_LOGIN} username="{_BROKER}" password="{passwords[_BROKER]}" {known};'
    stores = {"ssl.keystore": "broker.pem", "ssl.truststore": "ca.pem"}
    return {
        "security.inter.broker.protocol": "SASL_SSL",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:SASL_SSL",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": login,
        "listener.name.controller.plain.sasl.jaas.config": login,
        **{f"{store}.type": "PEM" for store in stores},
        **{f"{store}.location": folder / name for store, name in stores.items()},
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{_BROKER};User:admin",
    }


def client_file(folder: Path, user: str) -> Path:
    """The client properties file of a user."""
    return folder / f"{user}.properties"


def write_client_files(folder: Path, servers: list[str]) -> None:
    """Write a client properties file for each user, in Kafka's own names, for its owner's eyes alone."""
    for user in RIGHTS:
        password = (folder / f"{user}.password").read_text()
        lines = {
            "bootstrap.servers": ",".join(servers),
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.jaas.config": f'{_LOGIN} username="{user}" password="{password}";',
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.pem"),
        }
        _write(client_file(folder, user), "".join(f"{key}={escape_property(text)}\n" for key, text in lines.items()))


def grant_rights(connection: Connection) -> None:
    """Write the access lists of `RIGHTS`, on every topic and consumer group; the connection is the admin's."""
    from kafka import KafkaAdminClient
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

    def rule(user: str, kind: str, name: str, operation: str) -> Any:
        pattern = ResourcePattern(ResourceType[kind], name)
        return ACL(f"User:{user}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, pattern)

    rules = [rule(user, "TOPIC", "*", operation) for user, rights in RIGHTS.items() for operation in rights]
    for user, rights in RIGHTS.items():
        rules += [rule(user, "GROUP", "*", each) for each in ("READ", "DESCRIBE") if rights]
        rules += [rule(user, "CLUSTER", "kafka-cluster", each) for each in ("DESCRIBE", "IDEMPOTENT_WRITE") if rights]

    def grant(admin: KafkaAdminClient) -> None:
        admin.create_acls(rules)

    ask_admin(connection, _GRANT_TIMEOUT, grant)
