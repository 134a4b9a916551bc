"""The verdict of hand-ins as a page in the report's design, as Gradescope's results.json, and as CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Environment, FileSystemLoader

from streaming_lab import __version__
from streaming_lab.analysis.display import Table, TableColumn, number, numbered
from streaming_lab.handin.check import WORDS, Check, Shared, count_words
from streaming_lab.handin.examine import Examined
from streaming_lab.report.render.page import TEMPLATES, styles
from streaming_lab.wording import counted, visible

SIGNS = {"agrees": "=", "contradicts": "≠", "cannot tell": "?"}


def render_verdict(rows: Sequence[Examined], shared: Sequence[Shared], how: str, moment: datetime) -> str:
    """The page; `shared` has what was shared, by whom, one tuple a finding."""
    words = [row.word for row in rows]
    broken = sum(bool(row.broken) for row in rows)
    count, contradicting = counted(len(rows), "hand-in"), words.count("contradicts")
    values = {
        "count": count,
        "how": how,
        "moment": f"{moment:%d %B %Y, %H:%M}",
        "version": __version__,
        "contradicts": bool(contradicting),
        "word": "Contradictions" if contradicting else "No contradiction",
        "sentence": f"{contradicting:,} of {count} {'contradicts' if contradicting == 1 else 'contradict'} themselves "
        f"or the reference; {broken:,} could not be looked at.",
        "facts": [("hand-ins", f"{len(rows):,}"), *[(word, f"{words.count(word):,}") for word in WORDS]],
        "overview": overview_table(rows)._repr_html_(),
        "shared": shared_table(shared)._repr_html_() if shared else "",
        "rows": [row_values(row) for row in rows],
        "css": styles(),
    }
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    return numbered(environment.get_template("verdict.html.j2").render(**values))


def overview_table(rows: Sequence[Examined]) -> Table:
    """One row a hand-in, one column a check."""
    names = check_names(rows)
    columns = (
        TableColumn("hand-in"),
        TableColumn("student"),
        TableColumn("report"),
        TableColumn("word"),
        *(TableColumn(name) for name in names),
    )
    cells = []
    for row in rows:
        signs = {check.name: SIGNS[check.word] for check in row.checks}
        word = row.word if not row.broken else "could not look"
        cells.append((row.name, row.student, row.status, word, *(signs.get(name, "") for name in names)))
    return Table("Hand-ins by check", columns, tuple(cells), "= agrees, ≠ contradicts, ? cannot tell")


def check_names(rows: Sequence[Examined]) -> list[str]:
    """The names of all checks, in order."""
    return list(dict.fromkeys(check.name for row in rows for check in row.checks))


def shared_table(shared: Sequence[Shared]) -> Table:
    """What two runs cannot share, and who shares it."""
    columns = (TableColumn("what"), TableColumn("value", "code"), TableColumn("hand-ins", "long"))
    rows = tuple((what, value, ", ".join(names)) for what, value, names in shared)
    return Table("Shared by runs that cannot share it", columns, rows, "a run makes these anew each time")


def row_values(row: Examined) -> dict[str, Any]:
    """The values of one hand-in's section."""
    about = [row.author, row.student and f"student {row.student}", row.version and f"lab {row.version}"]
    line = ". " + ", ".join([text for text in about if text] + [f"{row.seconds:.1f} s"])
    if row.left_out:
        line += f". Not looked at: {', '.join(row.left_out)}"
    findings = [(check.name, one.place, one.there, one.again) for check in row.checks for one in check.findings]
    columns = (
        TableColumn("check"),
        TableColumn("place", "long"),
        TableColumn("there", "raw"),
        TableColumn("again", "raw"),
    )
    return {
        "name": visible(row.name),
        "word": "Could not look" if row.broken else row.word.capitalize(),
        "contradicts": row.word == "contradicts" or bool(row.broken),
        "line": visible(f". {row.broken}" if row.broken else line),
        "checks": checks_table(row.checks)._repr_html_() if row.checks else "",
        "findings": Table("Contradictions", columns, tuple(findings), "both values")._repr_html_() if findings else "",
    }


def checks_table(checks: Sequence[Check]) -> Table:
    """The checks of one hand-in with their words."""
    columns = (TableColumn("check"), TableColumn("word"), number("found"), TableColumn("what was compared", "long"))
    rows = tuple((one.name, one.word, len(one.findings) + one.more, one.said) for one in checks)
    return Table("Checks", columns, rows, "in the order in which they ran")


def gradescope_results(row: Examined) -> dict[str, Any]:
    """Gradescope's results.json: a test for each check that can tell, one point each; the others are told only."""
    tests = [
        {
            "name": check.name,
            "number": str(position),
            "score": float(check.word == "agrees"),
            "max_score": 1.0 if check.word != "cannot tell" else 0.0,
            **({"status": "passed" if check.word == "agrees" else "failed"} if check.word != "cannot tell" else {}),
            "output": "\n".join([f"{check.word}: {check.said}", *map(finding_line, check.findings)]),
            "output_format": "text",
            "visibility": "visible",
        }
        for position, check in enumerate(row.checks, 1)
    ]
    return {
        "output": row.broken or f"{row.word}: {summary(row.checks)}",
        "output_format": "text",
        "execution_time": row.seconds,
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        **({} if tests else {"score": 0.0}),
        "extra_data": {"word": row.word, "version": row.version, "student": row.student},
    }


def finding_line(finding: Any) -> str:
    """A finding as one line of text."""
    return f"  {finding.place}: there {finding.there}; again {finding.again}"


def summary(checks: Sequence[Check]) -> str:
    """How many checks say each word."""
    return ", ".join(f"{count} {word}" for word, count in count_words(checks).items())


def class_csv(rows: Sequence[Examined]) -> str:
    """One row a hand-in: file, student, word, reason, a column per check."""
    names, text = check_names(rows), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "student", "author", "version", "report", "word", "could not look", *names])
    for row in rows:
        words: Mapping[str, str] = {check.name: check.word for check in row.checks}
        own = [row.name, row.student, row.author, row.version, row.status, row.word, row.broken]
        writer.writerow([inert(value) for value in own] + [words.get(name, "") for name in names])
    return text.getvalue()


def inert(value: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def results_json(row: Examined) -> str:
    """`gradescope_results` as text."""
    return json.dumps(gradescope_results(row), indent=2, ensure_ascii=False) + "\n"
