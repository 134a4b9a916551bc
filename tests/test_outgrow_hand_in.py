"""Chapter 05 in a hand-in: its frames are checked by seed and by sums, and what was not kept is not told."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from streaming_lab.cluster import Cluster
from streaming_lab.handin.outgrow_check import check_outgrow, expected_row
from streaming_lab.scaling import keys
from streaming_lab.scaling.commits import AS_READ
from streaming_lab.scaling.committing import AFTER, BEFORE, TRANSACTION, UPSERT

SEED = 7


def frames() -> dict[str, pd.DataFrame]:
    """The frames of a run with one kill of each kind."""
    acks = [
        {"fault": fault, "acks": acks, "kills": 1, "sent": 100, "acknowledged": 100, "lost": lost}
        | {"p50": 0.01, "p99": 1.0, "longest": 2.0}
        for fault in ("leader killed", "followers frozen first")
        for acks, lost in (("all", 0), ("1", 4))
    ]
    effects = [(BEFORE, "", 24, 0), (AFTER, "", 0, 24), (UPSERT, "", 0, 0)]
    effects += [(TRANSACTION, seen_as, 0, 24 * (seen_as == "read uncommitted")) for seen_as in AS_READ.values()]
    chance = {"late": 3, "homes": 3, "used": 3, "share": 1.1}
    cases = [(keying, partitions) for partitions in keys.PARTITION_COUNTS for keying in keys.KEYINGS]
    return {
        "acks": pd.DataFrame(acks),
        "effects": pd.DataFrame(
            [(*one[:2], 600, 600 - one[2] + one[3], *one[2:]) for one in effects],
            columns=["kind", "seen_as", "events", "effects", "lost", "repeated"],
        ),
        "keys": pd.DataFrame(
            [
                {"keying": keying, "partitions": count, **chance, **expected_row(keying, count, SEED)}
                for keying, count in cases
            ]
        ),
    }


def kept(frames: dict[str, pd.DataFrame], seed: int = SEED) -> Any:
    """A hand-in with these frames."""
    parameters = {"seed": seed, "kills": 1}
    run = SimpleNamespace(chapters=[SimpleNamespace(number=5)])
    return SimpleNamespace(run=run, frame=frames.__getitem__, parameter=parameters.__getitem__)


def test_keys_of_a_real_topic_are_those_of_the_seed(breakable: Cluster) -> None:
    """As a broker and librdkafka spread them; another seed's rows contradict."""
    real = frames() | {"keys": keys.order_and_balance(keys.spread_keys(breakable, seed=SEED))}
    found = check_outgrow(kept(real))
    assert (found.word, found.findings) == ("agrees", ())
    other = check_outgrow(kept(real, seed=8))
    assert (other.word, other.findings[0].place) == ("contradicts", "keys.parquet, row 3")


@pytest.mark.parametrize(
    ("name", "column", "row", "value", "place"),
    [
        ("keys", "share", 4, 2.5, "keys.parquet, row 4"),
        ("keys", "late", 0, 1, "keys.parquet, row 0"),
        ("keys", "partitions", 0, 2, "keys.parquet"),
        ("acks", "lost", 0, 1, "acks.parquet, row 0"),
        ("acks", "acknowledged", 1, 101, "acks.parquet, row 1"),
        ("acks", "kills", 2, 3, "acks.parquet, row 2, kills"),
        ("acks", "p50", 3, 1.5, "acks.parquet, row 3, waits"),
        ("effects", "effects", 2, 601, "effects.parquet, row 2, effects"),
        ("effects", "repeated", 1, 0, "effects.parquet, row 1, effects"),
    ],
)
def test_an_edited_count_contradicts(name: str, column: str, row: int, value: Any, place: str) -> None:
    """The file, the row and both values are named; without an edit everything agrees."""
    assert check_outgrow(kept(frames())).word == "agrees"
    edited = frames()
    edited[name].loc[row, column] = value
    found = check_outgrow(kept(edited))
    assert (found.word, found.findings[0].place) == ("contradicts", place)
