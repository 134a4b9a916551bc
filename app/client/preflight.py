"""Preflight: does a bootstrap server let this connection in, and where does it send its clients?

kafka-python's clients try until their time is up, and then report a time-out. Clients connect twice: to a bootstrap
address, and then to the addresses that the brokers advertise. On laptops, in containers and behind VPNs the second one
is the one that fails.
"""

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kafka.errors as kafka_errors
from kafka.protocol.metadata.metadata import MetadataRequest, MetadataResponse
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

from streaming_lab.client.broker_connection import (
    Address,
    BrokerConnection,
    ConnectionBroken,
    TlsExpected,
    Unsupported,
    format_address,
)
from streaming_lab.client.connection import CHECK_FILES, Connection, addresses, security_protocol_of, tls_context
from streaming_lab.client.errors import AccessDenied, BrokerUnavailable
from streaming_lab.client.metadata import parse_addresses
from streaming_lab.errors import LabError
from streaming_lab.waiting import wait_until

if TYPE_CHECKING:
    from kafka.net.sasl.abc import SaslMechanism

RETRY_INTERVAL = 0.05  # seconds between two rounds over the servers
_SHORTEST_TRY = 0.1  # seconds that one server gets in any case
_TRY_TIMEOUT = 2.0  # seconds for one server, so that a frozen one does not hide the next
_HANG_UP_GRACE = (
    1.0  # seconds for a broker that is starting or ending; a server that still hangs up then does so on purpose
)
_DIAGNOSIS_TIMEOUT = 0.5  # seconds for a server that has answered before
_ADDRESS_TIMEOUT = 2.5  # seconds for one numeric address to accept, and to answer
_REACH_TIMEOUT = 9.0  # seconds for all addresses
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_WITH_USER = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_HANGS_UP = (ssl.SSLError, ConnectionResetError, BrokenPipeError)

_CHECK_USER = "Check sasl_mechanism, sasl_plain_username, sasl_plain_password and other sasl_ names of the connection."


def find_accepting_server(connection: Connection, deadline: float, grace: float = _HANG_UP_GRACE) -> str:
    """Find the first bootstrap server (host:port) that accepts TLS, versions, SASL and a first request.

    kafka-python leaks a socket or a thread for each attempt that fails there, so its clients ask here first. Raises
    `AccessDenied` with the reason: at once, or after `grace` seconds where another try could do better. When no server
    answers until `deadline` (monotonic seconds), raises kafka-python's `KafkaConnectionError`.
    """
    tls, started = tls_context(connection), time.monotonic()
    troubles: list[ConnectionBroken] = []

    def first_open() -> str:
        troubles.clear()
        for server in addresses(connection).split(","):
            try:
                with _PreflightConnection(
                    parse_addresses(server)[0], connection, tls, _try_deadline(deadline)
                ) as preflight:
                    preflight.ask_brokers()
                return server
            except Unsupported:
                return server  # the client itself says what it makes of this server
            except TlsExpected as error:
                raise _other_protocol(connection, error) from error
            except ConnectionBroken as error:
                troubles.append(error)
        if all(map(_hung_up, troubles)) and time.monotonic() - started > grace:
            raise _other_protocol(connection, troubles[0]) from troubles[0]
        return ""

    def nobody() -> kafka_errors.KafkaConnectionError:
        return kafka_errors.KafkaConnectionError("; ".join(map(str, troubles)))

    return wait_until(first_open, deadline - RETRY_INTERVAL - time.monotonic(), nobody, RETRY_INTERVAL)


def raise_if_refused(connection: Connection) -> None:
    """Raise the reason that a client got no answer, where a broker does answer: `AccessDenied`, or `BrokerUnavailable`
    with the advertised address that can't be reached. A silent server costs half a second.
    """
    with suppress(kafka_errors.KafkaConnectionError):
        server = find_accepting_server(connection, time.monotonic() + _DIAGNOSIS_TIMEOUT, grace=0.0)
        raise_if_misled({**connection, "bootstrap_servers": [server]})


def diagnose(connection: Connection) -> str:
    """The preflight's result now, in one sentence, for logs; half a second, or as long as advertised addresses take."""
    try:
        server = find_accepting_server(connection, time.monotonic() + _DIAGNOSIS_TIMEOUT, grace=0.0)
        raise_if_misled({**connection, "bootstrap_servers": [server]})
        return f"{server} answers"
    except (AccessDenied, BrokerUnavailable) as error:
        return f"{error.problem}. {error.cure}"
    except kafka_errors.KafkaConnectionError as error:
        return f"no broker answers: {error}"


@dataclass(frozen=True)
class ReachedBroker:
    """A numeric address (host:port) where a broker answered, and the addresses that the broker advertises."""

    server: str
    advertised: tuple[Address, ...]


def reach_any_address(connection: Connection) -> ReachedBroker:
    """Try every address of the bootstrap servers' names; returns the first one where a broker answers.

    Raises `BrokerUnavailable` within ten seconds with each address's failure, and `AccessDenied`.
    """
    deadline, failures = time.monotonic() + _REACH_TIMEOUT, list[str]()
    for host, port in parse_addresses(connection["bootstrap_servers"]):
        for address in resolve_host(host, port, failures):
            now = time.monotonic()
            if now > deadline:
                failures.append(f"{format_address(address)}: not tried, {_REACH_TIMEOUT:.0f} s are over")
                continue
            try:
                with _PreflightConnection(
                    address, connection, tls_context(connection), min(now + _ADDRESS_TIMEOUT, deadline), host
                ) as preflight:
                    answer = preflight.ask_brokers()
                return ReachedBroker(
                    format_address(address), tuple((broker.host, broker.port) for broker in answer.brokers)
                )
            except (ConnectionBroken, Unsupported) as error:
                failures.append(f"{format_address(address)}{_name(host)}: {_reason(error, address)}")
    raise BrokerUnavailable(
        f"no broker answers at {addresses(connection)} ({'; '.join(failures)})",
        "Is it running, and is the port right? `-p cluster embedded` starts one of the lab's own.",
    )


def raise_if_misled(connection: Connection) -> None:
    """Raise `BrokerUnavailable` when a broker answers and sends its clients where none can be reached."""
    try:
        found = reach_any_address(connection)
    except (BrokerUnavailable, AccessDenied):
        return  # that no broker answers, or lets us in, is said elsewhere
    check_advertised(found, connection)


def check_advertised(found: ReachedBroker, connection: Connection) -> None:
    """Raise `BrokerUnavailable` when an advertised address can't be reached, and `AccessDenied` for its certificate."""
    deadline, tls = time.monotonic() + _REACH_TIMEOUT, tls_context(connection)
    for host, port in found.advertised:
        failures: list[str] = []
        context = f"connected to {found.server}, which sends its clients to {host}:{port}"
        numeric = resolve_host(host, port, failures)
        if not numeric:
            raise BrokerUnavailable(
                f"{context}, and the name {host!r} does not resolve here",
                f"Set the broker's advertised.listeners to a name that does, or add {host!r} to the hosts file.",
            )
        for address in numeric:
            try:
                left = max(0.1, min(_ADDRESS_TIMEOUT, deadline - time.monotonic()))
                if tls is None:
                    socket.create_connection(address, timeout=left).close()
                else:
                    _PreflightConnection(address, connection, tls, time.monotonic() + left, host).close()
                break
            except (ConnectionBroken, Unsupported) as error:
                failures.append(f"{format_address(address)}: {_reason(error, address)}")
            except OSError as error:
                failures.append(f"{format_address(address)}: {_os_reason(error)}")
        else:
            raise BrokerUnavailable(
                f"{context}, and nothing accepts connections there ({'; '.join(failures)})",
                "Set the broker's advertised.listeners to an address that this machine can reach.",
            )


def resolve_host(host: str, port: int, failures: list[str]) -> list[Address]:
    """The numeric addresses of a host name, IPv6 and IPv4, in the system's order; a failure goes to `failures`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        failures.append(f"{host}: the name does not resolve ({_os_reason(error)})")
        return []
    return list(dict.fromkeys((str(one[4][0]), port) for one in found))


def _name(host: str) -> str:
    return f" (for {host})" if host not in LOOPBACK[:2] and not host.replace(".", "").isdigit() else ""


def _reason(error: Exception, address: Address) -> str:
    if isinstance(error.__cause__, OSError):
        return _os_reason(error.__cause__)
    return str(error).removeprefix(format_address(address)).lstrip(": ")


def _os_reason(error: OSError) -> str:
    return f"no answer in {_ADDRESS_TIMEOUT:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)


class _PreflightConnection(BrokerConnection):
    """A broker connection with the connection's TLS and SASL, for one request."""

    def __init__(
        self, address: Address, connection: Connection, tls: ssl.SSLContext | None, deadline: float, name: str = ""
    ) -> None:
        self._connection, self._tls = connection, tls
        self._name = name or address[0]  # that the broker's certificate must have
        super().__init__(address, deadline)

    def ask_brokers(self) -> Any:
        """Authenticate and ask for the brokers: a `MetadataResponse`."""
        if "SASL" in security_protocol_of(self._connection):
            self._authenticate(str(self._connection.get("sasl_mechanism")))
        version = self.version(MetadataRequest, 1)
        request = MetadataRequest(version=version, topics=[], allow_auto_topic_creation=False)
        answer = self.request(request, MetadataResponse)
        if not answer.brokers or not all(broker.host and 0 < broker.port < 65536 for broker in answer.brokers):
            raise ConnectionBroken(f"{self}: an answer without a broker that could be reached")
        return answer

    def receive(self) -> tuple[Any, bytearray]:
        try:
            return super().receive()
        except ConnectionBroken as error:  # TLS 1.3 refuses our own certificate only now
            if isinstance(error.__cause__, ssl.SSLError) and "CERT" in str(error.__cause__.reason):
                raise self._refused(str(error.__cause__.reason), CHECK_FILES) from error
            raise

    def _api_versions(self) -> dict[int, tuple[int, int]]:
        if self._tls is not None:
            try:
                self._socket = self._tls.wrap_socket(self._socket, server_hostname=self._name)
            except ssl.SSLCertVerificationError as error:
                raise self._refused(
                    f"its certificate is not trusted ({error.verify_message})",
                    _certificate_cure(error.verify_message),
                ) from error
            except OSError as error:
                raise ConnectionBroken(f"{self}: {error}") from error
        return super()._api_versions()

    def _authenticate(self, mechanism: str) -> None:
        from kafka.net.sasl import SASL_MECHANISMS

        handshake = self.request(SaslHandshakeRequest(version=1, mechanism=mechanism), SaslHandshakeResponse)
        if handshake.error_code or mechanism not in SASL_MECHANISMS:
            offered = ", ".join(handshake.mechanisms or ()) or "no SASL at all"
            raise self._refused(f"sasl_mechanism {mechanism!r} is not possible, it offers {offered}", _CHECK_USER)
        user = self._connection.get("sasl_plain_username")
        if mechanism in _WITH_USER and not (user and self._connection.get("sasl_plain_password")):
            raise self._refused(f"{mechanism} needs a user and a password", _CHECK_USER)
        try:
            self._exchange(SASL_MECHANISMS[mechanism](host=self._name, **self._connection), mechanism)
        except (LabError, ConnectionBroken, Unsupported):
            raise
        except Exception as error:  # from a mechanism's library, a token provider, a server that can't prove itself
            raise self._refused(f"{mechanism} failed on this side: {error}", _CHECK_USER) from error

    def _exchange(self, exchange: "SaslMechanism", mechanism: str) -> None:
        version = self.version(SaslAuthenticateRequest)
        while not exchange.is_done():
            request = SaslAuthenticateRequest(version=version, auth_bytes=exchange.auth_bytes())
            answer = self.request(request, SaslAuthenticateResponse)
            if answer.error_code:
                user = self._connection.get("sasl_plain_username")
                raise self._refused(f"user {user!r}, {mechanism}: {answer.error_message}", _CHECK_USER)
            exchange.receive(bytes(answer.auth_bytes))

    def _refused(self, why: str, cure: str) -> AccessDenied:
        return AccessDenied(f"the broker at {self} does not let us in: {why}", cure)


def _certificate_cure(message: str) -> str:
    if "expired" in message or "not yet valid" in message:
        return "Its certificate has to be renewed where the broker runs; or is this machine's clock wrong (see `date`)?"
    if "match" in message or "valid for" in message:
        return "Name the broker in bootstrap.servers as its certificate does."
    return "Name the file of the authority that signed it as ssl_cafile (ssl.ca.location)."


def _try_deadline(deadline: float) -> float:
    now = time.monotonic()
    return max(now + _SHORTEST_TRY, min(now + _TRY_TIMEOUT, deadline))


def _hung_up(trouble: ConnectionBroken) -> bool:
    """Did the server accept the connection and close it, unlike a server that is away?"""
    return isinstance(trouble.__cause__, _HANGS_UP) or str(trouble).endswith("closed the connection")


def _other_protocol(connection: Connection, trouble: ConnectionBroken) -> AccessDenied:
    return AccessDenied(
        f"{trouble}, as a broker does that does not want security_protocol={security_protocol_of(connection)} there",
        "Say the right one of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL, or take another port.",
    )
