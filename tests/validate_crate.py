"""python tests/validate_crate.py FOLDER CONTEXT: the REQUIRED rules of Process Run Crate 0.5, without network.

CONTEXT answers in place of the context that RO-Crate 1.1 has on the web; it has the terms that the lab uses. Prints
whether the crate passes, and what does not.
"""

import json
import sys
from pathlib import Path
from typing import Any

import requests
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester


def answer(_: Any, url: str, **__: Any) -> requests.Response:
    """The context for its address, 404 for any other."""
    made = requests.Response()
    made.status_code = 200 if url.startswith("https://w3id.org/ro/crate/1.1/context") else 404
    made.headers["Content-Type"] = "application/ld+json"
    made._content = Path(sys.argv[2]).read_bytes()
    return made


HttpRequester.get = answer
settings = services.ValidationSettings(
    rocrate_uri=sys.argv[1],
    profile_identifier="process-run-crate-0.5",
    requirement_severity=models.Severity.REQUIRED,
)
result = services.validate(settings)
sys.stdout.write(
    json.dumps([result.passed(), [f"{one.check.identifier}: {one.message}" for one in result.get_issues()]])
)
