"""Checks of chapter 04's frames: each crowd's requests by seed and run, and the counts of what became of them."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from streaming_lab.faults.experiment import Experiment
from streaming_lab.faults.load import Load
from streaming_lab.game.moves import seeded_moves
from streaming_lab.handin.check import Check, Contradiction, cannot_tell, conclude, found
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.wording import counted


def check_faults(kept: KeptRun, results: Mapping[str, Any]) -> Check:
    """Requests and request ids of every crowd by the seed, and `deliveries.parquet` by `results` of the reference."""
    if not any(chapter.number == 4 for chapter in kept.run.chapters):
        return cannot_tell("faults", "chapter 04 did not run")
    experiments = kept.experiments
    findings = [finding for one in experiments for finding in odd_crowds(kept, one)]
    if "deliveries" not in results:
        return (
            cannot_tell("faults", "the experiments can't be counted again")
            if not findings
            else conclude("faults", "", findings)
        )
    left, right = (
        json.loads(one.to_json(orient="records")) for one in (kept.frame("deliveries"), results["deliveries"])
    )
    for row in range(max(len(left), len(right))):
        pair = [json.dumps(rows[row]) if row < len(rows) else "no row" for rows in (left, right)]
        if pair[0] != pair[1]:
            findings.append(found(f"deliveries.parquet, row {row}", *pair))
    crowds = sum(len(one.results) for one in experiments)
    return conclude(
        "faults", f"{counted(len(experiments), 'experiment')} with {counted(crowds, 'crowd')}, counted again", findings
    )


def odd_crowds(kept: KeptRun, experiment: Experiment) -> list[Contradiction]:
    """Findings for crowds whose requests are not those of the seed and the experiment's run."""
    load = Load(requests=int(kept.parameter("each")), seed=int(kept.parameter("seed")))
    findings = []
    if experiment.run.split("/")[0] != kept.run.run_id:
        findings.append(found("kept/experiments.json, run", experiment.run, f"{kept.run.run_id}/…"))
    for result in experiment.results:
        moves = seeded_moves(load.players, load.requests, load.seed, f"{experiment.run}/{result.variant.name}")
        columns = ["request_id", "player", "sequence", "action"]
        expected = pd.DataFrame(
            sorted((one.request_id, one.player, one.sequence, one.action) for one in moves), columns=columns
        )
        asked = result.asked[columns].sort_values(columns, ignore_index=True)
        if asked.to_numpy().tolist() != expected.to_numpy().tolist():
            place = f"asked.parquet, {experiment.fault.name}, {result.variant.name}"
            findings.append(found(place, counted(len(asked), "request"), f"{len(expected)} of seed {load.seed}"))
    return findings
