"""What the cells of a notebook import."""

import ast
from collections.abc import Iterable


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
