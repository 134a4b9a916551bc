"""The leader of a partition is killed under load: what producers with acks=all and acks=1 were told, and what is left.

A leader that dies takes along what it has acknowledged and its followers have not copied. For a real loss the followers
are frozen first: with acks=1 the leader goes on acknowledging, with acks=all it does not.
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import pandas as pd

from streaming_lab.analysis.deliveries import Mark
from streaming_lab.analysis.ledger import Ledger, close_ledger
from streaming_lab.analysis.outgrow_specs import IN_SYNC, LEADS, OUT_OF_SYNC
from streaming_lab.cluster import Cluster
from streaming_lab.cluster.base import BrokerVerb
from streaming_lab.game.schema import EVENTS
from streaming_lab.reader import TopicFrame, read_topic
from streaming_lab.scaling.leader_watch import Leadership, LeaderWatch
from streaming_lab.scaling.sender import Sender, await_answers, await_step, create_experiment_topic

ACKS = ("all", "1")


class BrokerFaults:
    """Brokers that an experiment kills and pauses, with the moment of each action; at its end all of them run."""

    def __init__(self, kafka: Cluster, began: float) -> None:
        self.moments: list[Mark] = []
        self._kafka, self._began = kafka, began
        self._left: dict[int, BrokerVerb] = {}  # broker -> the verb that brings it back

    def kill(self, broker: int) -> None:
        """SIGKILL one broker."""
        self._do("kill", broker, "restart")

    def pause(self, broker: int) -> None:
        """SIGSTOP one broker."""
        self._do("pause", broker, "resume")

    def bring_back(self, *brokers: int) -> None:
        """Start or resume these brokers."""
        for broker in brokers:
            self._do(self._left[broker], broker)

    def _do(self, verb: BrokerVerb, broker: int, back: BrokerVerb | None = None) -> None:
        begin = time.monotonic() - self._began
        self._kafka.command(verb, broker)
        self.moments.append(Mark(f"{verb} broker {broker}", begin, time.monotonic() - self._began))
        self._left.pop(broker, None)
        if back:
            self._left[broker] = back

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        with ExitStack() as left:  # each is done, whatever the others raise
            for broker in self._left:
                left.callback(self._kafka.command, self._left[broker], broker)


@dataclass(frozen=True, eq=False)
class LeaderKill:
    """One killed leader: times are seconds since both senders had their first answer.

    `answers` has a row for each event of both senders, with the columns of `Sender.frame` and acks. The ledger is that
    of both senders together.
    """

    name: str
    answers: pd.DataFrame
    topic: TopicFrame
    ledger: Ledger
    leaderships: tuple[Leadership, ...]
    moments: tuple[Mark, ...]
    before: int
    after: int

    @property
    def lost(self) -> pd.DataFrame:
        """The rows of `answers` that were acknowledged and are not in the topic, by offset."""
        gone = self.answers["request_id"].isin(self.ledger.event_ids("lost"))
        return self.answers[gone].sort_values("offset")

    @property
    def leaderless(self) -> float:
        """Seconds from the kill to the moment at which a broker named the new leader."""
        killed = next(moment.begin for moment in self.moments if moment.action.startswith("kill"))
        return next(one.at for one in self.leaderships if one.at > killed and one.leader == self.after) - killed


def broker_spans(kill: LeaderKill) -> pd.DataFrame:
    """What each broker was to the partition, and when: broker, state (leads, in sync or behind), begin, end."""
    end = float(kill.answers["answered"].max())
    brokers = sorted({kill.before, *(one for seen in kill.leaderships for one in seen.isr)})
    ends = [*(one.at for one in kill.leaderships[1:]), end]
    rows = [
        (broker, _state(broker, seen), max(0.0, seen.at), until)
        for seen, until in zip(kill.leaderships, ends, strict=True)
        for broker in brokers
        if until > max(0.0, seen.at)
    ]
    return pd.DataFrame(rows, columns=["broker", "state", "begin", "end"])


def _state(broker: int, seen: Leadership) -> str:
    return LEADS if broker == seen.leader else IN_SYNC if broker in seen.isr else OUT_OF_SYNC


def acks_numbers(kills: Sequence[LeaderKill]) -> pd.DataFrame:
    """A row for each fault and acks, over all kills: kills, sent, acknowledged, lost; p50, p99, longest: waits in s."""
    rows = []
    for name in dict.fromkeys(one.name for one in kills):
        same = [one for one in kills if one.name == name]
        for acks in ACKS:
            told = pd.concat([one.answers[one.answers["acks"] == acks] for one in same])
            waits = (told["answered"] - told["sent"])[told["sent"] >= 0].dropna()
            rows.append(
                {
                    "fault": name,
                    "acks": acks,
                    "kills": len(same),
                    "sent": len(told),
                    "acknowledged": int((told["status"] == 200).sum()),
                    "lost": sum(int((one.lost["acks"] == acks).sum()) for one in same),
                    "p50": float(waits.quantile(0.5)),
                    "p99": float(waits.quantile(0.99)),
                    "longest": float(waits.max()),
                }
            )
    return pd.DataFrame(rows)


def lost_tail(kill: LeaderKill) -> pd.DataFrame:
    """Each lost event: event_id, acks, the offset that its acknowledgement named, now (the event id there, or "")."""
    there = kill.topic.events.drop_duplicates("offset").set_index("offset")["event_id"]
    lost = kill.lost.rename(columns={"request_id": "event_id"})
    return lost.assign(now=there.reindex(lost["offset"].astype("int64")).fillna("").to_numpy())[
        ["event_id", "acks", "offset", "now"]
    ]


def kill_leader(kafka: Cluster, *, freeze: bool = False, rate: float = 30.0, answers: int = 30) -> LeaderKill:
    """Two senders write to one partition, its leader is killed, another one leads, the killed one returns.

    Each step begins when both senders have had so many more `answers`. With `freeze` the followers are paused before
    the kill, until the sender with acks=1 has had so many more, and resumed after it. At its end all brokers run.
    """
    topic = f"leader-{uuid.uuid4().hex[:8]}"
    create_experiment_topic(kafka, topic)
    with ExitStack() as stack:
        watch = stack.enter_context(LeaderWatch(kafka.connection, topic))
        await_step(lambda: len(watch.now.isr) == kafka.copies and watch.now.leader, lambda: "all brokers to be in sync")
        before, followers = watch.now.leader or 0, [one for one in watch.now.isr if one != watch.now.leader]
        senders = {
            acks: stack.enter_context(Sender(kafka.connection, topic, f"acks-{acks}", acks=acks, rate=rate))
            for acks in ACKS
        }
        began = time.monotonic()
        faults = stack.enter_context(BrokerFaults(kafka, began))  # ends first: a sender waits for its answers
        await_answers(senders.values(), answers)
        if freeze:
            for broker in followers:
                faults.pause(broker)
            await_answers([senders["1"]], answers)
        faults.kill(before)
        if freeze:
            faults.bring_back(*followers)
        await_step(lambda: watch.now.leader in followers, lambda: "a new leader")
        after = watch.now.leader or 0
        await_answers(senders.values(), answers)
        faults.bring_back(before)
        await_step(lambda: len(watch.now.isr) == kafka.copies, lambda: "the killed broker to be in sync again")
        for sender in senders.values():
            sender.stop()
    told = pd.concat([sender.frame(began).assign(acks=acks) for acks, sender in senders.items()], ignore_index=True)
    read = read_topic(kafka.connection, topic, EVENTS)
    seen = tuple(Leadership(one.at - began, one.leader, one.isr) for one in watch.seen)
    name = "followers frozen first" if freeze else "leader killed"
    return LeaderKill(name, told, read, close_ledger(told, read), seen, tuple(faults.moments), before, after)


# What must hold, whatever the moment of the kill.


def broken_replication_promises(kill: LeaderKill) -> list[str]:
    """A sentence for each promise of acks that a killed leader broke; empty when all were kept."""
    sure, lost = kill.answers[kill.answers["acks"] == "all"], kill.lost
    found = []
    if len(gone := lost[lost["acks"] == "all"]):
        found.append(f"{len(gone)} events lost after acks=all: {', '.join(gone['request_id'][:5])}")
    if len(silent := sure[sure["status"] != 200]):
        found.append(f"{len(silent)} sends with acks=all were never acknowledged")
    rows = kill.topic.events["event_id"]
    twice = rows[rows.duplicated() & rows.isin(sure["request_id"])]
    if len(twice):
        found.append(f"{len(twice)} events of the idempotent sender are there twice: {', '.join(twice[:5])}")
    if kill.after == kill.before:
        found.append(f"broker {kill.before} led before and after its kill")
    tail = lost_tail(kill)
    if (tail["now"] == tail["event_id"]).any():
        found.append("an event that the ledger calls lost is at its offset")
    return found
