"""The chapters' parameters: their declarations in the notebooks, and the values given with -p, checked.

Imports nothing heavy: a mistyped parameter is refused in well under a second.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from streaming_lab.delivery.ways import DELIVERING
from streaming_lab.errors import LabError
from streaming_lab.wording import did_you_mean

Value = bool | int | float | str
PARAMETER_TYPES = {"bool": bool, "int": int, "float": float, "str": str}
PARAMETER_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}
SECRET = re.compile(r"password|passwd|token|secret|credential|api_?key", re.IGNORECASE)


class ParameterError(LabError):
    """A parameter that no chapter takes: unknown, of the wrong type, out of its range, or a secret."""


@dataclass(frozen=True)
class Parameter:
    """One parameter as its notebook declares it; a switch with `times` repeats the work that often when true."""

    name: str
    type: str
    default: Value
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    times: int = 1

    def parse(self, text: str) -> Value:
        """The value of `text`; raises `ParameterError` with the expected type, range or choices."""
        value = READERS[self.type](text.strip() if self.type != "str" else text)
        if value is None:
            raise ParameterError(
                f"{self.name} = {text}: expected {PARAMETER_KINDS[self.type]}",
                f"for example: -p {self.name} {format_value(self.default)}",
            )
        return self.within(value)

    def within(self, value: Value) -> Value:
        """`value`, if it is inside the declared range or among the choices; raises `ParameterError` otherwise."""
        if self.low is not None and self.high is not None and not self.low <= float(value) <= self.high:
            raise ParameterError(
                f"{self.name} = {format_value(value)} is out of range",
                f"{self.name} takes {self.limits()}: {self.meaning}",
            )
        if self.choices and value not in self.choices:
            raise ParameterError(
                f"{self.name} = {format_value(value)} is not a choice{did_you_mean(str(value), self.choices)}",
                f"{self.name} takes {self.limits()}",
            )
        return value

    def limits(self) -> str:
        """The declared range or choices in words; empty when there are none."""
        if self.choices:
            return ", ".join(self.choices[:-1]) + f" or {self.choices[-1]}"
        return f"{self.low:.15g} to {self.high:.15g}" if self.low is not None else ""


def read_bool(text: str) -> bool | None:
    """True or False by name, in any case."""
    return {"true": True, "false": False}.get(text.lower())


def read_int(text: str) -> int | None:
    """A whole number in any notation: 1000, 1_000, 1e3, 1000.0."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or number.adjusted() > 18 or number != number.to_integral_value():
        return None
    return int(number)


def read_float(text: str) -> float | None:
    """A finite number."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def read_str(text: str) -> str | None:
    """Text on one line."""
    return text if text.isprintable() else None


READERS = {"bool": read_bool, "int": read_int, "float": read_float, "str": read_str}


def merge_parameters(chapters: Mapping[str, Mapping[str, Parameter]]) -> dict[str, Parameter]:
    """All chapters' parameters as one set: a name in two of them must have one type, default and meaning."""
    merged: dict[str, Parameter] = {}
    home: dict[str, str] = {}
    for chapter, parameters in chapters.items():
        for name, parameter in parameters.items():
            first = merged.setdefault(name, parameter)
            if first != parameter:
                raise ParameterError(
                    f"{name} differs in {home[name]} and {chapter}: "
                    f"{describe_parameter(first)} and {describe_parameter(parameter)}",
                    "give it one type, default and meaning, or two names",
                )
            home.setdefault(name, chapter)
    return merged


def check_parameters(
    given: Iterable[Sequence[str]], known: Mapping[str, Parameter], elsewhere: Mapping[str, str] = {}
) -> dict[str, Value]:
    """The typed values of `-p name value` pairs; `elsewhere` maps names to chapters that do not run."""
    values: dict[str, Value] = {}
    for name, text in given:
        refuse_secret(name)
        if name in values:
            raise ParameterError(f"-p {name} is given twice", "keep one of the two")
        if name not in known:
            raise ParameterError(*unknown_parameter(name, known, elsewhere))
        values[name] = known[name].parse(text)
    return values


def unknown_parameter(name: str, known: Mapping[str, Parameter], elsewhere: Mapping[str, str]) -> tuple[str, str]:
    """Problem and cure for a name that no chapter of this run has."""
    if name in elsewhere:
        return (
            f"{name} is a parameter of chapter {elsewhere[name]}, which does not run",
            "name that chapter as well, or leave the parameter out",
        )
    return f"no chapter has a parameter {name}{did_you_mean(name, known)}", "parameters: " + (
        ", ".join(sorted(known)) or "none"
    )


def refuse_secret(name: str) -> None:
    """Raise `ParameterError` for a secret: notebook, record and page save parameters in clear."""
    if SECRET.search(name):
        raise ParameterError(
            f"{name} looks like a secret, and parameters are saved in the notebooks and the report",
            f"put it into an environment variable ({name.upper()}) and read it in the notebook",
        )


def format_value(value: Any) -> str:
    """A value as the command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe_parameter(parameter: Parameter) -> str:
    """One parameter in one line: type, default, meaning, limits."""
    limits = parameter.limits()
    return f"{parameter.type} = {format_value(parameter.default)}, {parameter.meaning}" + (
        f" ({limits})" if limits else ""
    )


# The syntax of a parameters cell: one typed assignment a line, the meaning in a comment, the limits at its end.
#     requests: int = 2000        # requests in all, 1..1000000
#     cluster: str = "embedded"   # where Kafka runs: embedded | compose
#     way: str = "confirmed"      # how the game delivers: any way but outbox
#     thorough: bool = False      # repeat every experiment 20 times   (and multiply the time limits by 20)

RANGE = re.compile(r"(-?[\d_]+(?:\.\d+)?)\.\.(-?[\d_]+(?:\.\d+)?)\s*$")
TIMES = re.compile(r"\b(\d{1,4}) times\s*$")
CHOICES = re.compile(r"(?:^|[:,]\s+)([\w.-]+(?:\s*\|\s*[\w.-]+)+)\s*$")
ANY_WAY = re.compile(r"(?:^|[:,]\s+)any way(?: but ([\w-]+(?:, [\w-]+)*))?\s*$")


def read_declarations(notebook: Path) -> dict[str, Parameter]:
    """The parameters that `notebook` declares, in order; none without a parameters cell.

    Raises `ParameterError` for a file that is no notebook and for an unreadable declaration.
    """
    try:
        cells = [dict(cell) for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ParameterError(
            f"{notebook.name} is not a notebook: {error}", "restore it: git checkout -- notebooks"
        ) from error
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if not tagged:
        return {}
    if len(tagged) > 1:
        raise ParameterError(f"{notebook.name} has {len(tagged)} cells tagged parameters", "tag one of them only")
    return declared("".join(tagged[0]["source"]), notebook.name)


def declared(source: str, where: str) -> dict[str, Parameter]:
    """The parameters of one cell's source: its assignments and their comments."""
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
    """The parameter of one `name: type = literal  # meaning, limits`; raises `ParameterError` for anything else."""
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
    if kind not in PARAMETER_TYPES or type(default) is not PARAMETER_TYPES[kind]:
        raise ParameterError(f"{where}: {line} is not of a type that a command line can carry", cure)
    match = TIMES.search(comment) if kind == "bool" else None
    parameter = Parameter(name, kind, value, *meaning(comment, kind), times=int(match[1]) if match else 1)
    parameter.within(value)
    return parameter


def meaning(comment: str, kind: str) -> tuple[str, float | None, float | None, tuple[str, ...]]:
    """The parts of a comment: the meaning, the range `low..high` of a number, the choices of a text."""
    if kind in ("int", "float") and (match := RANGE.search(comment)):
        low, high = (float(part.replace("_", "")) for part in match.groups())
        return comment[: match.start()].rstrip(" ,:;"), low, high, ()
    if kind == "str" and (match := ANY_WAY.search(comment)):
        left = (match[1] or "").split(", ")
        return comment[: match.start()].rstrip(" ,:;"), None, None, tuple(w for w in DELIVERING if w not in left)
    if kind == "str" and (match := CHOICES.search(comment)):
        return comment[: match.start()].rstrip(" ,:;"), None, None, tuple(re.split(r"\s*\|\s*", match.group(1)))
    return comment, None, None, ()
