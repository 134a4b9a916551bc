"""Imports without the parts that cost seconds and that the lab does not use."""

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
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


def kafka_package_alone() -> None:
    """Let `kafka.protocol` and the like be imported without what `kafka` itself imports: all clients and their needs.

    Unless it is imported already, a stand-in takes its place, and imports the rest when one of its names is asked for.
    """
    spec = importlib.util.find_spec("kafka") if "kafka" not in sys.modules else None
    if spec is not None:
        sys.modules["kafka"] = _Package(spec)


class _Package(ModuleType):
    """The package `kafka`: its submodules can be imported, its own names come with the first that is asked for."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__ = spec, spec.loader, spec.origin
        self.__path__ = list(spec.submodule_search_locations or ())
        self.__package__ = spec.name
        self._importing = threading.RLock()
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there: import the package in earnest, once."""
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)  # asked by inspect and its like, of any module
        with self._importing:
            if not self._begun:
                self._begun = True
                assert self.__spec__ is not None
                assert self.__spec__.loader is not None
                self.__spec__.loader.exec_module(self)
            try:
                return self.__dict__[name]
            except KeyError:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None
