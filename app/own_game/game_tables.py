"""The tables of a hosted game: what was found, what each route did, and the lines that send."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from streaming_lab.analysis.display import Table, TableColumn, number
from streaming_lab.own_game.account import ROUTE_COLUMNS, Account
from streaming_lab.own_game.journal import Story
from streaming_lab.own_game.masks import masked_text
from streaming_lab.own_game.routes import Route
from streaming_lab.wording import counted

FIRST_ERROR = TableColumn("first error", "long", measured=True)
PRINTED_SHOWN = 20  # lines of a game's own prints
WAITS = {
    "result": "awaited: `.get()`",
    "callback": "a callback hears it",
    "flush": "`flush()`, no failure heard",
    "": "not awaited",
}


def found_table(name: str, found: Sequence[Route], fired: Sequence[Route]) -> Table:
    """The routes that were found in a game, with fields and weights, before anything is fired."""
    weights = {(route.rule, route.method): route.weight for route in fired}
    rows = tuple(
        (
            route.rule,
            route.method,
            route.where,
            "; ".join(f"{place}: {', '.join(names) or 'any'}" for place, names in route.fields.items()),
            weights.get((route.rule, route.method), 0.0),
        )
        for route in found
    )
    columns = (
        TableColumn("route", "code"),
        TableColumn("method"),
        TableColumn("view", "code"),
        TableColumn("fields that its source reads", "long"),
        number("weight", 1),
    )
    return Table(f"The routes of `{name}`", columns, rows, f"{counted(len(rows), 'route')}, before anything is fired")


def account_table(account: Account) -> Table:
    """What each route did: requests, answers, rows, and the first line of an error."""
    columns = (
        TableColumn("route", "code"),
        *(number(name) for name in ROUTE_COLUMNS[1:-2]),
        TableColumn("rows a request"),
        FIRST_ERROR,
    )
    rows = tuple(account.routes[ROUTE_COLUMNS].itertuples(index=False, name=None))
    note = "2xx counts 3xx as well"
    return without_errors(Table("What each route did", columns, rows, note, empty="no requests"))


def without_errors(table: Table) -> Table:
    """The table without its last column, the first errors, where there is none."""
    if any(row[-1] for row in table.rows):
        return table
    return replace(table, columns=table.columns[:-1], rows=tuple(row[:-1] for row in table.rows))


def send_lines(story: Story) -> pd.DataFrame:
    """By line of the source that called `send`: topic, sends, delivered, not delivered, and who waits (see `WAITS`)."""
    rows = [
        (send.where or "outside the game's files", send.topic, send.outcome, send.awaited, send.error)
        for send in story.sends
    ]
    frame = pd.DataFrame(rows, columns=["line", "topic", "outcome", "awaited", "error"])
    grouped = frame.groupby(["line", "topic"], sort=True)
    found = [
        {
            "line": line,
            "topic": topic,
            "sends": len(group),
            "delivered": int((group["outcome"] == "delivered").sum()),
            "not delivered": int((group["outcome"] != "delivered").sum()),
            "awaited": str(group["awaited"].mode().iloc[0]),
            "first error": next((masked_text(text) for text in group["error"] if text), ""),
        }
        for (line, topic), group in grouped
    ]
    return pd.DataFrame(found, columns=SEND_COLUMNS)


SEND_COLUMNS = ["line", "topic", "sends", "delivered", "not delivered", "awaited", "first error"]


def send_table(story: Story) -> Table:
    """The lines of the game that send, and whether anybody waits for the outcome."""
    columns = (
        TableColumn("line", "code"),
        TableColumn("topic", "code"),
        number("sends"),
        number("delivered"),
        number("not delivered", alarm=True),
        TableColumn("the result", "prose"),
        FIRST_ERROR,
    )
    lines = send_lines(story)
    rows = tuple(lines.assign(awaited=lines["awaited"].map(WAITS)).itertuples(index=False, name=None))
    return without_errors(
        Table("The lines that send", columns, rows, "as the broker reported each send", empty="no sends")
    )


def printed_table(printed: Sequence[str]) -> Table:
    """The last lines that the game printed."""
    rows = tuple((line,) for line in printed[-PRINTED_SHOWN:])
    left = len(printed) - len(rows)
    note = f"the last of {len(printed):,}" if left else ""
    return Table("What the game printed", (TableColumn("line", "raw", measured=True),), rows, note, empty="nothing")


def load_table(lines: pd.DataFrame) -> Table:
    """The lines of a load file, and how each ended."""
    columns = (number("line"), TableColumn("command", "raw"), number("exit code"), TableColumn("last words", "long"))
    masked = lines.assign(**{name: lines[name].map(masked_text) for name in ("command", "last words")})
    rows = tuple(masked.itertuples(index=False, name=None))
    return Table("The load file", columns, rows, "run as they stand, with the game's address", empty="no lines")
