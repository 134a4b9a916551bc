"""The chapters' parameters: what each may be, and what a person asked for, checked before anything starts.

Only the standard library, like streaming_lab.report.declarations: a typing error is answered in well under a second.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from streaming_lab.errors import LabError

Value = bool | int | float | str
TYPES = {"bool": bool, "int": int, "float": float, "str": str}
KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}
SECRET = re.compile(r"password|passwd|token|secret|credential|api_?key", re.IGNORECASE)


class ParameterError(LabError):
    """A parameter that no chapter can take: unknown, of the wrong type, out of its range, or a secret."""


@dataclass(frozen=True)
class Parameter:
    """One parameter as its notebook declares it; `times`: how often more a run does its work when it is true."""

    name: str
    type: str
    default: Value
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    times: int = 1

    def parse(self, text: str) -> Value:
        """The value that `text` stands for; `ParameterError` with the expected type, range or choices."""
        value = READERS[self.type](text.strip() if self.type != "str" else text)
        if value is None:
            raise ParameterError(
                f"{self.name} = {text}: expected {KINDS[self.type]}",
                f"for example: -p {self.name} {shown(self.default)}",
            )
        return self.within(value)

    def within(self, value: Value) -> Value:
        """`value` itself, when it is inside the declared range or among the choices."""
        if self.low is not None and self.high is not None and not self.low <= float(value) <= self.high:
            raise ParameterError(
                f"{self.name} = {shown(value)} is out of range", f"{self.name} takes {self.limits()}: {self.meaning}"
            )
        if self.choices and value not in self.choices:
            raise ParameterError(
                f"{self.name} = {shown(value)} is not a choice{nearest(str(value), self.choices)}",
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
    """A whole number however it is written: 1000, 1_000, 1e3, 1000.0."""
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


def merge(chapters: Mapping[str, Mapping[str, Parameter]]) -> dict[str, Parameter]:
    """All chapters' parameters as one set: a name in two of them must have one type, default and meaning."""
    merged: dict[str, Parameter] = {}
    home: dict[str, str] = {}
    for chapter, parameters in chapters.items():
        for name, parameter in parameters.items():
            first = merged.setdefault(name, parameter)
            if first != parameter:
                raise ParameterError(
                    f"{name} differs in {home[name]} and {chapter}: {described(first)} and {described(parameter)}",
                    "give it one type, default and meaning, or two names",
                )
            home.setdefault(name, chapter)
    return merged


def check(
    given: Iterable[Sequence[str]], known: Mapping[str, Parameter], elsewhere: Mapping[str, str] = {}
) -> dict[str, Value]:
    """The values of `-p name value` pairs, typed; `elsewhere` says which chapter that does not run has a name."""
    values: dict[str, Value] = {}
    for name, text in given:
        refuse_secret(name)
        if name in values:
            raise ParameterError(f"-p {name} is given twice", "keep one of the two")
        if name not in known:
            raise ParameterError(*unknown(name, known, elsewhere))
        values[name] = known[name].parse(text)
    return values


def unknown(name: str, known: Mapping[str, Parameter], elsewhere: Mapping[str, str]) -> tuple[str, str]:
    """What to say about a name that no chapter of this run has."""
    if name in elsewhere:
        return (
            f"{name} is a parameter of chapter {elsewhere[name]}, which does not run",
            "name that chapter, too, or leave the parameter out",
        )
    return f"no chapter has a parameter {name}{nearest(name, known)}", "parameters: " + (
        ", ".join(sorted(known)) or "none"
    )


def nearest(word: str, words: Iterable[str]) -> str:
    """`: did you mean X?`, or nothing when nothing is near."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else ""


def refuse_secret(name: str) -> None:
    """A secret as a parameter would be saved in clear in notebook, record and page."""
    if SECRET.search(name):
        raise ParameterError(
            f"{name} looks like a secret, and parameters are saved in the notebooks and the report",
            f"put it into an environment variable ({name.upper()}) and read it in the notebook",
        )


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def described(parameter: Parameter) -> str:
    """One parameter in one line: type, default, meaning, limits."""
    limits = parameter.limits()
    return f"{parameter.type} = {shown(parameter.default)}, {parameter.meaning}" + (f" ({limits})" if limits else "")
