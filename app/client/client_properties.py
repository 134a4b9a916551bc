"""A client properties file as a connection: Kafka's own names, librdkafka's or kafka-python's; secrets by variable."""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streaming_lab.client.connection import Connection, Secret, connection_for
from streaming_lab.errors import LabError

logger = logging.getLogger(__name__)

_SUFFIXES = (".properties", ".conf", ".config", ".cfg", ".env", ".ini")
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
# Names in the file -> kafka-python's. Kafka's own and librdkafka's are written with dots, kafka-python's with _.
_NAMES = {
    "bootstrap.servers": "bootstrap_servers",
    "metadata.broker.list": "bootstrap_servers",
    "client.id": "client_id",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "sasl.plain.username": "sasl_plain_username",
    "sasl.plain.password": "sasl_plain_password",
    "sasl.kerberos.service.name": "sasl_kerberos_service_name",
    "ssl.cafile": "ssl_cafile",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certfile": "ssl_certfile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.keyfile": "ssl_keyfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.password": "ssl_password",
    "ssl.key.password": "ssl_password",
    "ssl.crlfile": "ssl_crlfile",
    "ssl.crl.location": "ssl_crlfile",
    "ssl.check.hostname": "ssl_check_hostname",
}
_STORES = {"ssl.truststore.location": "ssl_cafile", "ssl.keystore.location": "ssl_certfile"}
# PEM in the properties themselves (Kafka's KIP-651, librdkafka's *.pem) -> the name that takes a file.
_INLINE = {
    "ssl.truststore.certificates": "ssl.ca.location",
    "ssl.keystore.certificate.chain": "ssl.certificate.location",
    "ssl.keystore.key": "ssl.key.location",
    "ssl.ca.pem": "ssl.ca.location",
    "ssl.certificate.pem": "ssl.certificate.location",
    "ssl.key.pem": "ssl.key.location",
}
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")  # those that a file alone can describe
_JAVA_ONLY = re.compile(
    r"ssl\.(truststore|keystore)\.(type|password)|ssl\.(protocol|provider|enabled\.protocols|cipher\.suites)"
    r"|ssl\.(keymanager|trustmanager)\.algorithm|sasl\.(login|client)\..*|sasl\.kerberos\.(kinit|min|ticket).*"
)
_LOGIN = re.compile(r"(?P<name>username|password)\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<bare>[^\s;]+))")
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_]\w*)\}")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)


def is_properties_file(name: str) -> bool:
    """Does `name` mean a file, and not `host:port` or a cluster of the lab's?"""
    return name.endswith(_SUFFIXES) or "/" in name or (":" not in name and Path(name).is_file())


def connection_from_file(name: str) -> Connection:
    """The connection that the file `name` describes; `LabError` says what is wrong, without any value of a secret.

    Files in the file are relative to its folder. `${NAME}` and `${env:NAME}` are variables of the environment.
    """
    path = Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LabError(f"cannot read {name}: {why}", "-p cluster takes a client properties file.") from error
    return _Reader(name, path.resolve().parent).read(dict(parse_properties(text)))


def parse_properties(text: str) -> list[tuple[str, str]]:
    """The pairs of a Java properties file: `key=value`, `key: value`, comments, continued lines, escapes."""
    found, kept = list[tuple[str, str]](), ""
    for line in text.lstrip("\ufeff").splitlines():
        line = kept + line.lstrip()
        kept = ""
        if line[:1] in ("", "#", "!") or (line.startswith("[") and line.endswith("]")):
            continue
        if (len(line) - len(line.rstrip("\\"))) % 2:
            kept = line[:-1]
            continue
        match = re.match(r"((?:\\.|[^\\=:\s])+)\s*[=:\s]\s*(.*)|(\S+)", line)
        if match is not None:
            found.append((_unescape(match[1] or match[3]), _unescape((match[2] or "").rstrip())))
    return found


def _unescape(text: str) -> str:
    names = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
    return _ESCAPE.sub(lambda at: chr(int(at[1][1:], 16)) if len(at[1]) == 5 else names.get(at[1], at[1]), text)


class _Reader:
    """Translates the pairs of one file."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def read(self, pairs: Mapping[str, str]) -> Connection:
        found: dict[str, Any] = {}
        others = []
        for written, raw in pairs.items():
            key, value = written.strip().replace("_", ".").lower(), self._value(written, raw)
            if key == "sasl.jaas.config":
                found |= self._login(value)
            elif key in _STORES:
                found[_STORES[key]] = self._store(key, value)
            elif key in _INLINE:
                cure = f"Write the PEM to a file with mode 600, and name it: {_INLINE[key]}=FILE."
                raise self._error(f"{written} holds a certificate or a key itself, which is read from files here", cure)
            elif key == "ssl.endpoint.identification.algorithm":
                found["ssl_check_hostname"] = value.lower() not in ("", "none")
            elif key in _NAMES:
                found[_NAMES[key]] = value
            elif key.startswith(("sasl.", "ssl.", "security.")) and not _JAVA_ONLY.fullmatch(key):
                known = ", ".join(sorted({*_NAMES, *_STORES, "sasl.jaas.config"}))
                raise self._error(f"{written} is not known here", f"Known names: {known}.")
            else:
                others.append(written)
        if others:
            logger.info("%s: %s are no part of a connection and are left out", self.name, ", ".join(others))
        return self._checked(found)

    def _value(self, key: str, raw: str) -> str:
        def look_up(found: re.Match[str]) -> str:
            if found[1] not in os.environ:
                raise self._error(f"{key} wants the variable {found[1]}, which is not set", f"export {found[1]}=...")
            return os.environ[found[1]]

        return _VARIABLE.sub(look_up, raw)

    def _login(self, text: str) -> dict[str, str]:
        """User and password of a line for Java's login modules."""
        module = text.split(maxsplit=1)[0].rpartition(".")[2] if text.strip() else "nothing"
        if module not in ("PlainLoginModule", "ScramLoginModule"):
            cure = "Use PlainLoginModule or ScramLoginModule, or set sasl.mechanism with its own names."
            raise self._error(f"sasl.jaas.config names {module}", cure)
        parts = {
            one["name"]: one["bare"] if one["quoted"] is None else _unescape(one["quoted"])
            for one in _LOGIN.finditer(text)
        }
        if parts.keys() != {"username", "password"}:
            raise self._error("sasl.jaas.config has no username and password", 'Write username="..." password="...";')
        return {"sasl_plain_username": parts["username"], "sasl_plain_password": parts["password"]}

    def _store(self, key: str, value: str) -> str:
        """A PEM file; a Java key store is refused with the command that makes PEM of it."""
        file = self._file(key, value)
        if file.read_bytes()[:11].startswith(b"-----BEGIN") or b"-----BEGIN" in file.read_bytes()[:4096]:
            return str(file)
        pem, only = file.with_suffix(".pem"), "-nokeys" if key == "ssl.truststore.location" else "-nodes"
        ours = "ssl.ca.location" if key == "ssl.truststore.location" else "ssl.certificate.location"
        source, steps = file, ""
        if file.read_bytes()[:4] == b"\xfe\xed\xfe\xed":
            source = file.with_suffix(".p12")
            steps = f"keytool -importkeystore -srckeystore {file} -destkeystore {source} -deststoretype PKCS12 && "
        cure = f"Make PEM: {steps}openssl pkcs12 -in {source} {only} -out {pem}; then write {ours}={pem}."
        raise self._error(f"{key} names a Java key store, {file.name}, which only Java reads", cure)

    def _file(self, key: str, value: str) -> Path:
        file = self.folder / Path(value).expanduser()
        if not file.is_file():
            raise self._error(f"{key}: there is no file {file}", "Files are relative to the folder of the properties.")
        return file

    def _checked(self, found: dict[str, Any]) -> Connection:
        if not found.get("bootstrap_servers"):
            raise self._error("bootstrap.servers is missing", "Add bootstrap.servers=host:port[,host:port].")
        for key in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"):
            if found.get(key):
                found[key] = str(self._file(key, found[key]))
        protocol = str(found.get("security_protocol", "PLAINTEXT")).upper()
        if protocol not in PROTOCOLS:
            raise self._error(f"security.protocol={protocol} is unknown", f"Use one of {', '.join(PROTOCOLS)}.")
        if "SASL" in protocol and not found.get("sasl_mechanism"):
            raise self._error(f"security.protocol={protocol} needs sasl.mechanism", "For example SCRAM-SHA-256.")
        if "SASL" in protocol:
            self._check_login(found)
        if isinstance(checks := found.get("ssl_check_hostname"), str):
            found["ssl_check_hostname"] = checks.lower() in ("true", "1", "yes")
        for key in ("sasl_plain_password", "ssl_password"):
            if key in found:
                found[key] = Secret(found[key])
        servers = connection_for(found["bootstrap_servers"])["bootstrap_servers"]
        return {**found, "bootstrap_servers": servers, "security_protocol": protocol}

    def _check_login(self, found: dict[str, Any]) -> None:
        """Kerberos asks for tickets and OAUTHBEARER for a program, which no properties file of this lab names."""
        mechanism = str(found["sasl_mechanism"]).upper()
        if mechanism not in _MECHANISMS:
            cure = f"Ask for a user with one of {', '.join(_MECHANISMS)}; Python code may pass any connection."
            raise self._error(f"sasl.mechanism={mechanism} is not taken from a file", cure)
        if not found.get("sasl_plain_username") or not found.get("sasl_plain_password"):
            cure = "Add sasl.username=NAME and sasl.password=${NAME_OF_A_VARIABLE}."
            raise self._error(f"sasl.mechanism={mechanism} needs a user and a password", cure)
        found["sasl_mechanism"] = mechanism

    def _error(self, problem: str, cure: str) -> LabError:
        return LabError(f"{self.name}: {problem}", cure)


def connection_named(name: str) -> Connection:
    """The connection of `host:port[,host:port]` or of a client properties file."""
    refuse_inline_secret(name)
    return connection_from_file(name) if is_properties_file(name) else connection_for(name)


def refuse_inline_secret(name: str) -> None:
    """Raise a `LabError` for settings or a login where a cluster's name belongs; the error does not repeat them."""
    if re.search(r"[=;\n]|\S:\S*@|password *:", name, re.IGNORECASE) and not Path(name).is_file():
        raise LabError(
            "the cluster's name holds settings or a login, which would be saved in notebooks and reports",
            "Write them to a client properties file, secrets as ${NAME} of the environment, and name that file.",
        )
