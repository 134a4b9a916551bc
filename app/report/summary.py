"""What stands above the chapters: the verdict's reason, the ledger as an equation, a few facts, the drawing."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.report import record


@dataclass(frozen=True)
class Term:
    """A term of the equation; `sign` stands before it: = (equal), ! (not equal), a minus, or nothing."""

    sign: str
    count: int
    name: str


@dataclass(frozen=True)
class Fact:
    """A small fact below the equation; `off` when it is not as it should be."""

    name: str
    value: str
    off: bool = False
    long: bool = False


def of(run: record.Run, anchors: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the page's head shows."""
    return {
        "reason": sentence(run.reason),
        "why": why(run, anchors),
        "equation": equation(run.ledger),
        "facts": facts(run),
        "drawing": drawing(run.ledger),
        "cluster": cluster(run.cluster),
    }


def sentence(text: str) -> str:
    """`text` as a sentence: a capital first, a full stop last."""
    text = text.strip()
    return (text[:1].upper() + text[1:]).rstrip(".") + "." if text else ""


def why(run: record.Run, anchors: Mapping[str, str]) -> str:
    """What stopped where, what did not run, and the exit code, as HTML; empty for a run that passed."""
    if run.status == "passed":
        return ""
    said = [stopped(chapter) for chapter in run.chapters if chapter.status == "failed"]
    skipped = [str(chapter.number) for chapter in run.chapters if chapter.status == "skipped"]
    if skipped:
        said.append(f"{'Chapter' if len(skipped) == 1 else 'Chapters'} {listed(skipped)} did not run.")
    return " ".join([*said, f"The exit code is {run.exit_code}."])


def stopped(chapter: record.Chapter) -> str:
    """Where a chapter stopped, with a link to the cell."""
    failure = chapter.failure
    if not failure or not failure.cell:
        return f"Chapter {chapter.number} failed."
    cell = html.escape(failure.cell)
    return f'Chapter {chapter.number} stopped at cell {failure.number}, <a href="#{cell}"><code>{cell}</code></a>.'


def listed(words: list[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def equation(ledger: Mapping[str, Any] | None) -> list[Term]:
    """requests - refused = accepted = acknowledged = rows; terms that are zero are left out, broken signs are told."""
    if not ledger:
        return []

    def count(name: str) -> int:
        return int(ledger.get(name) or 0)

    terms = [Term("", count("requests"), "requests")]
    terms += [Term("−", count(name), name) for name in ("refused", "failed", "unanswered") if count(name)]
    left = terms[0].count - sum(term.count for term in terms[1:])
    for name in ("accepted", "acknowledged", "rows"):
        terms.append(Term("=" if count(name) == left else "!", count(name), name))
        left = count(name)
    return terms


def facts(run: record.Run) -> list[Fact]:
    """Lost, duplicated, rejected, time, cluster, seed."""
    ledger = run.ledger or {}
    names = {"lost": "lost", "duplicates": "duplicated", "rejects": "rejected", "unexpected": "unexpected"}
    found = [
        Fact(label, f"{ledger[name]:,}", off=bool(ledger[name]))
        for name, label in names.items()
        if isinstance(ledger.get(name), int)
    ]
    found.append(Fact("time", f"{run.seconds:.1f} s"))
    if run.cluster:
        found.append(Fact("cluster", cluster(run.cluster), long=True))
    if "seed" in run.parameters:
        found.append(Fact("seed", str(run.parameters["seed"])))
    return found


def cluster(description: Mapping[str, Any] | None) -> str:
    """A cluster in words."""
    if not description:
        return ""
    brokers = len(description.get("brokers") or ()) or 1
    version = description.get("version") or "of unknown version"
    name = f"Apache Kafka {version}, {brokers} broker{'s' * (brokers != 1)}"
    return f"{name}, cluster id {description['cluster_id']}" if description.get("cluster_id") else name


def drawing(ledger: Mapping[str, Any] | None) -> str:
    """The ledger's ribbon, as HTML."""
    if not ledger:
        return ""
    from app.analysis.drawing import ledger_drawing
    from app.analysis.ledger import Ledger

    return str(ledger_drawing(Ledger.from_json(ledger)))
