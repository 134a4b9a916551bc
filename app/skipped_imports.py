"""Imports that others make and nobody here uses, skipped or put off: two formats, pandas in a game, Kafka's clients.

Measured in fresh processes, in seconds of CPU: altair 0.67 and not 1.75, the report's libraries 0.56 and not 1.68, all
that a game process needs 0.45 and not 0.65, the import of `read_topic` 0.50 and not 0.79.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_FORMATS = ("rfc3987_syntax", "isoduration")  # jsonschema treats both as optional


class _Skip(MetaPathFinder):
    """Says of some modules that they are not installed."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self.names:
            raise ModuleNotFoundError(f"{fullname} is not used in this process", name=fullname)
        return None


def skip_schema_formats() -> None:
    """Keep jsonschema from building a grammar of IRIs, 1.1 s at its import, and a parser of durations, 0.06 s.

    Nothing here is checked by either.
    """
    sys.meta_path.insert(0, _Skip(*_FORMATS))


def skip_pandas() -> None:
    """Keep pyarrow from importing pandas, which it does with the first array; then nobody in this process has it."""
    sys.meta_path.insert(0, _Skip("pandas"))


@contextmanager
def schema_formats_skipped() -> Iterator[None]:
    """`skip_schema_formats` for the imports within: for code that runs in other people's processes."""
    skip = _Skip(*_FORMATS)
    sys.meta_path.insert(0, skip)
    try:
        yield
    finally:
        sys.meta_path.remove(skip)


class _Deferred(ModuleType):
    """A package whose submodules can be imported before its own code runs, which is when it is asked for a name."""

    _runs = False  # what it imports may ask for names that are not there yet

    def __getattr__(self, name: str) -> Any:
        if name in _PUBLIC or not name.startswith("__"):  # the others are asked for by who looks into every module
            with _RUNNING:
                _run_once(self)
        return object.__getattribute__(self, name)


_MESSAGES = ("kafka.protocol.consumer", "kafka.protocol.metadata")  # packages that import all their messages
_PUBLIC = ("__all__", "__version__")
_RUNNING = threading.RLock()


def _run_once(package: ModuleType) -> None:
    """Run a deferred package's own code; no function of its class, which another thread may have changed meanwhile."""
    if type(package) is _Deferred and not package._runs:
        package._runs = True
        try:
            assert package.__spec__ is not None
            assert package.__spec__.loader is not None
            package.__spec__.loader.exec_module(package)
        finally:
            del package._runs
        package.__class__ = ModuleType  # type: ignore[assignment]


def defer_kafka() -> None:
    """Let `import kafka.protocol...` not import kafka-python's clients, or messages beside the one that is imported.

    `from kafka import KafkaProducer` imports them all the same. Without effect where kafka-python is imported already.
    """
    if "kafka" in sys.modules or not _defer("kafka"):
        return
    import_module("kafka.errors")  # its submodules ask the package for this one name
    for name in _MESSAGES:
        _defer(name)


def _defer(name: str) -> bool:
    """Put a package that has not run into `sys.modules`; False when it is not installed."""
    spec = find_spec(name)
    if spec is not None:
        package = module_from_spec(spec)
        package.__class__ = _Deferred
        sys.modules[name] = package
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, package)
    return spec is not None
