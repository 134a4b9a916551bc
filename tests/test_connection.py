"""One mapping tells every client where Kafka is."""

import time

import pytest

from streaming_lab.client.connection import (
    GOOD_FOR,
    addresses,
    connection_for,
    expiry,
    librdkafka_settings,
    without_secrets,
)
from streaming_lab.errors import LabError


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("127.0.0.1:9092", ["127.0.0.1:9092"]),
        ("one:9092, two-2.example:19092", ["one:9092", "two-2.example:19092"]),
        ("[::1]:9092", ["[::1]:9092"]),
    ],
)
def test_addresses_become_a_mapping_and_text_again(text: str, servers: list[str]) -> None:
    """What a person types is what every client gets."""
    connection = connection_for(text)
    assert connection == {"bootstrap_servers": servers}
    assert addresses(connection) == text.replace(" ", "")


@pytest.mark.parametrize(
    "piece", ["localhost", "host:", ":9092", "host:0", "host:65536", "host:9o92", "ho st:9092", ""]
)
def test_a_bad_piece_is_named(piece: str) -> None:
    """The error names the piece and shows the form."""
    with pytest.raises(LabError) as caught:
        connection_for(f"good:9092,{piece}")
    assert caught.value.problem == f"{piece!r} in {'good:9092,' + piece!r} is not host:port"
    assert "127.0.0.1:9092" in caught.value.cure


def test_librdkafka_gets_the_same_connection_in_its_own_names() -> None:
    """Security travels with the addresses."""
    connection = {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
        "ssl_check_hostname": False,
    }
    assert librdkafka_settings(connection) == {
        "bootstrap.servers": "a:1,b:2",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": "p",
        "ssl.endpoint.identification.algorithm": "none",
    }


def test_a_key_without_counterpart_is_named() -> None:
    """Nothing of a connection is dropped in silence."""
    with pytest.raises(LabError, match="'ssl_context' has no counterpart"):
        librdkafka_settings({"bootstrap_servers": "a:1", "ssl_context": object()})


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.W10.c", "a.eyJleHAiOm51bGx9.c"])
def test_a_token_that_does_not_say_until_when(token: str) -> None:
    """It is taken to be good for a while."""
    assert expiry(token) == pytest.approx(time.time() + GOOD_FOR, abs=5)


def test_a_token_that_does() -> None:
    """{"exp": 1893456000}, without padding, as JSON Web Tokens have it."""
    assert expiry("a.eyJleHAiOiAxODkzNDU2MDAwfQ.c") == 1893456000


def test_a_connection_is_shown_without_its_secrets() -> None:
    """Passwords and token providers are covered, addresses and names are not."""
    given = {"bootstrap_servers": ["a:1"], "sasl_plain_username": "ada", "sasl_plain_password": "hunter2"}
    shown = without_secrets({**given, "ssl_password": None, "sasl_oauth_token_provider": object()})
    hidden = {"sasl_plain_password": "***", "ssl_password": None, "sasl_oauth_token_provider": "***"}
    assert shown == {**given, **hidden}
