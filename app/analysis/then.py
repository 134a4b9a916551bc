"""2019 beside today: the assignment's commands, why each fails now, and what its successor just answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from streaming_lab.analysis.measured import marked
from streaming_lab.analysis.page import bare, prose
from streaming_lab.cluster.history import Line

MOST_LINES = 8  # of an output


@dataclass(frozen=True)
class ThenAndNow:
    """The table of old and new commands; today's carry ports and times, so they are measured."""

    lines: Sequence[Line]

    def _repr_html_(self) -> str:
        caption = (
            '<caption><b><span class="no table"></span>2019 beside today</b> '
            "<span>the assignment’s commands; today’s were run just now, with this output</span></caption>"
        )
        heads = "".join(f'<th scope="col">{name}</th>' for name in ("step", "2019", "today"))
        rows = "\n".join(map(row, self.lines))
        return (
            '<div class="table" tabindex="0" role="group" aria-label="2019 beside today">\n'
            f'<table class="then">\n{caption}\n<thead><tr>{heads}</tr></thead>\n'
            f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
        )

    def __repr__(self) -> str:
        return "\n\n".join(
            f"{line.step}\n  2019   {line.old}\n         {bare(line.why)}\n  today  {line.today}\n"
            + "\n".join(f"         {text}" for text in shown(line.output))
            for line in self.lines
        )


def then_and_now(lines: Sequence[Line]) -> ThenAndNow:
    """The lines of `streaming_lab.cluster.history.beside_today` as a table."""
    return ThenAndNow(lines)


def row(line: Line) -> str:
    output = escape("\n".join(shown(line.output)), quote=False)
    today = marked(f"<code>{escape(line.today, quote=False)}</code>\n<pre>{output}</pre>")
    return (
        f'<tr><th scope="row">{prose(line.step)}</th>'
        f"<td><code>{escape(line.old, quote=False)}</code><small>{prose(line.why)}</small></td><td>{today}</td></tr>"
    )


def shown(output: str) -> list[str]:
    """The output's lines without the blank ones; of a long one the first few and how many more there were."""
    lines = [text for text in output.splitlines() if text.strip()]
    left = len(lines) - MOST_LINES
    return lines if left <= 0 else [*lines[:MOST_LINES], f"({left:,} more lines)"]
