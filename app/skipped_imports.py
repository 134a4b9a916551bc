"""Two imports that others make and nobody here uses, skipped: a grammar (1.1 s of CPU) and pandas in a game (0.2 s).

Both were measured in fresh processes, in seconds of CPU: altair 0.67 and not 1.75, the report's libraries 0.56 and not
1.68, all that a game process needs 0.45 and not 0.65.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_GRAMMAR = "rfc3987_syntax"


class _Skip(MetaPathFinder):
    """Says of one module that it is not installed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == self.name:
            raise ModuleNotFoundError(f"{fullname} is not used in this process", name=fullname)
        return None


def skip_iri_grammar() -> None:
    """Keep jsonschema from building a grammar of IRIs: it takes 1.1 s at import, and nothing here is checked by it.

    jsonschema treats `rfc3987_syntax` as optional.
    """
    sys.meta_path.insert(0, _Skip(_GRAMMAR))


def skip_pandas() -> None:
    """Keep pyarrow from importing pandas, which it does with the first array; then nobody in this process has it."""
    sys.meta_path.insert(0, _Skip("pandas"))


@contextmanager
def iri_grammar_skipped() -> Iterator[None]:
    """`skip_iri_grammar` for the imports within: for code that runs in other people's processes."""
    skip = _Skip(_GRAMMAR)
    sys.meta_path.insert(0, skip)
    try:
        yield
    finally:
        sys.meta_path.remove(skip)
