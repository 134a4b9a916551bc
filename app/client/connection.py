"""The connection to Kafka: one mapping in kafka-python's own names, so that security has a place to go."""

import base64
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from streaming_lab.client.errors import AccessDenied
from streaming_lab.errors import LabError

if TYPE_CHECKING:
    import ssl

# e.g. {"bootstrap_servers": ["127.0.0.1:9092"]}; KafkaProducer(**connection) works
Connection: TypeAlias = Mapping[str, Any]

_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")

# kafka-python's names and librdkafka's (its CONFIGURATION.md) where the values are the same.
_LIBRDKAFKA = {
    "client_id": "client.id",
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "sasl_kerberos_service_name": "sasl.kerberos.service.name",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
    "ssl_crlfile": "ssl.crl.location",
}
_SECRETS = ("sasl_plain_password", "ssl_password")
# These log each frame at DEBUG, passwords and tokens included.
FRAME_LOGGERS = ("kafka.protocol.parser", "kafka.net.connection")


class Secret(str):
    """A password whose `repr` hides it: kafka-python logs all its settings at DEBUG."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def _above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def connection_for(servers: str) -> Connection:
    """The connection mapping for `host:port[,host:port]`; any other piece raises a `LabError` that names the piece."""
    return {"bootstrap_servers": [_checked(piece.strip(), servers) for piece in servers.split(",")]}


def addresses(connection: Connection) -> str:
    """The bootstrap servers as one line of text, for errors and command lines."""
    servers = connection["bootstrap_servers"]
    return servers if isinstance(servers, str) else ",".join(servers)


def without_secrets(connection: Connection) -> dict[str, Any]:
    """The connection as it may be shown: asterisks in the place of passwords and of whatever hands out tokens."""
    hidden = (*_SECRETS, "sasl_oauth_token_provider", "ssl_context")
    return {key: "***" if key in hidden and value else value for key, value in connection.items()}


def connection_line(connection: Connection) -> str:
    """The connection as one line of JSON with its secrets, for a pipe to another process and nowhere else.

    Raises `LabError` for a setting that is an object of this process.
    """
    try:
        return json.dumps({key: value for key, value in connection.items() if value is not None}) + "\n"
    except TypeError as error:
        objects = [key for key, value in connection.items() if not isinstance(value, (str, int, float, list, tuple))]
        raise LabError(
            f"another process can't be given {', '.join(objects)} of the connection",
            "Name files and a password in their place.",
        ) from error


def security_protocol_of(connection: Connection) -> str:
    """The security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    return str(connection.get("security_protocol") or "PLAINTEXT")


def kafka_python_settings(connection: Connection) -> dict[str, Any]:
    """The connection for kafka-python's clients: the same names, passwords that do not show, a ready TLS context.

    Raises `AccessDenied` for a file that can't be used.
    """
    if "SASL" in security_protocol_of(connection):
        for name in FRAME_LOGGERS:
            logging.getLogger(name).addFilter(_above_debug)
    shown = {key: Secret(value) if key in _SECRETS and value else value for key, value in connection.items()}
    return {**shown, "ssl_context": tls_context(connection)}


def librdkafka_settings(connection: Connection) -> dict[str, Any]:
    """The connection in librdkafka's names (confluent-kafka, kcat -X); an unknown key raises a `LabError`.

    A value of None counts as not given, in both clients.
    """
    config: dict[str, Any] = {"bootstrap.servers": addresses(connection)}
    for key, value in connection.items():
        if value is None:
            continue
        if key == "ssl_check_hostname":
            config["ssl.endpoint.identification.algorithm"] = "https" if value else "none"
        elif key == "sasl_oauth_token_provider":
            config["oauth_cb"] = oauth_callback(value)
        elif key in _LIBRDKAFKA:
            config[_LIBRDKAFKA[key]] = value
        elif key != "bootstrap_servers":
            known = ", ".join(sorted(_LIBRDKAFKA))
            raise LabError(f"connection key {key!r} has no counterpart in librdkafka", f"Use one of: {known}.")
    if "ssl.certificate.location" in config:  # kafka-python's rule: without an ssl_keyfile the key is in the same file
        config.setdefault("ssl.key.location", config["ssl.certificate.location"])
    return config


def _checked(piece: str, servers: str) -> str:
    match = _SERVER.fullmatch(piece)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise LabError(
            f"{piece!r} in {servers!r} is not host:port",
            "Write the brokers as host:port[,host:port], for example 127.0.0.1:9092.",
        )
    return piece


CHECK_FILES = "Check ssl_cafile, ssl_certfile, ssl_keyfile, ssl_password and ssl_crlfile of the connection."
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")


def tls_context(connection: Mapping[str, Any]) -> "ssl.SSLContext | None":
    """The TLS context of the connection's ssl_ settings; None where its security_protocol needs no TLS.

    A file that can't be used raises `AccessDenied`. kafka-python 3.0 reads these settings alike, except ssl_crlfile,
    which it passes to a parameter that `ssl` does not have.
    """
    if "SSL" not in str(connection.get("security_protocol")):
        return None
    import ssl  # its import takes 10 ms, also of a supervisor's that speaks to nobody

    given: ssl.SSLContext | None = connection.get("ssl_context")
    if given is not None:
        return given
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = connection.get("ssl_check_hostname", True)
    files = {key: connection[key] for key in _FILES if connection.get(key)}
    try:
        if "ssl_cafile" in files:
            made.load_verify_locations(files["ssl_cafile"])
        else:
            made.load_default_certs()
        if "ssl_certfile" in files:
            made.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), connection.get("ssl_password"))
        if "ssl_crlfile" in files:
            made.load_verify_locations(files["ssl_crlfile"])
            made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:
        named = ", ".join(f"{key}={value}" for key, value in files.items())
        raise AccessDenied(f"TLS can't be spoken with {named}: {error}", CHECK_FILES) from error
    return made


GOOD_FOR = 300.0  # seconds; the assumed lifetime of a token without an expiry

Token: TypeAlias = tuple[str, float, str, dict[str, str]]  # token, expiry in seconds UTC, principal, extensions


class Provider(Protocol):
    """kafka-python's `kafka.net.sasl.oauth.AbstractTokenProvider`."""

    def token(self) -> str: ...
    def extensions(self) -> dict[str, str]: ...


def oauth_callback(provider: Provider) -> Callable[[Any], Token]:
    """The provider as confluent-kafka's `oauth_cb`, which runs again after four fifths of a token's lifetime."""

    def ask(_: Any) -> Token:
        token = provider.token()
        return token, expiry(token), "", dict(provider.extensions())

    return ask


def expiry(token: str) -> float:
    """A token's expiry in seconds UTC: the claim `exp` of a JSON Web Token (RFC 7519), or `GOOD_FOR` from now."""
    try:
        claims = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return time.time() + GOOD_FOR
