"""A hosted game under the faults of chapter 04, as it is: what its answers promised, and what its topics hold."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from streaming_lab.analysis.deliveries import Mark, stall
from streaming_lab.analysis.display import Table, TableColumn, number
from streaming_lab.analysis.ledger import kind_of
from streaming_lab.analysis.measured import measured
from streaming_lab.client import topics
from streaming_lab.cluster import Cluster
from streaming_lab.faults.experiment import take_steps
from streaming_lab.faults.injector import FaultInjector
from streaming_lab.faults.load import CROWD_TIMEOUT, Crowds, Load
from streaming_lab.faults.plan import Fault
from streaming_lab.own_game.account import Account, settle_account
from streaming_lab.own_game.choices import GameChoice
from streaming_lab.own_game.game_tables import FIRST_ERROR, WAITS, send_lines, without_errors
from streaming_lab.own_game.hosted import HostedGame, game_in_folder
from streaming_lab.own_game.journal import Story
from streaming_lab.own_game.play import play, seeded_asks
from streaming_lab.own_game.records import read_records
from streaming_lab.wording import counted

AS_IT_IS = "your game, as it is"
# How the result of a send was awaited -> what to change.
ADVICE = {
    "result": "nothing: the answer waits for the broker. A time-out means unknown, not failed: answer 503 then",
    "callback": "the callback hears of a failure after the answer has left: call `.get(timeout=5)` before answering",
    "flush": "`flush()` raises nothing for a record that failed: call `.get(timeout=5)` on what `send` returns",
    "": "`send` returns before the broker has the record: call `.get(timeout=5)` on what it returns, and answer 503 "
    "when that raises",
}


@dataclass(frozen=True)
class Ordeal:
    """One fault: the answers, the account, the journal, and the fault's moments."""

    fault: Fault
    asked: pd.DataFrame
    account: Account
    story: Story
    moments: tuple[Mark, ...]

    @property
    def answered(self) -> int:
        """Requests that were answered 2xx or 3xx."""
        return int((self.asked["status"].map(kind_of) == "accepted").sum())

    @property
    def lost(self) -> int:
        """Answers of 2xx of which an event is missing; where no id tells, events that are missing."""
        if self.account.kind == "counts":
            return self.account.ledger.lost
        return len({event_id.partition("/")[0] for event_id in self.account.ledger.event_ids("lost")})


def undergo(choice: GameChoice, kafka: Cluster, faults: Sequence[Fault], load: Load) -> list[Ordeal]:
    """The game under each fault, on new topics; however it ends, no game is left, and the broker runs."""
    return [_undergo_one(choice, kafka, fault, load) for fault in faults]


def _undergo_one(choice: GameChoice, kafka: Cluster, fault: Fault, load: Load) -> Ordeal:
    run = uuid.uuid4().hex[:8]
    with game_in_folder(kafka.connection, choice.game.source, run) as game:
        with FaultInjector(kafka, [game], fault.drain) as injector:
            injector.apply_action("start games")
            asked = _played(injector, game, choice, fault, load, run)
            injector.apply_action("stop games")
        story = game.story()
        records = read_records(kafka.connection, story.topics)
    account = settle_account(asked, records, story, {})
    topics.delete_topics(kafka.connection, story.topics.values(), timeout=30.0)
    return Ordeal(fault, asked, account, story, tuple(injector.fault_events[1:-1]))


def _played(
    injector: FaultInjector, game: HostedGame, choice: GameChoice, fault: Fault, load: Load, run: str
) -> pd.DataFrame:
    asks = seeded_asks(
        choice.routes, players=load.players, requests=load.requests, seed=load.seed, run=run, player=choice.player
    )
    crowd = partial(play, game.url, asks, concurrency=load.concurrency, rate=load.rate, timeout=CROWD_TIMEOUT)
    with Crowds(load, run) as crowds:
        injector.begin()
        crowds.start([lambda stopped: crowd(stopped=stopped)])
        [asked] = take_steps(injector, crowds, fault, load)
        return asked


def outcomes(ordeals: Sequence[Ordeal]) -> pd.DataFrame:
    """A row for each fault: requests, answers by kind, lost, rows, rows without a 2xx, the longest stall in seconds."""
    return pd.DataFrame([_outcome(one) for one in ordeals])


def _outcome(one: Ordeal) -> dict[str, object]:
    kinds, ledger = one.asked["status"].map(kind_of), one.account.ledger
    return {
        "fault": one.fault.name,
        "requests": len(one.asked),
        "2xx": one.answered,
        "lost": one.lost,
        "4xx": int((kinds == "refused").sum()),
        "5xx": int((kinds == "failed").sum()),
        "no answer": int((kinds == "unanswered").sum()),
        "rows": len(one.account.events),
        "there without a 2xx": ledger.unconfirmed,
        "stall": _stall(one),
        "kind": one.account.kind,
    }


def _stall(one: Ordeal) -> float:
    if one.asked.empty:
        return 0.0
    sent = (one.asked["sent_at"] - one.asked["sent_at"].min()).dt.total_seconds()
    kinds = one.asked["status"].map(kind_of).map(lambda kind: "200" if kind == "accepted" else kind)
    return stall(pd.DataFrame({"seconds": sent + one.asked["latency_ms"] / 1000, "answer": kinds}))


def outcome_table(found: pd.DataFrame) -> Table:
    """Every fault with what the game answered, and what is missing in its topics."""
    names = ["2xx", "lost", "4xx", "5xx", "no answer", "rows", "there without a 2xx"]
    columns = (
        TableColumn("fault"),
        number("requests"),
        *(number("lost after a 2xx" if name == "lost" else name, alarm=name == "lost") for name in names),
        number("longest stall (s)", 1),
    )
    rows = tuple(
        (row["fault"], row["requests"], *(measured(int(row[name])) for name in names), measured(row["stall"]))
        for row in found.to_dict("records")
    )
    return Table("Your game under every fault", columns, rows, "in requests; rows in records")


def verdict_of(found: pd.DataFrame) -> str:
    """The finding in one sentence."""
    lost, answered = int(found["lost"].sum()), int(found["2xx"].sum())
    if "counts" in set(found["kind"]):
        return f"{AS_IT_IS}: {counted(lost, 'record')} that it sent {'is' if lost == 1 else 'are'} not in its topics"
    were = "was" if lost == 1 else "were"
    return f"{AS_IT_IS}: {lost:,} of {counted(answered, 'answer')} of 2xx {were} not in the topic"


def losses_of(found: pd.DataFrame) -> dict[str, object]:
    """The result for the report's verdict."""
    row = {"variant": AS_IT_IS, "answered": int(found["2xx"].sum()), "lost": int(found["lost"].sum()), "safe": False}
    return {"experiments": len(found), "variants": [row]}


def advice_table(ordeals: Sequence[Ordeal]) -> Table:
    """Each line that called `send`: how many of its sends are not known to be delivered, who waited, what to change."""
    story = Story(sends=tuple(send for one in ordeals for send in one.story.sends))
    rows = tuple(
        (line, topic, measured(sends), measured(missing), WAITS[awaited], ADVICE[awaited], error)
        for line, topic, sends, _, missing, awaited, error in send_lines(story).itertuples(index=False, name=None)
    )
    columns = (
        TableColumn("line", "code"),
        TableColumn("topic", "code"),
        number("sends"),
        number("not known to be delivered", alarm=True),
        TableColumn("the result", "prose"),
        TableColumn("what to change", "prose"),
        FIRST_ERROR,
    )
    return without_errors(
        Table("The lines that called `send`", columns, rows, "over all faults", empty="the game sent nothing")
    )
