"""Makes the head of the page: the verdict's reason, the ledger as an equation, facts, the drawing."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streaming_lab.report import record
from streaming_lab.report.exercises import count_done
from streaming_lab.report.render.terminal_text import bounded_text
from streaming_lab.wording import counted


@dataclass(frozen=True)
class Term:
    """One term of the equation, preceded by `sign`: = (equal), ! (not equal), plus, minus, or nothing."""

    sign: str
    count: int
    name: str


@dataclass(frozen=True)
class Fact:
    """One fact below the equation; `off` marks a value that should be zero."""

    name: str
    value: str
    off: bool = False
    long: bool = False


def page_header(run: record.Run) -> dict[str, Any]:
    """Return the values that the head of the page shows."""
    return {
        "reason": sentence(first_line(run.reason)),
        "failures": failure_texts(run),
        "why": why_red(run),
        "equation": equation(run.ledger),
        "facts": facts(run),
        "losses": loss_facts(run.losses),
        "exercises": exercises_done(run),
        "experiments": (run.losses or {}).get("experiments", 0),
        "checked": (run.losses or {}).get("checked", 0),
        "drawing": drawing(run.ledger),
        "cluster": describe_cluster(run.cluster),
    }


def sentence(text: str) -> str:
    """Return `text` with a capital first and a full stop last."""
    text = text.strip()
    return (text[:1].upper() + text[1:]).rstrip(".:") + "." if text else ""


def first_line(text: str) -> str:
    """Return the first line of `text`; empty for an empty text."""
    return next(iter(text.strip().splitlines()), "")


def failure_texts(run: record.Run) -> list[str]:
    """Return every failure of more than one line, each once: problem, evidence and cure; the headline has the first."""
    problems = [run.reason, *(chapter.failure.problem for chapter in run.chapters if chapter.failure)]
    several = dict.fromkeys(problem.strip() for problem in problems if "\n" in problem.strip())
    headline = first_line(run.reason) + "\n"
    return [bounded_text(problem.removeprefix(headline)).text for problem in several]


def why_red(run: record.Run) -> str:
    """Return, as HTML, where the run stopped, what did not run, and the exit code; empty for a run that passed."""
    if run.status == "passed":
        return ""
    sentences = [stopping_place(chapter) for chapter in run.chapters if chapter.status == "failed"]
    skipped = [str(chapter.number) for chapter in run.chapters if chapter.status == "skipped"]
    if skipped:
        sentences.append(f"{'Chapter' if len(skipped) == 1 else 'Chapters'} {listed(skipped)} did not run.")
    return " ".join([*sentences, f"The exit code is {run.exit_code}."])


def stopping_place(chapter: record.ChapterRecord) -> str:
    """Return where a chapter stopped, with a link to the cell."""
    failure = chapter.failure
    if not failure or not failure.cell:
        return f"Chapter {chapter.number} failed."
    cell = html.escape(failure.cell)
    return f'Chapter {chapter.number} stopped at cell {failure.number}, <a href="#{cell}"><code>{cell}</code></a>.'


def listed(words: list[str]) -> str:
    """Join words: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def equation(ledger: Mapping[str, Any] | None) -> list[Term]:
    """Return the ledger's terms: requests - refused = accepted = acknowledged = rows; ! marks an unequal sum."""
    if not ledger:
        return []
    terms = [Term("", ledger["requests"], "request" if ledger["requests"] == 1 else "requests")]
    if not ledger["requests"] and not ledger["rows"]:
        return terms  # nothing was asked, so nothing is equal
    terms += [Term("−", ledger[name], name) for name in ("refused", "failed", "unanswered") if ledger[name]]
    terms.append(sum_term(terms, ledger["accepted"], "accepted"))
    corrections = [
        Term("−", ledger["retried_accepted"], "retried"),
        Term("−", ledger.get("without_event", 0), "without an event"),
        Term("+", ledger.get("further", 0), "further"),
        Term("+", ledger["unconfirmed"], "unconfirmed"),
    ]
    terms += [term for term in corrections if term.count]
    known = ledger["acknowledged"] is not None
    if known and (not ledger["closed"] or balance(terms) == ledger["acknowledged"]):
        terms.append(sum_term(terms, ledger["acknowledged"], "acknowledged"))
    terms.append(sum_term(terms, ledger["rows"], "row" if ledger["rows"] == 1 else "rows"))
    return terms


def sum_term(terms: list[Term], count: int, name: str) -> Term:
    """Return the next sum, with = or ! before it."""
    return Term("=" if balance(terms) == count else "!", count, name)


def balance(terms: list[Term]) -> int:
    """Add up the terms since the last sum."""
    total = 0
    for term in terms:
        total = {"−": total - term.count, "+": total + term.count}.get(term.sign, term.count)
    return total


def facts(run: record.Run) -> list[Fact]:
    """Return lost, duplicated, rejected, time, cluster, seed."""
    found = [Fact("time", f"{run.seconds:.1f} s")]
    if ledger := run.ledger:
        counts = {"lost": ledger["lost"], "duplicated": ledger["duplicates"], "rejected": ledger["rejects"]}
        counts |= {"unexpected": n} if (n := ledger["unexpected"] - ledger["unconfirmed"]) else {}
        found = [*(Fact(name, f"{count:,}", off=bool(count)) for name, count in counts.items()), *found]
    if run.cluster:
        found.append(Fact("cluster", describe_cluster_choice(run), long=True))
    if "seed" in run.parameters:
        found.append(Fact("seed", str(run.parameters["seed"])))
    return found


def exercises_done(run: record.Run) -> str:
    """Return how many exercises are done, in a sentence; empty for a run of chapters without any."""
    done, of = count_done(run.chapters)
    return f"{done} of {counted(of, 'exercise')} done." if of else ""


def loss_facts(losses: Mapping[str, Any] | None) -> list[Fact]:
    """Return each way of delivery with its events lost after a 200, of the requests answered 200; empty without any."""
    return [
        Fact(row["variant"], f"{row['lost']:,} of {row['answered']:,}", off=bool(row["lost"]))
        for row in (losses or {}).get("variants", ())
    ]


def describe_cluster_choice(run: record.Run) -> str:
    """Describe the cluster in few words, with the value of `-p cluster`."""
    name = describe_cluster({**(run.cluster or {}), "cluster_id": None})
    return f"{name}, {run.parameters['cluster']}" if "cluster" in run.parameters else name


def describe_cluster(description: Mapping[str, Any] | None) -> str:
    """Describe a cluster in words."""
    if not description:
        return ""
    brokers = len(description.get("brokers") or ()) or 1
    version = description.get("version") or "of unknown version"
    name = f"Apache Kafka {version}, {brokers} broker{'s' * (brokers != 1)}"
    return f"{name}, cluster id {description['cluster_id']}" if description.get("cluster_id") else name


def drawing(ledger: Mapping[str, Any] | None) -> str:
    """Draw the ledger's Sankey diagram, as HTML."""
    if not ledger:
        return ""
    from streaming_lab.analysis.ledger import Ledger
    from streaming_lab.analysis.sankey import ledger_sankey

    return str(ledger_sankey(Ledger.from_json(ledger)))
