"""A game's module, imported as it is, and the Flask app in it; each way in which that fails has an error of its own."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from flask import Flask

from streaming_lab.errors import LabError
from streaming_lab.own_game.journal import error_line
from streaming_lab.own_game.source import GameSource

FACTORIES = ("create_app", "make_app", "app_factory")


def load_app(source: GameSource) -> tuple[Flask, ModuleType]:
    """The Flask app of a game and its module; raises `LabError` with the reason and the line in the game's source."""
    with served_elsewhere():
        module = import_game(source)
        return find_app(module, source), module


def import_game(source: GameSource) -> ModuleType:
    """The game's module; its folder comes first on the path, so that its own `app` or `helpers` are found there."""
    sys.path.insert(0, str(source.root))
    try:
        return _import(source)
    except ModuleNotFoundError as error:
        raise LabError(*_missing(error, source)) from error
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise LabError(f"{source.name} can't be read: {error.msg} ({where})", "Is it written for Python 3?") from error
    except SystemExit as error:
        raise LabError(
            f"{source.name} ends itself while it is imported (exit code {error.code}){_line(error, source)}",
            'Put what ends it under `if __name__ == "__main__":`.',
        ) from error
    except LabError as error:
        raise LabError(f"{source.name}: {error.problem}{_line(error, source)}", error.cure) from error
    except Exception as error:
        raise LabError(
            f"{source.name} fails while it is imported: {error_line(error)}{_line(error, source)}",
            "Does it start with `flask --app` in its own folder?",
        ) from error


def _import(source: GameSource) -> ModuleType:
    if "." in source.module or source.file.name == "__init__.py":
        return importlib.import_module(source.module)
    name = source.module if source.module not in sys.modules else f"{source.module}_of_the_game"
    spec = importlib.util.spec_from_file_location(name, source.file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: Flask asks there for its folder
    spec.loader.exec_module(module)
    return module


def _missing(error: ModuleNotFoundError, source: GameSource) -> tuple[str, str]:
    package = (error.name or "").partition(".")[0]
    if (source.root / package).exists() or (source.root / f"{package}.py").exists():
        return f"{source.name} can't be imported: {error}{_line(error, source)}", "Is a file of the game missing?"
    return (
        f"{source.name} needs the package {package}, which is not installed here{_line(error, source)}",
        f"Install it beside the lab: {sys.executable} -m pip install {package}",
    )


def _line(error: BaseException, source: GameSource) -> str:
    """The innermost line of the game in the error's traceback."""
    lines = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(str(source.root))]
    return f", line {lines[-1].lineno}: {lines[-1].line}" if lines and lines[-1].line else ""


def find_app(module: ModuleType, source: GameSource) -> Flask:
    """The app that the source names, otherwise `app`, `create_app()`, or the module's only Flask app."""
    names = vars(module)
    if source.attribute:
        if source.attribute not in names:
            raise LabError(f"{source.name} has no {source.attribute}", _apps_of(names))
        return _as_app(names[source.attribute], source.attribute, source)
    if isinstance(names.get("app"), Flask):
        return _as_app(names["app"], "app", source)
    for name in FACTORIES:
        if callable(names.get(name)):
            return _as_app(names[name], name, source)
    apps = {id(value): name for name, value in names.items() if isinstance(value, Flask)}
    if len(apps) == 1:
        return _as_app(names[next(iter(apps.values()))], next(iter(apps.values())), source)
    if apps:
        raise LabError(f"{source.name} has several Flask apps", _apps_of(names))
    raise LabError(
        f"{source.name} has no Flask app: neither an `app` nor a `create_app`", "Name it: -p game FILE:the_app"
    )


def _as_app(value: Any, name: str, source: GameSource) -> Flask:
    if not isinstance(value, Flask) and callable(value):
        try:
            value = value()
        except Exception as error:
            raise LabError(
                f"{source.name}: {name}() fails: {error_line(error)}{_line(error, source)}",
                "The lab calls it without arguments.",
            ) from error
    if not isinstance(value, Flask):
        raise LabError(f"{source.name}: {name} is no Flask app but {type(value).__name__}", "Name a Flask app.")
    return value


def _apps_of(names: dict[str, Any]) -> str:
    apps = sorted(name for name, value in names.items() if isinstance(value, Flask))
    return f"Name one of: {', '.join(apps)}" if apps else "Name its Flask app: -p game FILE:the_app"


@contextmanager
def served_elsewhere() -> Iterator[None]:
    """A call of `app.run()` outside `__main__` serves nothing: the lab's own server does."""
    original = Flask.run
    Flask.run = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Flask.run = original  # type: ignore[method-assign]
