"""Imports, as far as they cost seconds."""

import ast
import sys
from collections.abc import Iterable
from typing import Any


def skip_iri_grammar() -> None:
    """Keep jsonschema from building a grammar of IRIs, which takes 1.3 s at import and which no notebook is checked by.

    jsonschema treats `rfc3987_syntax` as optional; None in `sys.modules` is how Python says that it is not there.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("rfc3987_syntax", None)


def imported_by(sources: Iterable[str]) -> list[str]:
    """The modules that these cells import on their top level, in order."""
    found: dict[str, None] = {}
    for source in sources:
        for statement in statements(source):
            if isinstance(statement, ast.Import):
                found |= dict.fromkeys(alias.name for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                found[statement.module] = None
                found |= dict.fromkeys(f"{statement.module}.{alias.name}" for alias in statement.names)
    return list(found)


def statements(source: str) -> list[ast.stmt]:
    """A cell's statements; none for what only IPython understands."""
    try:
        return ast.parse(source).body
    except SyntaxError:
        return []
