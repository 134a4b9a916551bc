"""Chapter 03 from slices is chapter 03 from one DataFrame, to the byte of what is shown."""

import random
from datetime import UTC, datetime, timedelta
from functools import reduce

import pandas as pd
import pytest
from kafka.partitioner.default import murmur2
from topics_of import Record, new_topic, write

from streaming_lab.analysis.parts import ChapterPart, chapter_part, merge_chapter_parts, read_of_part
from streaming_lab.analysis.replay import world_differences
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.errors import LabError
from streaming_lab.game.events import ACTIONS, Event
from streaming_lab.game.schema import EVENTS
from streaming_lab.reader import read_topic
from streaming_lab.scaling.sliced_tables import read_chapter, read_chapter_whole, shown_of_chapter
from streaming_lab.slices.executors import open_executor
from streaming_lab.slices.plan import plan_slices

PARTITIONS, PLAYED = 3, 10_000
START = datetime(2026, 11, 24, 12, tzinfo=UTC)


def played(seed: int) -> tuple[pd.DataFrame, dict[int, list[Record]]]:
    """Requests of 10,000 events, and the records of their topic: rows, some of them lost, some twice and some of these
    far from their first, some on another partition than their key's, rejects, tombstones, rows without a request.
    """
    dice = random.Random(seed)
    asked, records = [], dict[int, list[Record]]({partition: [] for partition in range(PARTITIONS)})
    late: list[tuple[int, Record]] = []
    for n in range(PLAYED):
        player, kind = f"player-{dice.randrange(60):02d}", dice.choice(list(ACTIONS.values()))
        fields = {"guild": f"guild-{dice.randrange(9)}"} if "guild" in kind.fields else {}
        event = Event(f"id-{n}", kind.name, player, START + timedelta(milliseconds=7 * n), fields=fields)
        status = 503 if dice.random() < 0.002 else 200
        if dice.random() > 0.002:
            asked.append((event.event_id, player, kind.name, event.at, status, dice.random() * 9))
        home = murmur2(player.encode()) % 2**31 % PARTITIONS
        home = (home + 1) % PARTITIONS if dice.random() < 0.002 else home
        record = (player.encode(), event.to_bytes())
        if dice.random() > 0.002:
            records[home].append(record)
        if dice.random() < 0.004:
            late.append((home, record))
        if dice.random() < 0.002:
            records[home].append((player.encode(), dice.choice([None, b"no JSON", b'{"event_id": "id-%d"}' % n])))
    for home, record in late:
        records[home].append(record)
    names = ["request_id", "player", "action", "sent_at", "status", "latency_ms"]
    kinds = {"sent_at": "datetime64[us, UTC]", "status": "Int64", "request_id": "str", "player": "str"}
    return pd.DataFrame(asked, columns=names).astype(kinds), records


@pytest.fixture(scope="module")
def game(kafka: Connection) -> tuple[str, pd.DataFrame]:
    """A topic of some 10,000 rows with everything that may be in one, and the requests."""
    requests, records = played(7)
    topic = new_topic(kafka, PARTITIONS)
    write(kafka, topic, records)
    return topic, requests


@pytest.mark.parametrize(
    "engine",
    [
        "pandas",
        "processes",
        pytest.param("dask", marks=pytest.mark.long),  # test_report.py has chapter 06 on Dask, the same to the byte
    ],
)
def test_slices_show_what_one_frame_shows(kafka: Connection, game: tuple[str, pd.DataFrame], engine: str) -> None:
    """Tables, charts, ledger and replay, with duplicates that lie in different slices: equal to the byte."""
    topic, requests = game
    brokers = addresses(kafka)
    plan = plan_slices(brokers, topic, EVENTS, offsets=900)
    whole = read_chapter_whole(brokers, plan, requests)
    with open_executor(engine, workers=2) as executor:
        read, run = read_chapter(brokers, plan, requests, executor)
    expected = shown_of_chapter(whole, requests, topic)
    assert shown_of_chapter(read, requests, topic) == expected
    assert world_differences(read.world, whole.world).empty
    assert (len(read.events), run.slices, len(expected)) == (len(whole.events), len(plan.slices), 15)
    assert min(len(read.rejects), read.tombstones, int(read.events["event_id"].duplicated().sum())) > 0


def test_the_whole_is_the_plain_functions_on_a_plain_frame(kafka: Connection, game: tuple[str, pd.DataFrame]) -> None:
    """The seam with one slice shows what `read_topic` and chapter 03's functions show without any seam."""
    from streaming_lab.analysis import charts, ledger, replay, tables

    topic, requests = game
    plan = plan_slices(addresses(kafka), topic, EVENTS)
    plain, whole = read_topic(kafka, topic, EVENTS), read_chapter_whole(addresses(kafka), plan, requests)
    assert ledger.close_ledger(requests, plain) == ledger.close_ledger(requests, whole)
    assert replay.world_differences(replay.replay_events(plain.events), whole.world).empty
    assert tables.top_players(plain.events) == tables.top_players(whole.summary)
    plainly = charts.latency_chart(requests, plain.events).html()
    assert plainly == charts.latency_chart(requests, whole.events).html()
    by_type = plain.events.groupby("event_type")["event_id"].count()
    assert {row[0]: row[1] for row in tables.events_by_type(whole.summary).rows[:-1]} == by_type.to_dict()


def test_merging_is_associative(kafka: Connection, game: tuple[str, pd.DataFrame]) -> None:
    """Six parts merged from the left and from the right are the same part."""
    topic, requests = game
    plan = plan_slices(addresses(kafka), topic, EVENTS, offsets=1800)
    parts = [
        chapter_part(read_topic(kafka, topic, EVENTS, ranges={each.partition: (each.start, each.end)}))
        for each in plan.slices
    ]
    left: ChapterPart = reduce(merge_chapter_parts, parts)
    right = parts[-1]
    for part in reversed(parts[:-1]):
        right = merge_chapter_parts(part, right)
    one, other = (shown_of_chapter(read_of_part(part, None), requests, topic) for part in (left, right))
    assert one == other


def test_slices_of_another_game_are_refused(kafka: Connection) -> None:
    """Their tables depend on all rows at once (which column names types?): an error instead of other tables."""
    topic = new_topic(kafka)
    write(kafka, topic, {0: [(None, b'{"type": "sword"}')] * 4})
    plan = plan_slices(addresses(kafka), topic, offsets=2)
    with open_executor("pandas") as executor, pytest.raises(LabError, match="no events of the lab's game"):
        read_chapter(addresses(kafka), plan, played(7)[0].head(4), executor)
