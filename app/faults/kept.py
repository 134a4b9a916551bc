"""Experiments as files: what a run keeps of chapter 04, and the experiments made again from that."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pandas as pd

from streaming_lab.analysis.deliveries import Mark
from streaming_lab.analysis.ledger import close_ledger
from streaming_lab.faults.experiment import Experiment, Result
from streaming_lab.faults.game_process import ExitReport
from streaming_lab.faults.plan import DEFAULT_VARIANTS, FAULTS, FULL_DISK
from streaming_lab.game.rules import Player, World
from streaming_lab.reader import TopicFrame

PLACE = ["experiment", "variant"]  # the columns that the kept frames have before their own


def kept_experiments(experiments: Sequence[Experiment]) -> dict[str, Any]:
    """What a run keeps, by name: the frames `asked`, `appended` and `refused`, and `experiments` for JSON."""
    results = [(number, result) for number, one in enumerate(experiments) for result in one.results]
    return {
        "asked": _joined([(number, one, one.asked) for number, one in results]),
        "appended": _joined([(number, one, one.topic.events) for number, one in results]),
        "refused": _joined([(number, one, one.topic.rejects) for number, one in results]),
        "experiments": [
            {
                "fault": one.fault.name,
                "run": one.run,
                "began": one.began.isoformat(),
                "marks": [asdict(mark) for mark in one.fault_events],
                "results": [_result_facts(result) for result in one.results],
            }
            for one in experiments
        ],
    }


def _joined(parts: Sequence[tuple[int, Result, pd.DataFrame]]) -> pd.DataFrame:
    frames = [
        frame.assign(experiment=number, variant=result.variant.name)[[*PLACE, *frame.columns]]
        for number, result, frame in parts
    ]
    full = [frame for frame in frames if len(frame)]
    return pd.concat(full or frames[:1], ignore_index=True)


def _result_facts(result: Result) -> dict[str, Any]:
    return {
        "variant": result.variant.name,
        "ranges": {str(partition): list(ends) for partition, ends in result.topic.ranges.items()},
        "exits": [{"code": one.code, "left": one.left, "named": sorted(one.named)} for one in result.exit_reports],
        "restarted": {name: [player.swords, player.guild] for name, player in result.restarted.players.items()},
        "seen": None if result.seen is None else {name: list(state) for name, state in result.seen.items()},
        "waiting": result.waiting,
    }


def restored_experiments(facts: Sequence[Mapping[str, Any]], frames: Mapping[str, pd.DataFrame]) -> list[Experiment]:
    """The experiments that `kept_experiments` kept; ValueError or KeyError for what is none of this lab's."""
    faults = {fault.name: fault for fault in FAULTS}
    return [
        Experiment(
            faults[one["fault"]],
            datetime.fromisoformat(one["began"]),
            tuple(Mark(**mark) for mark in one["marks"]),
            tuple(_restored_result(number, result, frames) for result in one["results"]),
            one["run"],
        )
        for number, one in enumerate(facts)
    ]


def _restored_result(number: int, facts: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> Result:
    variant = {one.name: one for one in (*DEFAULT_VARIANTS, FULL_DISK)}[facts["variant"]]

    def mine(name: str) -> pd.DataFrame:
        frame = frames[name]
        chosen = frame[(frame["experiment"] == number) & (frame["variant"] == variant.name)]
        return chosen.drop(columns=PLACE).reset_index(drop=True)

    ranges = {int(partition): (int(start), int(end)) for partition, (start, end) in facts["ranges"].items()}
    events = mine("appended")
    topic = TopicFrame(events, mine("refused"), events.iloc[:0][["partition", "offset", "key"]], ranges)
    asked = mine("asked")
    return Result(
        variant,
        asked,
        topic,
        close_ledger(asked, topic),
        tuple(ExitReport(one["code"], one["left"], frozenset(one["named"])) for one in facts["exits"]),
        World({name: Player(swords, guild) for name, (swords, guild) in facts["restarted"].items()}),
        None
        if facts["seen"] is None
        else {name: (bool(sword), guild) for name, (sword, guild) in facts["seen"].items()},
        int(facts["waiting"]),
    )
