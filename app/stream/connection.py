"""How clients are told where Kafka is: one mapping in kafka-python's own names, so that security has a place to go."""

import logging
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from streaming_lab.errors import LabError
from streaming_lab.stream import tls, tokens

Connection: TypeAlias = Mapping[
    str, Any
]  # e.g. {"bootstrap_servers": ["127.0.0.1:9092"]}; KafkaProducer(**connection) works

_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")

# Where the two clients only differ in the name (librdkafka: CONFIGURATION.md).
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
FRAMES = ("kafka.protocol.parser", "kafka.net.connection")  # log each frame at DEBUG, a password or a token among them


class Secret(str):
    """A password that no log line shows: kafka-python logs all its settings when it debugs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def _above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def connect_to(servers: str) -> Connection:
    """The connection mapping for `host:port[,host:port]`; a piece that is neither raises a `LabError` that names it."""
    return {"bootstrap_servers": [_checked(piece.strip(), servers) for piece in servers.split(",")]}


def addresses(connection: Connection) -> str:
    """The bootstrap servers as one line of text, as errors and command lines want them."""
    servers = connection["bootstrap_servers"]
    return servers if isinstance(servers, str) else ",".join(servers)


def security(connection: Connection) -> str:
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    return str(connection.get("security_protocol") or "PLAINTEXT")


def kafka_python(connection: Connection) -> dict[str, Any]:
    """The connection as kafka-python's clients get it: the same names, passwords that do not show, TLS ready-made.

    Raises `NotLetIn` for a file that can't be used.
    """
    if "SASL" in security(connection):
        for name in FRAMES:
            logging.getLogger(name).addFilter(_above_debug)
    shown = {key: Secret(value) if key in _SECRETS and value else value for key, value in connection.items()}
    return {**shown, "ssl_context": tls.context(connection)}


def librdkafka(connection: Connection) -> dict[str, Any]:
    """The same connection in librdkafka's names (confluent-kafka, kcat -X); an unknown key raises a `LabError`.

    None means in both that nothing was said.
    """
    config: dict[str, Any] = {"bootstrap.servers": addresses(connection)}
    for key, value in connection.items():
        if value is None:
            continue
        if key == "ssl_check_hostname":
            config["ssl.endpoint.identification.algorithm"] = "https" if value else "none"
        elif key == "sasl_oauth_token_provider":
            config["oauth_cb"] = tokens.asking(value)
        elif key in _LIBRDKAFKA:
            config[_LIBRDKAFKA[key]] = value
        elif key != "bootstrap_servers":
            known = ", ".join(sorted(_LIBRDKAFKA))
            raise LabError(f"connection key {key!r} has no counterpart in librdkafka", f"Use one of: {known}.")
    if "ssl.certificate.location" in config:  # kafka-python looks for the key in the same file, if no other is named
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
