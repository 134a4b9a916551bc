"""The routes of a game: its rules, methods and arguments, and the fields that the source of each view reads."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

FIRED = ("GET", "POST", "PUT", "PATCH", "DELETE")  # methods in the order in which one of several is chosen
ANY = "Any of "  # begins the kind of an argument with a list of values
PLACES = {"args": "query", "form": "form", "values": "query", "json": "json", "get_json": "json"}


@dataclass(frozen=True)
class Route:
    """One rule with one method: its arguments (name -> converter) and its fields (query, form or json -> names).

    `weight` is its share of the requests; `fixed` are values that a person gave for arguments and fields, `headers`
    those for headers.
    """

    rule: str
    method: str
    endpoint: str = ""
    where: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weight: float = 1.0
    fixed: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Method and rule: `POST /swords/<name>`."""
        return f"{self.method} {self.rule}"

    def to_json(self) -> dict[str, Any]:
        """The route as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Route":
        """The route that `to_json` wrote."""
        return cls(**{**raw, "fields": {place: tuple(names) for place, names in raw["fields"].items()}})


def find_routes(app: "Flask", root: Path) -> list[Route]:
    """A route for each rule and method of the app, in the rules' order; static files, HEAD and OPTIONS are left out."""
    return [
        Route(
            rule.rule,
            method,
            rule.endpoint,
            where_defined(view, root),
            {name: kind_of_argument(converter) for name, converter in rule._converters.items()},
            fields_read(view),
        )
        for rule in app.url_map.iter_rules()
        for method in FIRED
        if method in (rule.methods or ()) and rule.endpoint.rpartition(".")[2] != "static"
        for view in [view_of(app, rule.endpoint, method)]
    ]


def kind_of_argument(converter: Any) -> str:
    """The kind of an argument, as `Integer` or `Any of iron, gold`."""
    items = sorted(getattr(converter, "items", ()))
    return f"{ANY}{', '.join(items)}" if items else type(converter).__name__.removesuffix("Converter")


def view_of(app: "Flask", endpoint: str, method: str) -> Any:
    """The function that answers: a view, or a method of a class of views."""
    view = app.view_functions.get(endpoint)
    one = getattr(view, "view_class", None)
    return view if one is None else getattr(one, method.lower(), None) or one.dispatch_request


def where_defined(view: Any, root: Path) -> str:
    """The line where a view begins, below the game's folder."""
    code = getattr(inspect.unwrap(view), "__code__", None) if callable(view) else None
    if code is None:
        return ""
    file = Path(code.co_filename)
    name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
    return f"{name}:{code.co_firstlineno}"


def fields_read(view: Any) -> dict[str, tuple[str, ...]]:
    """The fields that a view's source reads: `request.args.get("n")`, `request.form["n"]`, `data = request.json`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(view))))
    except (OSError, TypeError, SyntaxError):
        return {}
    aliases = dict(_aliases(tree))
    found: dict[str, dict[str, None]] = {}
    for node in ast.walk(tree):
        for place, name in _field(node, aliases):
            found.setdefault(place, {})[name] = None
    for place in aliases.values():
        found.setdefault(place, {})
    for node in ast.walk(tree):  # a body that is read as a whole
        if place := _place(node, aliases):
            found.setdefault(place, {})
    return {place: tuple(names) for place, names in found.items()}


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.BoolOp):  # request.get_json() or {}
                value = value.values[0]
            if place := _place(value, {}):
                yield node.targets[0].id, place


def _place(node: ast.AST, aliases: Mapping[str, str]) -> str:
    """The place that an expression stands for: `request.args`, `request.get_json()`, or a name for one of these."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Name):
        return aliases.get(node.id, "")
    inner = node.value if isinstance(node, ast.Attribute) else None
    of_request = (isinstance(inner, ast.Name) and inner.id == "request") or (
        isinstance(inner, ast.Attribute) and inner.attr == "request"  # flask.request.args
    )
    return PLACES.get(node.attr, "") if of_request and isinstance(node, ast.Attribute) else ""


def _field(node: ast.AST, aliases: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    name: Any = None
    if isinstance(node, ast.Subscript):
        place, name = _place(node.value, aliases), node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "getlist"):
        place, name = _place(node.func.value, aliases), node.args[0] if node.args else None
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In):
        place, name = _place(node.comparators[0], aliases), node.left
    if isinstance(name, ast.Constant) and isinstance(name.value, str) and place:
        yield place, name.value
