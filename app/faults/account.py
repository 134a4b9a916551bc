"""What an experiment came to, in numbers: a row for each contender, and every answer with its moment."""

import json
from typing import Any

import pandas as pd

from streaming_lab.analysis.answer_kinds import ANSWERS, LOST, answer_kind
from streaming_lab.analysis.deliveries import stall
from streaming_lab.faults.experiment import Experiment, Result


def answers(result: Result) -> "pd.Series[str]":
    """The kind of each request's (last) answer, one of `ANSWERS`, in the order of `asked`."""
    return result.asked.apply(_kind, axis=1).astype("str")


def _kind(row: "pd.Series[Any]") -> str:
    status = None if pd.isna(row["status"]) else int(row["status"])
    return answer_kind(status, json.loads(row["answer"])["value"] if status == 503 else None)


def answered_at(experiment: Experiment, result: Result) -> "pd.Series[float]":
    """When each request had its last answer, in seconds since the experiment began."""
    sent = (result.asked["sent_at"] - pd.Timestamp(experiment.began)).dt.total_seconds()
    return sent + result.asked["latency_ms"] / 1000


def timeline(experiment: Experiment) -> pd.DataFrame:
    """Every request: contender, seconds (of its last answer), answer (a kind; a 200 whose event is lost is `LOST`)."""
    return pd.concat([_timeline(experiment, result) for result in experiment.results], ignore_index=True)


def _timeline(experiment: Experiment, result: Result) -> pd.DataFrame:
    gaps = result.ledger.gaps
    lost = result.asked["request_id"].isin(gaps["event_id"][gaps["gap"] == "lost"])
    return pd.DataFrame(
        {
            "contender": result.contender.name,
            "seconds": answered_at(experiment, result),
            "answer": answers(result).mask(lost, LOST),
        }
    )


def counts(*experiments: Experiment) -> pd.DataFrame:
    """A row for each experiment and contender, in events or requests; `stall` in seconds.

    lost: answered 200 and not in the topic. unpromised: in the topic, answered 503 or not at all. duplicates: rows
    beyond the first of an event; left: the same after de-duplication by event id, counted as rows that belong to no
    request of their own. named: events that the game itself named as undelivered when it was stopped. again: requests
    that were asked more than once. stall: the longest time without any 200.
    """
    return pd.DataFrame([_counts(one, result) for one in experiments for result in one.results])


def _counts(experiment: Experiment, result: Result) -> dict[str, Any]:
    kinds, events = answers(result).value_counts(), result.topic.events
    distinct = events.drop_duplicates("event_id")
    return {
        "fault": experiment.fault.name,
        "contender": result.contender.name,
        "safe": result.contender.log.safe,
        "requests": len(result.asked),
        **{name: int(kinds.get(name, 0)) for name in ANSWERS},
        "in topic": len(distinct),
        "lost": result.ledger.lost,
        "unpromised": result.ledger.unconfirmed,
        "duplicates": result.ledger.duplicates,
        "left": len(distinct) - int(result.asked["request_id"].isin(events["event_id"]).sum()),
        "named": sum(farewell.left for farewell in result.farewells),
        "again": int((result.asked["attempts"] > 1).sum()),
        "stall": stall(_timeline(experiment, result)),
    }
