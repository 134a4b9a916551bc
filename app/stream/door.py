"""Whether a broker lets this connection in, and if not, why: kafka-python's clients only try until their time is up."""

import ssl
import time
from contextlib import suppress
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.sasl import SASL_MECHANISMS
from kafka.net.sasl.abc import SaslMechanism
from kafka.protocol.metadata import MetadataRequest, MetadataResponse
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

from app.errors import LabError
from app.stream.connection import Connection, addresses, security
from app.stream.layout import parse_addresses
from app.stream.tls import CHECK_FILES, NotLetIn, context
from app.stream.wire import Link, TlsSpoken, Unsupported, WireError
from app.waiting import wait_until

RETRY = 0.05  # seconds between two rounds of knocking
_LEAST = 0.1  # seconds that one server has in any case
_KNOCK = 2.0  # seconds for one server, so that a frozen one does not hide the next
_INSIST = 1.0  # seconds after which who hangs up each time is no broker that is just starting or ending
_EXPLAIN = 0.5  # seconds for a server that was heard of before
_WITH_USER = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_HANGS_UP = (ssl.SSLError, ConnectionResetError, BrokenPipeError)

_CHECK_USER = "Check sasl_mechanism, sasl_plain_username, sasl_plain_password and other sasl_ names of the connection."


def find(connection: Connection, deadline: float, insist: float = _INSIST) -> str:
    """The first bootstrap server (host:port) that lets us in: TLS, versions, SASL and a first question.

    kafka-python leaks a socket or a thread for each attempt that fails there, so its clients ask here first. Raises
    `NotLetIn` with the reason: at once, or after `insist` seconds where another try could do better. When nobody
    answers until `deadline` (monotonic seconds) it is kafka-python's `KafkaConnectionError`.
    """
    tls, started = context(connection), time.monotonic()
    troubles: list[WireError] = []

    def first_open() -> str:
        troubles.clear()
        for server in addresses(connection).split(","):
            try:
                door = _Door(server, connection, tls, _patience(deadline))
                with door:
                    door.enter()
                return server
            except Unsupported:
                return server  # for the client to judge
            except TlsSpoken as error:
                raise _other_protocol(connection, error) from error
            except WireError as error:
                troubles.append(error)
        if all(map(_hung_up, troubles)) and time.monotonic() - started > insist:
            raise _other_protocol(connection, troubles[0]) from troubles[0]
        return ""

    def nobody() -> kafka_errors.KafkaConnectionError:
        return kafka_errors.KafkaConnectionError("; ".join(map(str, troubles)))

    return wait_until(first_open, deadline - RETRY - time.monotonic(), nobody, RETRY)


def explain(connection: Connection) -> None:
    """Raise `NotLetIn` if that is why a client got no answer."""
    with suppress(kafka_errors.KafkaConnectionError):
        find(connection, time.monotonic() + _EXPLAIN, insist=0.0)


def verdict(connection: Connection) -> str:
    """What happens at the door now, in a sentence: for those who log it and go on. Half a second at most."""
    try:
        return f"{find(connection, time.monotonic() + _EXPLAIN, insist=0.0)} answers"
    except NotLetIn as error:
        return f"{error.problem}. {error.cure}"
    except kafka_errors.KafkaConnectionError as error:
        return f"no broker answers: {error}"


class _Door(Link):
    """A link that is opened as the connection says, to be closed again."""

    def __init__(self, server: str, connection: Connection, tls: ssl.SSLContext | None, deadline: float) -> None:
        self._connection, self._tls = connection, tls
        super().__init__(parse_addresses(server)[0], deadline)

    def enter(self) -> None:
        """All that stands before a client's first question, and that question."""
        if "SASL" in security(self._connection):
            self._authenticate(str(self._connection.get("sasl_mechanism")))
        version = self.version(MetadataRequest, 1)
        self.ask(MetadataRequest(version=version, topics=[], allow_auto_topic_creation=False), MetadataResponse)

    def receive(self) -> tuple[Any, bytearray]:
        try:
            return super().receive()
        except WireError as error:  # TLS 1.3 tells only now that our own certificate does not do
            if isinstance(error.__cause__, ssl.SSLError) and "CERT" in str(error.__cause__.reason):
                raise self._refused(str(error.__cause__.reason), CHECK_FILES) from error
            raise

    def _api_versions(self) -> dict[int, tuple[int, int]]:
        if self._tls is not None:
            try:
                self._socket = self._tls.wrap_socket(self._socket, server_hostname=self.address[0])
            except ssl.SSLCertVerificationError as error:
                raise self._refused(
                    f"its certificate is not trusted ({error.verify_message})",
                    "Name the authority's file as ssl_cafile, and the broker as its certificate does.",
                ) from error
            except OSError as error:
                raise WireError(f"{self}: {error}") from error
        return super()._api_versions()

    def _authenticate(self, mechanism: str) -> None:
        shaken = self.ask(SaslHandshakeRequest(version=1, mechanism=mechanism), SaslHandshakeResponse)
        if shaken.error_code or mechanism not in SASL_MECHANISMS:
            offered = ", ".join(shaken.mechanisms) or "no SASL at all"
            raise self._refused(f"sasl_mechanism {mechanism!r} is not possible, it offers {offered}", _CHECK_USER)
        user = self._connection.get("sasl_plain_username")
        if mechanism in _WITH_USER and not (user and self._connection.get("sasl_plain_password")):
            raise self._refused(f"{mechanism} needs a user and a password", _CHECK_USER)
        try:
            self._exchange(SASL_MECHANISMS[mechanism](host=self.address[0], **self._connection), mechanism)
        except (LabError, WireError, Unsupported):
            raise
        except Exception as error:  # of a mechanism's library, a token's provider, a server that can't prove itself
            raise self._refused(f"{mechanism} failed on this side: {error}", _CHECK_USER) from error

    def _exchange(self, exchange: SaslMechanism, mechanism: str) -> None:
        version = self.version(SaslAuthenticateRequest)
        while not exchange.is_done():
            request = SaslAuthenticateRequest(version=version, auth_bytes=exchange.auth_bytes())
            answer = self.ask(request, SaslAuthenticateResponse)
            if answer.error_code:
                user = self._connection.get("sasl_plain_username")
                raise self._refused(f"user {user!r}, {mechanism}: {answer.error_message}", _CHECK_USER)
            exchange.receive(bytes(answer.auth_bytes))

    def _refused(self, why: str, cure: str) -> NotLetIn:
        return NotLetIn(f"the broker at {self} does not let us in: {why}", cure)


def _patience(deadline: float) -> float:
    now = time.monotonic()
    return max(now + _LEAST, min(now + _KNOCK, deadline))


def _hung_up(trouble: WireError) -> bool:
    """Did it open its port and close the connection, other than one that is away?"""
    return isinstance(trouble.__cause__, _HANGS_UP) or str(trouble).endswith("closed the connection")


def _other_protocol(connection: Connection, trouble: WireError) -> NotLetIn:
    return NotLetIn(
        f"{trouble}, as a broker does that does not want security_protocol={security(connection)} at this port",
        "Say the right one of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL, or take another port.",
    )
