"""Imports without the parts that cost seconds and that the lab does not use."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_GRAMMAR = "rfc3987_syntax"


def skip_iri_grammar() -> None:
    """Keep jsonschema from building a grammar of IRIs: it takes 1.3 s at import, and nothing here is checked by it.

    jsonschema treats `rfc3987_syntax` as optional; None in `sys.modules` is how Python says that it is not there.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault(_GRAMMAR, None)


@contextmanager
def iri_grammar_skipped() -> Iterator[None]:
    """The same for the imports within: for code that runs in other people's processes."""
    hidden = not {"jsonschema", _GRAMMAR} & sys.modules.keys()
    if hidden:
        skip_iri_grammar()
    try:
        yield
    finally:
        if hidden:
            del sys.modules[_GRAMMAR]
