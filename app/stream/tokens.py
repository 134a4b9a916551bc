"""OAUTHBEARER tokens as librdkafka wants them: kafka-python asks a provider, librdkafka a function."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

GOOD_FOR = 300.0  # seconds; what is believed of a token that does not say until when

Token: TypeAlias = tuple[str, float, str, dict[str, str]]  # token, expiry in seconds UTC, principal, extensions


class Provider(Protocol):
    """kafka-python's `kafka.net.sasl.oauth.AbstractTokenProvider`."""

    def token(self) -> str: ...
    def extensions(self) -> dict[str, str]: ...


def asking(provider: Provider) -> Callable[[Any], Token]:
    """The provider as an `oauth_cb` (confluent-kafka): called again when four fifths of a token's time are over."""

    def ask(_: Any) -> Token:
        token = provider.token()
        return token, expiry(token), "", dict(provider.extensions())

    return ask


def expiry(token: str) -> float:
    """Until when a token is good, in seconds UTC: the claim `exp` of a JSON Web Token (RFC 7519), or `GOOD_FOR`."""
    try:
        claims = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return time.time() + GOOD_FOR
