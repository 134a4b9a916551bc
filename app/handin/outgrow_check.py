"""Checks of chapter 05's frames: keys on partitions by the seed, and counts that must add up. The ids were not kept."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from kafka.partitioner.default import murmur2

from streaming_lab.handin.check import Check, Contradiction, cannot_tell, conclude, found
from streaming_lab.handin.kept_run import KeptRun

SPREAD_EVENTS, SPREAD_PLAYERS = 1200, 48  # of each keying: the defaults of `spread_keys`, which the chapter takes
IDS_NOT_KEPT = "that the counts are those of the brokers can't be told, since the events' ids were not kept"


def check_outgrow(kept: KeptRun) -> Check:
    """Order and balance by seed and murmur2, the sends by kills and acks, and the effects by their own sums."""
    if not any(chapter.number == 5 for chapter in kept.run.chapters):
        return cannot_tell("outgrow", "chapter 05 did not run")
    findings = [*odd_keys(kept), *odd_acks(kept), *odd_effects(kept)]
    return conclude("outgrow", f"keys by seed and murmur2; sends and effects add up; {IDS_NOT_KEPT}", findings)


def odd_keys(kept: KeptRun) -> Iterator[Contradiction]:
    """Findings for rows of `keys` that the seed gives otherwise; without a key chance decides the partitions."""
    from streaming_lab.scaling import keys

    cases = [(keying, partitions) for partitions in keys.PARTITION_COUNTS for keying in keys.KEYINGS]
    rows = kept.frame("keys").to_dict("records")
    if [(row["keying"], row["partitions"]) for row in rows] != cases:
        yield found("keys.parquet", f"{len(rows)} rows", f"{len(cases)} rows, one for each keying and topic")
        return
    seed = int(kept.parameter("seed"))
    for number, row in enumerate(rows):
        again = expected_row(str(row["keying"]), int(row["partitions"]), seed)
        there = {name: row[name] for name in again}
        if there != again:
            yield found(f"keys.parquet, row {number}", there, again)


def expected_row(keying: str, partitions: int, seed: int) -> dict[str, Any]:
    """What the seed decides of one row."""
    from streaming_lab.scaling import keys

    players = [event.player for event in keys.played(keying, SPREAD_EVENTS, SPREAD_PLAYERS, seed)]
    row: dict[str, Any] = {"events": SPREAD_EVENTS, "players": len(set(players))}
    if keying == keys.NO_KEY and partitions > 1:
        return row
    home = {player: murmur2(player.encode()) % 2**31 % partitions for player in set(players)}
    held = Counter(home[player] for player in players)
    return {**row, "late": 0, "homes": 1, "used": len(held), "share": max(held.values()) / (SPREAD_EVENTS / partitions)}


def odd_acks(kept: KeptRun) -> Iterator[Contradiction]:
    """Findings for rows of `acks` that are not those of so many kills, or break what acks=all promises."""
    rows, kills = kept.frame("acks").to_dict("records"), int(kept.parameter("kills"))
    if len(rows) != 4 or [row["acks"] for row in rows] != ["all", "1"] * 2:
        yield found("acks.parquet", f"{len(rows)} rows", "4 rows, acks=all and acks=1 of two faults")
    for number, row in enumerate(rows):
        place = f"acks.parquet, row {number}"
        if row["kills"] != kills:
            yield found(f"{place}, kills", row["kills"], kills)
        if not row["lost"] <= row["acknowledged"] <= row["sent"]:
            yield found(place, f"{row['lost']} lost of {row['acknowledged']} of {row['sent']}", "no more than before")
        if row["acks"] == "all" and (row["lost"] or row["acknowledged"] != row["sent"]):
            yield found(place, f"{row['acknowledged']} of {row['sent']}, {row['lost']} lost", "all of them, none lost")
        if not 0 <= row["p50"] <= row["p99"] <= row["longest"]:
            yield found(f"{place}, waits", [row[name] for name in ("p50", "p99", "longest")], "in this order")


def odd_effects(kept: KeptRun) -> Iterator[Contradiction]:
    """Findings for rows of `effects` whose sums do not close, or that break what their order of work promises."""
    from streaming_lab.scaling.commits import broken_commit_promises

    frame = kept.frame("effects")
    for number, row in enumerate(frame.to_dict("records")):
        sum_ = row["events"] - row["lost"] + row["repeated"]
        if row["effects"] != sum_:
            yield found(f"effects.parquet, row {number}, effects", row["effects"], sum_)
    for problem in broken_commit_promises(frame):
        yield found("effects.parquet", problem, "kept, or the chapter had failed")
