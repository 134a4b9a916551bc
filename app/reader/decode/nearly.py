"""Text that is nearly JSON, mended: Python's repr, JSON encoded twice, a comma too many, keys without quotes, NaN."""

import ast
import json
import re
import warnings
from typing import Any

_STRING = r'"(?:[^"\\]|\\.)*"'
_COMMA_TOO_MANY = re.compile(rf"({_STRING})|,(\s*[}}\]])")
_BARE_KEY = re.compile(rf"({_STRING}|'(?:[^'\\]|\\.)*')|([{{,]\s*)([A-Za-z_$][\w$]*)(?=\s*:)")
_PYTHON_WORDS = {"true": "True", "false": "False", "null": "None"}
_WORD = re.compile(rf"({_STRING}|'(?:[^'\\]|\\.)*')|\b(true|false|null)\b")
_ENCODINGS = 3  # times that JSON may have been put into JSON text


def mend(value: bytes) -> bytes | None:
    """The JSON object that `value` nearly is, or None: then `value` is something else.

    Never more than one object: a value with several of them stays a reject. NaN and Infinity become null.
    """
    text = _decode(value).strip().lstrip("\ufeff")
    for found in (_parse(text), _parse(_unwrap_line(text))):
        if isinstance(found, dict):
            try:
                return json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
            except (TypeError, ValueError, RecursionError):  # a set, bytes, half a surrogate pair
                return None
    return None


def remove_commas(text: str) -> str:
    """`text` without the commas before a closing bracket; those in strings stay."""
    return _COMMA_TOO_MANY.sub(lambda found: found[1] or found[2], text)


def parse_literal(text: str) -> Any:
    """The value of a Python literal, as str(dict) writes it; None for any other text."""
    if "'" not in text and not re.search(r"\b(?:None|True|False)\b", text):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in somebody's text
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


def _parse(text: str) -> Any:
    for _ in range(_ENCODINGS):
        found = _load(text)
        if not isinstance(found, str):
            break
        text = found
    if found is not None or text[:1] != "{":
        return found
    without = remove_commas(text)
    for tried in (without, quoted := _quote_keys(without)):
        if (found := _load(tried)) is not None:
            return found
    return parse_literal(text) or parse_literal(_WORD.sub(lambda at: at[1] or _PYTHON_WORDS[at[2]], quoted))


def _quote_keys(text: str) -> str:
    return _BARE_KEY.sub(lambda found: found[1] or f'{found[2]}"{found[3]}"', text)


def _unwrap_line(text: str) -> str:
    """One line of an array that was written line by line: `[{...},`, `{...},` or `{...}]` without its surroundings."""
    return text.removeprefix("[").rstrip().removesuffix("]").rstrip().removesuffix(",").strip()


def _load(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
