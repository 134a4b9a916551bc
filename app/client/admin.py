"""kafka-python's admin client for a few requests, and the errors of an address where no broker answers as one."""

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import kafka.errors as kafka_errors

from streaming_lab.client import preflight
from streaming_lab.client.connection import Connection, addresses, kafka_python_settings
from streaming_lab.client.errors import AccessDenied, BrokerUnavailable
from streaming_lab.client.preflight import RETRY_INTERVAL

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

ADMIN_TIMEOUT = 4.0  # seconds until a silent broker is an error; a person waits less than five

_T = TypeVar("_T")

_SILENT = (
    kafka_errors.KafkaTimeoutError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.RequestTimedOutError,
)


_NO_ANSWERS = (kafka_errors.KafkaProtocolError, kafka_errors.IncompatibleBrokerVersion)
_DECODER_ERRORS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError, struct.error)


def _is_from_kafka_python(error: BaseException) -> bool:
    """Was the error raised in kafka-python, by bytes that are no answer, and not in the lab's own code?"""
    trace = error.__traceback__
    modules = set()
    while trace is not None:
        modules.add(trace.tb_frame.f_globals.get("__name__", "").partition(".")[0])
        trace = trace.tb_next
    return "kafka" in modules


def _no_kafka(connection: Connection, error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"what answers at {addresses(connection)} gives answers that are none of Kafka's ({type(error).__name__})",
        "Check the address: is it a Kafka broker, and is nothing in between?",
    )


def denied(connection: Connection, error: Exception, what: str = "") -> AccessDenied:
    """The error for a request that the brokers' access lists forbid; `what` is named where kafka-python does not."""
    user = connection.get("sasl_plain_username")
    whom = f"user {user!r}" if user else "this client, which names no user,"
    about = what or (str(error.args[0]) if error.args else "this cluster")
    return AccessDenied(
        f"{whom} has no right to do this on {about} ({type(error).__name__})",
        "Let whoever runs the brokers add an access list entry (kafka-acls), or take another user.",
    )


def request_timeout(left: float) -> float:
    """Seconds for each of the few requests that describe a topic, so that together they end within `left` seconds."""
    return max(0.2, min(ADMIN_TIMEOUT, left / 5))


@contextmanager
def admin_client(connection: Connection, timeout: float) -> Iterator["KafkaAdminClient"]:
    """kafka-python's admin client for a few requests; no answer within `timeout` seconds raises `BrokerUnavailable`.

    A broker that refuses the connection raises `AccessDenied`.
    """
    from kafka import KafkaAdminClient  # 0.1 s, which a reader that asks for nothing else need not wait

    started = time.monotonic()
    admin, server = None, ""
    try:
        server = preflight.find_accepting_server(connection, started + timeout)
        patience = max(1, int((started + timeout - time.monotonic()) * 1000))
        settings = {**kafka_python_settings(connection), "bootstrap_servers": [server]}
        admin = KafkaAdminClient(**settings, bootstrap_timeout_ms=patience, request_timeout_ms=patience)
        setup = {f"socket_connection_setup_timeout_{which}": patience for which in ("ms", "max_ms")}
        admin._manager.config.update(setup)  # to a paused broker its default of 10 s would outlive the call
        yield admin
    except kafka_errors.AuthorizationError as error:
        raise denied(connection, error) from error
    except _SILENT as error:
        if server:  # it answered just now
            preflight.raise_if_misled({**connection, "bootstrap_servers": [server]})
        waited = time.monotonic() - started
        raise BrokerUnavailable(
            f"no broker answers at {addresses(connection)} (waited {waited:.1f} s)",
            "Start one with `python3 scripts/cluster.py start`, or correct the address.",
        ) from error
    except _NO_ANSWERS as error:
        raise _no_kafka(connection, error) from error
    except _DECODER_ERRORS as error:
        if not _is_from_kafka_python(error):
            raise
        raise _no_kafka(connection, error) from error
    finally:
        if admin is not None:
            admin.close()


def ask_admin(connection: Connection, timeout: float, question: "Callable[[KafkaAdminClient], _T]") -> _T:
    """The answer to a question; a connection that breaks is made again within `timeout` seconds.

    One "socket disconnected" is no broker's absence: brokers drop a connection while they start and elect, and now and
    then at the first request after an OAUTHBEARER exchange.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            with admin_client(connection, deadline - time.monotonic()) as admin:
                return question(admin)
        except BrokerUnavailable as error:
            broke = isinstance(error.__cause__, kafka_errors.KafkaConnectionError)
            if not broke or time.monotonic() + RETRY_INTERVAL > deadline:
                raise
        time.sleep(RETRY_INTERVAL)
