"""A notebook's parameters cell, read without running it.

The cell tagged `parameters` holds one typed assignment a line, its meaning in a comment, limits at the comment's end:

    requests: int = 2000      # requests in all, 1..1000000
    cluster: str = "embedded" # where Kafka runs: embedded | compose
    way: str = "confirmed"    # how the game delivers: any way but outbox
    thorough: bool = False    # repeat every experiment 20 times

`any way` stands for all ways to deliver, `any way but A, B` for the others. A switch that ends in `20 times` makes a
run that much longer, so its limits of time are that much longer, too.
"""

import ast
import io
import json
import re
import tokenize
from pathlib import Path
from typing import Any

from streaming_lab.delivery.ways import DELIVERING
from streaming_lab.report.parameters import TYPES, Parameter, ParameterError, refuse_secret

RANGE = re.compile(r"(-?[\d_]+(?:\.\d+)?)\.\.(-?[\d_]+(?:\.\d+)?)\s*$")
TIMES = re.compile(r"\b(\d{1,4}) times\s*$")
CHOICES = re.compile(r"(?:^|[:,]\s+)([\w.-]+(?:\s*\|\s*[\w.-]+)+)\s*$")
ANY_WAY = re.compile(r"(?:^|[:,]\s+)any way(?: but ([\w-]+(?:, [\w-]+)*))?\s*$")


def read(notebook: Path) -> dict[str, Parameter]:
    """What `notebook` declares, in its order. Raises `ParameterError` for a cell that cannot be trusted."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, OSError) as error:
        raise ParameterError(
            f"{notebook.name} is not a notebook: {error}", "restore it: git checkout -- notebooks"
        ) from error
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(
            f"{notebook.name} has {len(tagged) or 'no'} cell{'s' * (len(tagged) > 1)} tagged parameters",
            'tag exactly one code cell "parameters" (it may be empty)',
        )
    return declared("".join(tagged[0]["source"]), notebook.name)


def declared(source: str, where: str) -> dict[str, Parameter]:
    """The assignments of one parameters cell, with their comments."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ParameterError(
            f"{where}: the parameters cell does not parse: {error}", "one typed assignment a line"
        ) from error
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, Parameter] = {}
    for statement in statements:
        parameter = declaration(statement, comments.get(statement.end_lineno or 0, ""), where)
        if parameter.name in found:
            raise ParameterError(
                f"{where}: the parameter {parameter.name} is declared twice", "keep one of the two lines"
            )
        found[parameter.name] = parameter
    return found


def declaration(statement: ast.stmt, comment: str, where: str) -> Parameter:
    """One `name: type = literal  # meaning, limits`; anything else (a derived value, an expression) is refused."""
    line = ast.unparse(statement)
    cure = "a parameter is one line: name: int|float|str|bool = value  # meaning, low..high"
    if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
        raise ParameterError(f"{where}: not a typed assignment in the parameters cell: {line}", cure)
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    refuse_secret(name)
    try:
        default: Any = ast.literal_eval(statement.value)
    except ValueError:
        raise ParameterError(f"{where}: {name} is derived, not a value: {line}", "derive it in a later cell") from None
    if kind == "float" and isinstance(default, int) and not isinstance(default, bool):
        default = float(default)
    value: Any = default
    if kind not in TYPES or type(default) is not TYPES[kind]:
        raise ParameterError(f"{where}: {line} is not of a type that a command line can carry", cure)
    match = TIMES.search(comment) if kind == "bool" else None
    parameter = Parameter(name, kind, value, *meaning(comment, kind), times=int(match[1]) if match else 1)
    parameter.within(value)
    return parameter


def meaning(comment: str, kind: str) -> tuple[str, float | None, float | None, tuple[str, ...]]:
    """A comment taken apart: what it says, the range `low..high` of a number, the choices of a text."""
    if kind in ("int", "float") and (match := RANGE.search(comment)):
        low, high = (float(part.replace("_", "")) for part in match.groups())
        return comment[: match.start()].rstrip(" ,:;"), low, high, ()
    if kind == "str" and (match := ANY_WAY.search(comment)):
        left = (match[1] or "").split(", ")
        return comment[: match.start()].rstrip(" ,:;"), None, None, tuple(w for w in DELIVERING if w not in left)
    if kind == "str" and (match := CHOICES.search(comment)):
        return comment[: match.start()].rstrip(" ,:;"), None, None, tuple(re.split(r"\s*\|\s*", match.group(1)))
    return comment, None, None, ()
