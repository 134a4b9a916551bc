"""Chapter 03 made from slices: its topic read by an executor, its tables and charts as they are shown, and compared."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from streaming_lab.analysis import charts, first_rows, tables
from streaming_lab.analysis.display import Figure, Table, TableColumn, number
from streaming_lab.analysis.ledger import LogCounts, close_ledger
from streaming_lab.analysis.parts import (
    ReadInSlices,
    chapter_part,
    later_world,
    merge_chapter_parts,
    read_of_frame,
    read_of_part,
    repeated_across,
    replayed_part,
    rows_of,
    split_requests,
)
from streaming_lab.analysis.sankey import ledger_sankey
from streaming_lab.client.client_properties import connection_named
from streaming_lab.client.metadata import Ranges
from streaming_lab.errors import LabError
from streaming_lab.game.schema import EVENTS
from streaming_lab.reader import read_topic
from streaming_lab.slices.executors import Executor, open_executor
from streaming_lab.slices.on_dask import dask_is_there
from streaming_lab.slices.plan import SlicePlan, memory_budget, plan_slices
from streaming_lab.slices.run import SlicedRun, run_slices
from streaming_lab.slices.work import peak_memory

OWN = "own"  # the scheduler that Dask starts here


def read_chapter(
    brokers: str, plan: SlicePlan, requests: pd.DataFrame, executor: Executor
) -> tuple[ReadInSlices, SlicedRun]:
    """The topic of a plan as chapter 03's functions take it, and what the run of its slices counted.

    Where an event lies in two slices, as after a producer's retry, the replay reads the slices a second time and leaves
    the later rows out.
    """
    split = {home: (mine,) for home, mine in split_requests(requests, plan.partitions).items()}
    run = run_slices(brokers, plan.slices, chapter_part, merge_chapter_parts, executor, extra=split)
    if run.part is None:
        raise LabError("the range holds no offsets", "Play the game first, or name ranges that hold some.")
    repeated = repeated_across(rows_of(run.part, requests), [piece.place[:2] for piece in plan.slices])
    if repeated:
        known = dict.fromkeys(range(plan.partitions), (repeated,))
        again = run_slices(brokers, plan.slices, replayed_part, later_world, executor, extra=known, digests=run.digests)
        run.part, run.seconds = replace(run.part, world=again.part), run.seconds + again.seconds
    return read_of_part(run.part, requests), run


def read_chapter_whole(brokers: str, plan: SlicePlan, requests: pd.DataFrame) -> ReadInSlices:
    """The same of one DataFrame, which is a topic of one slice; refused before it is read if memory will not do."""
    plan.refuse_beyond(memory_budget())
    topic = plan.slices[0].topic
    return read_of_frame(read_topic(connection_named(brokers), topic, EVENTS, ranges=plan.ranges), requests)


@dataclass(frozen=True)
class EngineRun:
    """Chapter 03 by one engine: what it shows, and what that took (`peak`: bytes of the largest process)."""

    engine: str
    slices: int
    processes: int
    rows: int
    seconds: float
    peak: int
    shown: Mapping[str, str]


def run_engines(
    brokers: str,
    topic: str,
    requests: pd.DataFrame,
    engine: str,
    scheduler: str = OWN,
    *,
    ranges: Ranges | None = None,
    offsets: int | None = None,
) -> list[EngineRun]:
    """Chapter 03 of a topic by pandas, by processes of this machine, and by `engine` or by Dask where that is there."""
    names = dict.fromkeys(["processes", *(["dask"] if engine == "dask" or dask_is_there() else [])])
    address = "" if scheduler == OWN else scheduler
    if address and engine != "dask":
        open_executor(engine, address)  # says whose a scheduler is
    plan = plan_slices(brokers, topic, EVENTS, ranges=ranges, offsets=offsets)
    began = time.monotonic()
    whole = read_chapter_whole(brokers, plan, requests)
    took = time.monotonic() - began
    shown = shown_of_chapter(whole, requests, topic)
    found = [EngineRun("pandas", 1, 1, len(whole.events), took, peak_memory(), shown)]
    for name in names if engine != "pandas" else ():
        with open_executor(name, address if name == "dask" else "") as executor:
            read, run = read_chapter(brokers, plan, requests, executor)
        shown = shown_of_chapter(read, requests, topic)
        count = len(run.processes)
        found.append(EngineRun(name, len(plan.slices), count, len(read.events), run.seconds, run.peak, shown))
    return found


def engines_table(runs: Sequence[EngineRun]) -> Table:
    """The engines side by side: rows, slices, processes, seconds, and the tables that are not the first engine's."""
    columns = (
        TableColumn("engine", "code"),
        number("rows"),
        number("slices"),
        number("processes", measured=True),
        number("seconds", 2, measured=True),
        number("largest process (MB)", measured=True),
        number("tables and charts"),
        number("unequal", alarm=True),
    )
    rows = tuple(
        (
            run.engine,
            run.rows,
            run.slices,
            run.processes,
            run.seconds,
            run.peak >> 20,
            len(run.shown),
            len(unequal(runs[0], run)),
        )
        for run in runs
    )
    return Table("Chapter 03's tables, from slices", columns, rows, "unequal: not the same as pandas', to the byte")


def unequal(one: EngineRun, other: EngineRun) -> list[str]:
    """The titles of tables and charts that are not the same for both."""
    return [title for title, markup in one.shown.items() if other.shown.get(title) != markup]


def shown_of_chapter(
    read: ReadInSlices, requests: pd.DataFrame, topic_name: str, counts: LogCounts | None = None
) -> dict[str, str]:
    """Every table and chart of chapter 03 that is made of its topic, by title, as the page's markup."""
    closed = close_ledger(requests, read, counts)
    found: list[Table | Figure] = [
        tables.columns_of(read.summary),
        first_rows.first_rows(read.summary),
        tables.events_by_type(read.summary),
        charts.events_over_time_chart(read.summary),
        charts.events_by_player_chart(read.summary),
        tables.top_players(read.summary),
        charts.events_by_partition_chart(read.summary),
        tables.events_by_partition_table(read.summary),
        charts.latency_chart(requests, read.events),
        tables.reject_table(read.rejects, topic_name),
        tables.ledger_table(closed),
        tables.gap_table(closed),
        tables.guild_table(read.world),
        charts.guild_chart(read.world),
    ]
    return {**{each.title: markup_of(each) for each in found}, "The ledger, drawn": ledger_sankey(closed)}


def markup_of(shown: Table | Figure) -> str:
    """A table or a figure as the page has it."""
    return shown.html() if isinstance(shown, Figure) else shown._repr_html_()
