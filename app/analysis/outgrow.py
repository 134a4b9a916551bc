"""The tables and charts of chapter 05: a killed leader, keys and partitions, a consumer group, commits.

What depends on the moment of a kill is measured; a guaranteed zero, and what a key decides, is not.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from streaming_lab.analysis import outgrow_specs
from streaming_lab.analysis.charts import figure
from streaming_lab.analysis.deliveries import Mark, describe_timeline
from streaming_lab.analysis.display import Figure, Table, TableColumn, number
from streaming_lab.analysis.measured import measured
from streaming_lab.wording import counted

LOST_SHOWN = 8  # rows of the table of lost events


def acks_table(numbers: pd.DataFrame) -> Table:
    """What each kind of acknowledgement was worth, by fault: rows as of `scaling.leader_kill.acks_numbers`."""
    rows = tuple(
        (
            row["fault"],
            f"acks={row['acks']}",
            *(measured(int(row[name])) for name in ("sent", "acknowledged")),
            row["lost"] if row["acks"] == "all" else measured(int(row["lost"])),
            *(measured(1000 * row[name], f"{1000 * row[name]:,.0f}") for name in ("p50", "p99", "longest")),
        )
        for row in numbers.to_dict("records")
    )
    columns = (
        TableColumn("fault"),
        TableColumn("producer", "code"),
        number("sent"),
        number("acknowledged"),
        number("of these lost", alarm=True),
        number("half waited (ms)"),
        number("99% waited (ms)"),
        number("longest wait (ms)"),
    )
    kills = int(numbers["kills"].max())
    return Table("What an acknowledgement was worth", columns, rows, f"in events; {counted(kills, 'kill')} of a leader")


def lost_tail_table(tail: pd.DataFrame) -> Table:
    """The first and the last of the lost events, with what is at their offsets now."""
    half = LOST_SHOWN // 2
    shown = tail if len(tail) <= LOST_SHOWN else pd.concat([tail.head(half), tail.tail(half)])
    rows = tuple(
        (row["event_id"], f"acks={row['acks']}", int(row["offset"]), row["now"] or "nothing")
        for row in shown.to_dict("records")
    )
    columns = (
        TableColumn("event id", "code", measured=True),
        TableColumn("producer", "code", measured=True),
        number("acknowledged at offset", measured=True),
        TableColumn("there now", "code", measured=True),
    )
    note = f"{counted(len(shown), 'event')} of {len(tail):,}"
    return Table("Acknowledged, and gone", columns, rows, note, empty="nothing was lost")


def leader_chart(spans: pd.DataFrame, answers: pd.DataFrame, lost: pd.DataFrame, moments: Sequence[Mark]) -> Figure:
    """Brokers over time (broker, state, begin, end), and the wait of each send (request_id, acks, sent, answered)."""
    rows = spans.assign(row="broker " + spans["broker"].astype("str")).sort_values(["broker", "begin"])
    rows = rows[["row", "state", "begin", "end"]]
    told = answers[answers["answered"].notna() & (answers["sent"] >= 0)]
    gone = told["request_id"].isin(lost["request_id"])
    kind = ("acks=" + told["acks"]).where(~gone, "acks=" + told["acks"] + ", lost")
    waits = pd.DataFrame(
        {"sent": told["sent"].round(3), "wait": 1000 * (told["answered"] - told["sent"]), "kind": kind}
    )
    waits["wait"] = waits["wait"].clip(lower=0.5).round(1)  # ms, on a logarithmic axis
    leaders = spans[spans["state"] == outgrow_specs.LEADS].sort_values("begin")
    led = ", then ".join(dict.fromkeys(f"broker {one}" for one in leaders["broker"]))
    longest = waits.groupby("kind")["wait"].max()
    spread = ", ".join(f"{name} {value / 1000:.2f} s" for name, value in longest.items())
    columns = (TableColumn("broker"), TableColumn("state"), number("from (s)", 2), number("to (s)", 2))
    return figure(
        "The leader, its followers, and the wait of each send",
        f"dashed lines: {describe_timeline(moments)}",
        alt=f"Three bars over {spans['end'].max():.1f} seconds, one for each broker, coloured by leading, in sync and "
        f"not in sync; below them points, one for each of {counted(len(waits), 'send')}, by the time to its "
        f"answer on a logarithmic axis. The partition was led by {led}. The longest waits: {spread}.",
        reading=f"The partition was led by {led}. Longest waits: {spread}.",
        data=Table("The brokers over time", columns, tuple(rows.itertuples(index=False, name=None))),
        draw=lambda narrow: outgrow_specs.waits_spec(rows, waits, moments, narrow),
        measured=True,
    )


def order_table(numbers: pd.DataFrame) -> Table:
    """Order and balance of each keying on each number of partitions: rows as of `scaling.keys.order_and_balance`."""
    rows = []
    for row in numbers.to_dict("records"):
        keyed = row["homes"] == 1

        def chance(value: Any, text: str, keyed: bool = keyed) -> Any:
            return value if keyed else measured(value, text)

        rows.append(
            (
                row["keying"],
                row["partitions"],
                row["homes"],
                chance(row["late"], f"{row['late']:,}"),
                chance(row["used"], f"{row['used']:,}"),
                chance(row["share"], f"{row['share']:.2f}"),
            )
        )
    columns = (
        TableColumn("keying"),
        number("partitions"),
        number("most partitions of a player"),
        number("events after a later one"),
        number("partitions in use"),
        number("fullest, in even shares", 2),
    )
    first = numbers.iloc[0]
    note = f"{counted(int(first['events']), 'event')} of {counted(int(first['players']), 'player')} in each row"
    return Table("Order and balance", columns, tuple(rows), note)


def balance_chart(found: pd.DataFrame) -> Figure:
    """Events by partition for each keying, on the topic with the most partitions; rows as of `scaling.keys`."""
    partitions = int(found["partitions"].max())
    rows = found[found["partitions"] == partitions]
    every = pd.MultiIndex.from_product([rows["keying"].unique(), range(partitions)], names=["keying", "partition"])
    held = rows.groupby(["keying", "partition"]).size().reindex(every, fill_value=0).rename("events").reset_index()
    even = len(rows) / rows["keying"].nunique() / partitions
    most = held.loc[held.groupby("keying", sort=False)["events"].idxmax()]
    spread = ", ".join(
        f"{row['keying']}: partition {row['partition']} with {row['events']:,} ({row['events'] / even:.1f} even shares)"
        for row in most.to_dict("records")
    )
    columns = (TableColumn("keying"), number("partition"), number("events"))
    return figure(
        f"Events on {counted(partitions, 'partition')}, by keying",
        "the same number of events in each panel",
        alt=f"Three panels of {partitions} bars, events by partition. The fullest of each: {spread}; an even share "
        f"would be {even:,.0f}.",
        reading=f"The fullest partitions: {spread}.",
        data=Table("Events by partition", columns, tuple(held.itertuples(index=False, name=None))),
        draw=lambda narrow: outgrow_specs.balance_spec(held, even, narrow),
        measured=True,
    )


def group_chart(spans: pd.DataFrame, lag: pd.DataFrame, moments: Sequence[Mark]) -> Figure:
    """Who had which partition (member, partition, begin, end), and the group's lag (seconds, partition, lag)."""
    rows = spans.assign(row="partition " + spans["partition"].astype("str"), state=spans["member"])
    rows = rows.sort_values(["partition", "begin"])[["row", "state", "begin", "end"]]
    total = lag.groupby("seconds")["lag"].sum().reset_index()
    top = total.iloc[int(total["lag"].to_numpy().argmax())]
    columns = (number("from (s)", 1), number("events not committed"))
    shown = total.iloc[:: max(1, len(total) // 60)]
    said = f"The lag was largest {top['seconds']:.1f} s after the start: {int(top['lag']):,} events"
    return figure(
        "Partitions by member, and the group’s lag",
        f"dashed lines: {describe_timeline(moments)}",
        alt=f"{counted(rows['row'].nunique(), 'bar')} over {total['seconds'].max():.1f} seconds, one for each "
        f"partition, coloured by the member that has it; below them the area of the lag. {said}. "
        f"{describe_timeline(moments)}.",
        reading=f"{said}, {int(total['lag'].iloc[-1]):,} at the end.",
        data=Table("The group’s lag", columns, tuple(shown.itertuples(index=False, name=None))),
        draw=lambda narrow: outgrow_specs.group_spec(rows, total, moments, narrow),
        measured=True,
    )


def effects_table(counts: pd.DataFrame) -> Table:
    """How often events had an effect, by the order of work and commit: rows as of `scaling.commits.crash_between`."""
    rows = tuple(
        (_kind(row), row["events"], row["effects"], row["lost"], row["repeated"], _called(row))
        for row in counts.to_dict("records")
    )
    columns = (
        TableColumn("order"),
        number("events"),
        number("effects"),
        number("lost", alarm=True),
        number("repeated", alarm=True),
        TableColumn("that is"),
    )
    return Table("A crash between work and commit", columns, rows, "counted by event id")


def effects_chart(counts: pd.DataFrame) -> Figure:
    """Lost and repeated events of each order of work and commit."""
    effects = pd.DataFrame(
        [(_kind(row), row["lost"], row["repeated"]) for row in counts.to_dict("records")],
        columns=["kind", "lost", "repeated"],
    )
    spread = "; ".join(
        f"{row['kind']}: {row['lost']:,} lost, {row['repeated']:,} repeated" for row in effects.to_dict("records")
    )
    columns = (TableColumn("order"), number("lost"), number("repeated"))
    return figure(
        "Lost and repeated after a crash",
        "events of one consumer that killed itself between its work and its commit, and of its successor",
        alt=f"Two bar charts over the same {len(effects)} orders of work and commit. {spread}.",
        reading=f"{spread}.",
        data=Table("Lost and repeated", columns, tuple(effects.itertuples(index=False, name=None))),
        draw=lambda narrow: outgrow_specs.effects_spec(effects, narrow),
        measured=True,
    )


def _kind(row: dict[Any, Any]) -> str:
    return f"{row['kind']} ({row['seen_as']})" if row["seen_as"] else str(row["kind"])


def _called(row: dict[Any, Any]) -> str:
    """The name of what the counts show."""
    if row["lost"]:
        return "at most once" if not row["repeated"] else "neither"
    return "at least once" if row["repeated"] else "exactly once"
