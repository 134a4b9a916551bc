"""What stands above the chapters: the verdict's reason, the ledger as an equation, a few facts, the drawing."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streaming_lab.report import record


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


def of(run: record.Run) -> dict[str, Any]:
    """Everything that the page's head shows."""
    return {
        "reason": sentence(run.reason),
        "why": why(run),
        "equation": equation(run.ledger),
        "facts": facts(run),
        "drawing": drawing(run.ledger),
        "cluster": cluster(run.cluster),
    }


def sentence(text: str) -> str:
    """`text` as a sentence: a capital first, a full stop last."""
    text = text.strip()
    return (text[:1].upper() + text[1:]).rstrip(".") + "." if text else ""


def why(run: record.Run) -> str:
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
    """requests - refused = accepted = acknowledged = rows; terms that are zero are left out, unequal signs are told."""
    if not ledger:
        return []
    terms = [Term("", ledger["requests"], "requests")]
    terms += [Term("−", ledger[name], name) for name in ("refused", "failed", "unanswered") if ledger[name]]
    terms.append(equal(terms, ledger["accepted"], "accepted"))
    aside = [Term("−", ledger["retried_accepted"], "retried"), Term("+", ledger["unconfirmed"], "unconfirmed")]
    terms += [term for term in aside if term.count]
    known = ledger["acknowledged"] is not None
    if known and (not ledger["closed"] or balance(terms) == ledger["acknowledged"]):
        terms.append(equal(terms, ledger["acknowledged"], "acknowledged"))
    terms.append(equal(terms, ledger["rows"], "rows"))
    return terms


def equal(terms: list[Term], count: int, name: str) -> Term:
    """The next station, with the sign that is true."""
    return Term("=" if balance(terms) == count else "!", count, name)


def balance(terms: list[Term]) -> int:
    """What the terms since the last station come to."""
    total = 0
    for term in terms:
        total = {"−": total - term.count, "+": total + term.count}.get(term.sign, term.count)
    return total


def facts(run: record.Run) -> list[Fact]:
    """Lost, duplicated, rejected, time, cluster, seed."""
    found = [Fact("time", f"{run.seconds:.1f} s")]
    if ledger := run.ledger:
        counts = {"lost": ledger["lost"], "duplicated": ledger["duplicates"], "rejected": ledger["rejects"]}
        counts |= {"unexpected": n} if (n := ledger["unexpected"] - ledger["unconfirmed"]) else {}
        found = [*(Fact(name, f"{count:,}", off=bool(count)) for name, count in counts.items()), *found]
    if run.cluster:
        found.append(Fact("cluster", where(run), long=True))
    if "seed" in run.parameters:
        found.append(Fact("seed", str(run.parameters["seed"])))
    return found


def where(run: record.Run) -> str:
    """The cluster in few words, with the name that was asked for."""
    name = cluster({**(run.cluster or {}), "cluster_id": None})
    return f"{name}, {run.parameters['cluster']}" if "cluster" in run.parameters else name


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
    from streaming_lab.analysis.ledger import Ledger
    from streaming_lab.analysis.sankey import ledger_sankey

    return str(ledger_sankey(Ledger.from_json(ledger)))
