"""Secrets in headers, forms and JSON, masked wherever a game's data is shown or kept."""

import re
from typing import Any

MASKED_VALUE = "•••"
# names of columns, fields and headers that hold a secret; compared without case
SECRET_NAME = re.compile(
    r"authorization|cookie|passw|passphrase|pwd$|secret|token|credential|api[-_]?key|private[-_]?key|session[-_]?id"
    r"|csrf|otp$|^pin$|[._-]pin$|\bauth$",
    re.IGNORECASE,
)
# the same inside a text: "password": "x", password=x, Authorization: Basic x
_IN_JSON = re.compile(
    r"""(?P<name>["'](?:[^"'\\]{0,60}?)(?:authorization|cookie|passw|secret|token|credential|api[-_]?key)[^"'\\]{0,60}["']\s*:\s*)"""
    r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,}\]]+)""",
    re.IGNORECASE,
)
_IN_FORM = re.compile(
    r"(?P<name>\b[\w.-]{0,40}(?:passw|secret|token|credential|api[-_]?key)[\w.-]{0,40}=)[^\s&;,\"']+", re.IGNORECASE
)
_IN_HEADER = re.compile(
    r"(?P<name>\b(?:proxy-authorization|authorization|set-cookie|cookie|x-api-key)\s*[:=]\s*)[^\r\n\"',}]+",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Does a header, field or column of this name hold a secret?"""
    return bool(SECRET_NAME.search(name))


def masked_text(text: str) -> str:
    """`text` with the values of secrets masked: in JSON, in forms, in headers."""
    for pattern in (_IN_JSON, _IN_FORM, _IN_HEADER):
        text = pattern.sub(_mask, text)
    return text


def _mask(found: re.Match[str]) -> str:
    quote = '"' if found[0].rstrip().endswith('"') else ""
    return f"{found['name']}{quote}{MASKED_VALUE}{quote}"


def masked_value(name: str, value: Any) -> Any:
    """A value below a name: masked where the name is a secret's, and inside a structure or a text."""
    if isinstance(value, dict):
        return {key: masked_value(str(key), one) for key, one in value.items()}
    if isinstance(value, list):
        return [masked_value(name, one) for one in value]
    if is_secret_name(name):
        return value if value is None or value != value else MASKED_VALUE  # NaN stays missing
    if isinstance(value, bytes):
        return masked_text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return masked_text(value) if isinstance(value, str) else value
