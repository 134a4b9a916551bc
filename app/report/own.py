"""A report of one's own: author, title, course, student and challenge; the student's seed, and the run's id."""

import hashlib
import hmac
import unicodedata
import uuid
from collections.abc import Mapping
from typing import Any

from streaming_lab import settings
from streaming_lab.report.parameters import Parameter, ParameterError, Value

LONGEST_OWN = 200  # characters of one of these texts
OWN_PARAMETERS: Mapping[str, Parameter] = {
    name: Parameter(name, "str", "", meaning)
    for name, meaning in {
        "author": "who hands the report in, below its title",
        "title": "the report's title, in place of the lab's",
        "course": "the course, below the title",
        "student": "a student's id, which decides the seed: players, counts and charts are the student's own",
        "challenge": "a word handed out in class, mixed into the run's id: the run began after that moment",
    }.items()
}


def own_values(given: Mapping[str, Value], known: Mapping[str, Parameter]) -> dict[str, Value]:
    """The given values, texts of one's own tidied, empty ones left out, and the student's seed if a chapter has one.

    Raises `ParameterError` for a text that is too long, and for a seed beside a student.
    """
    values = dict(given)
    for name in OWN_PARAMETERS.keys() & given.keys():
        values[name] = unicodedata.normalize("NFC", " ".join(str(given[name]).split()))
        if len(str(values[name])) > LONGEST_OWN:
            raise ParameterError(
                f"{name} has {len(str(values[name]))} characters", f"{name} takes {LONGEST_OWN} at most"
            )
        if not values[name]:
            del values[name]
    if "student" in values and "seed" in known:
        if "seed" in given:
            raise ParameterError(
                "student and seed are both given", "the student's id decides the seed: keep one of them"
            )
        values["seed"] = student_seed(str(values["student"]), settings.CLASS_KEY.get())
    return values


def student_seed(student: str, key: str) -> int:
    """The seed of a student: 31 bits of HMAC-SHA256 of the id, under the class's key where there is one."""
    digest = hmac.new(key.encode(), student.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def new_run_id(challenge: str = "") -> str:
    """Eight hexadecimal digits that no other run has; with a challenge eight more, made of these and the challenge."""
    return challenged_id(uuid.uuid4().hex[:8], challenge)


def challenged_id(nonce: str, challenge: str) -> str:
    """The run id of a nonce and a challenge."""
    return f"{nonce}-{hashlib.sha256(f'{nonce}/{challenge}'.encode()).hexdigest()[:8]}" if challenge else nonce


def byline(parameters: Mapping[str, Any]) -> list[str]:
    """Author, student and course as the page shows them, those that were given."""
    shown = {"author": "{}", "student": "student {}", "course": "{}"}
    return [text.format(parameters[name]) for name, text in shown.items() if parameters.get(name)]
