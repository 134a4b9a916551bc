"""The charts of chapter 03: drawn by Altair in the page's tokens, each with a reading and its data as a table.

Each chart is drawn twice, for wide and for narrow pages. Charts of times are measured as a whole; the others repeat.
"""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import pandas as pd

from streaming_lab.analysis import chart_specs, tables
from streaming_lab.analysis.chart_specs import NARROW, WIDE, altair, records
from streaming_lab.analysis.counts import (
    bin_times,
    clock_offset,
    count_by_partition,
    count_by_player,
    guild_counts,
    share,
    span_of,
    to_broker,
)
from streaming_lab.analysis.display import NO_EVENTS, NO_PLAYERS, NO_TIMES, Figure, Table, TableColumn, number
from streaming_lab.analysis.shapes import most_frequent
from streaming_lab.analysis.summary import AnyEvents, summarize
from streaming_lab.analysis.theme import OTHER, SPEC_SCHEMA, TOKENS, config, page_svg
from streaming_lab.wording import counted, rounded, visible, visible_everywhere

PARTITIONS_NAMED = 20  # partitions that an alternative text names
MOST_PLAYERS = 50  # the most bars with room for their names
SHARES = (0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999, 1.0)
VEGALITE_VERSION = "5.21"  # draws the page; JupyterLab 4 draws the same specification with a version 5 of its own


def events_over_time_chart(events: AnyEvents) -> Figure:
    """Events per second by type, over the events' own time; the panels share one scale."""
    title = "Events per second, by type"
    found = summarize(events)
    if found.moments is None:
        return empty_figure(title, NO_TIMES if len(found) else NO_EVENTS)
    rates, width = bin_times(found)
    total, span = rates.sum(axis=1), span_of(found)
    peaks = ", ".join(f"{kind} peaks at {rates[kind].max():,.0f}" for kind in rates)
    mean = len(found) / max(span, width)
    sizes = found.typed().groupby("event_type")["events"].sum()
    top = "default" if found.lab else most_frequent(sizes)
    part = share(sizes.get(top, 0), len(found))
    what = "plain visits" if found.lab else f"`{top}`"
    return figure(
        title,
        f"{counted(len(found), 'event')} in {span:.2f} s, in bins of {1000 * width:,.0f} ms; one scale for all panels",
        alt=f"{counted(len(rates.columns), 'area chart')} in steps, one for each event type, over {span:.1f} seconds; "
        f"vertical axis in events per second: {peaks}.",
        reading=f"The crowd caused {mean:,.0f} events per second on average and {total.max():,.0f} at its peak, "
        f"{total.idxmax():.2f} s after the first; {part:.0f}% of all events are {what}.",
        data=frame_table(title, number("from (s)", 2), rates.assign(all=total)),
        draw=lambda narrow: chart_specs.over_time_spec(rates, width, narrow),
        measured=True,
    )


def events_by_player_chart(events: AnyEvents) -> Figure:
    """Events for each player, by type; the busiest first."""
    title = "Events by player and type"
    found = summarize(events)
    if not len(found) or not found.named:
        return empty_figure(title, NO_PLAYERS if len(found) else NO_EVENTS)
    counts = count_by_player(found)
    made, shown = counts["all"], counts.head(MOST_PLAYERS)
    median, most, top = float(made.median()), int(made.iloc[0]), str(counts.index[0])
    few = min(5, len(counts))
    who = (
        counted(len(counts), "player") if len(shown) == len(counts) else f"the {len(shown)} busiest of {len(counts):,}"
    )
    return figure(
        title,
        f"{who}, from most to fewest events; stacked in the order of the key",
        alt=f"Bar chart of {who} sorted by their number of events, each bar split by event type. The bars fall from "
        f"{counted(most, 'event')} for {top} to {shown['all'].iloc[-1]:,} for {shown.index[-1]}; the median is "
        f"{rounded(median)}.",
        reading=f"The median player caused {rounded(median)} {'event' if median == 1 else 'events'}; the {few} busiest "
        f"of {counted(len(counts), 'player')} caused {share(made.head(few).sum(), len(found)):.0f}% of all, and {top} "
        f"alone {most:,}."
        if len(counts) > 1
        else f"{top} alone caused all {counted(most, 'event')}.",
        data=frame_table(title, TableColumn("player"), shown),
        draw=lambda narrow: chart_specs.by_player_spec(shown, median, narrow),
    )


def events_by_partition_chart(events: AnyEvents) -> Figure:
    """Events on each partition, by type, beside the even share."""
    title = "Events by partition and type"
    found = summarize(events)
    if not len(found):
        return empty_figure(title)
    counts = count_by_partition(found)
    held, keyed = counts["all"].to_dict(), found.lab
    top = max(held, key=lambda partition: held[partition])
    even = len(found) / len(held)
    spread = ", ".join(
        f"partition {partition} holds {count:,}" for partition, count in [*held.items()][:PARTITIONS_NAMED]
    )
    spread += f", and {len(held) - PARTITIONS_NAMED:,} more" if len(held) > PARTITIONS_NAMED else ""
    keys = counts["players"].to_dict() if keyed else {}
    why = f": {keys[top]:,} of {counted(sum(keys.values()), 'key')} hash to it" if keyed else ""
    return figure(
        title,
        f"{'the key is the player, so each player lives on one partition; ' if keyed else ''}"
        "stacked in the order of the key",
        alt=f"Bar chart of {counted(len(held), 'partition')}, each bar split by event type. Of "
        f"{counted(len(found), 'event')} {spread}; "
        f"an even share would be {even:,.0f}.",
        reading=f"Partition {top} holds all events."
        if len(held) == 1
        else f"Partition {top} holds {share(held[top], len(found)):.0f}% of the events, {held[top] / even:.2f} "
        f"times its even share{why}.",
        data=frame_table(title, TableColumn("partition"), counts),
        draw=lambda narrow: chart_specs.by_partition_spec(counts, even, narrow),
    )


def latency_chart(requests: pd.DataFrame, events: pd.DataFrame, *, acknowledged: bool = False) -> Figure:
    """The shares of events on the broker and of answered requests within a time since the request.

    `acknowledged`: a 200 is answered after the broker's acknowledgement. Where two clocks disagree, their offset is
    said in place of times between them.
    """
    title = "From request to broker"
    broker, answered = to_broker(requests, events), requests.loc[requests["status"].notna(), "latency_ms"]
    if broker.empty or answered.empty:
        return empty_figure(title)
    if offset := clock_offset(requests, events, acknowledged=acknowledged):
        return answers_only(title, answered.astype("float64"), offset)
    kinds = {"on the broker": broker, "answered": answered.astype("float64")}
    (half, most), (half_answered, most_answered) = (tuple(v.quantile([0.5, 0.99])) for v in kinds.values())
    data = pd.DataFrame({f"{name} (ms)": values.quantile(list(SHARES)) for name, values in kinds.items()})
    return figure(
        title,
        f"share of {counted(len(broker), 'event')} within a time; upper bounds: a broker stamps whole milliseconds",
        alt="Two cumulative distributions on a logarithmic axis of milliseconds since the request was sent. Half of "
        f"the events are on the broker within {half:.1f} ms, 99 percent within {most:.1f} ms; half of the requests are "
        f"answered within {half_answered:.1f} ms, 99 percent within {most_answered:.1f} ms.",
        reading=f"Half of the events were on the broker within {half:.1f} ms of the request, 99% within {most:.1f} ms; "
        f"the slowest took {broker.max():,.1f} ms, {broker.max() / half:,.0f} times the median. "
        f"Half of the players had their answer within {half_answered:.1f} ms.",
        data=frame_table(title, TableColumn("share"), data.rename(index="{:.4g}".format), decimals=2),
        draw=lambda narrow: chart_specs.latency_spec(kinds, narrow),
        measured=True,
    )


def answers_only(title: str, answered: "pd.Series[Any]", offset: float) -> Figure:
    """The share of answered requests within a time, and why the broker's times are not shown."""
    kinds = {"answered": answered}
    half, most = (float(answered.quantile(q)) for q in (0.5, 0.99))
    data = pd.DataFrame({"answered (ms)": answered.quantile(list(SHARES))})
    apart = "before their requests" if offset < 0 else "after the answers that followed them"
    why = (
        f"The topic’s stamps lie up to {long_time(abs(offset))} {apart}: two clocks, at least that far apart. So no "
        "time from a request to the broker can be told"
    )
    return figure(
        title,
        f"share of {counted(len(answered), 'answer')} within a time; no times to the broker: its clock is another one",
        alt="A cumulative distribution on a logarithmic axis of milliseconds since the request was sent. Half of the "
        f"requests are answered within {half:.1f} ms, 99 percent within {most:.1f} ms. {why}.",
        reading=f"{why}. Half of the players had their answer within {half:.1f} ms.",
        data=frame_table(title, TableColumn("share"), data.rename(index="{:.4g}".format), decimals=2),
        draw=lambda narrow: chart_specs.latency_spec(kinds, narrow),
        measured=True,
    )


def long_time(milliseconds: float) -> str:
    """A time in the unit in which it is easy to read: `35.2 s`, `2,556 days`."""
    for most, size, unit in ((1000, 1, "ms"), (120e3, 1e3, "s"), (120 * 60e3, 60e3, "min"), (48 * 3600e3, 3600e3, "h")):
        if milliseconds < most:
            return f"{milliseconds / size:.1f} {unit}"
    return f"{milliseconds / (24 * 3600e3):,.0f} days"


def guild_chart(world: Any) -> Figure:
    """Members and swords of each guild in a game's world."""
    title = "Guilds at the end: members and swords"
    counts = guild_counts(world)
    if counts.empty:
        return empty_figure(title, "no players")
    swords = {str(name): int(count) for name, count in counts["swords"].items()}
    members = {str(name): int(count) for name, count in counts["members"].items()}
    richest, free = max(swords, key=lambda name: swords[name]), members.get("no guild", 0)
    players, owned = sum(members.values()), sum(swords.values())
    where = "outside the guilds" if richest == "no guild" else f"in {richest}"
    spread = ", ".join(f"{name} {members[name]:,} and {swords[name]:,}" for name in swords)
    return figure(
        title,
        "the game’s world after the last request; both panels count from zero",
        alt=f"Two bar charts side by side over the same {counted(len(counts), 'group')}, members and swords: {spread}.",
        reading=f"{counted(players, 'player')} {'holds' if players == 1 else 'hold'} {counted(owned, 'sword')}, "
        f"{share(swords[richest], owned):.0f}% of them {where}; {free:,} of the players joined no guild.",
        data=tables.guild_table(world),
        draw=lambda narrow: chart_specs.guild_spec(counts, narrow),
    )


def figure(
    title: str,
    note: str,
    *,
    alt: str,
    reading: str,
    data: Table,
    draw: Callable[[bool], Any],
    measured: bool = False,
) -> Figure:
    """A figure from a function that gives the chart for wide (False) and for narrow (True) pages."""
    specs = [specification(draw(narrow)) for narrow in (False, True)]
    wide, narrow = (page_svg(rendered(spec), name) for spec, name in zip(specs, ("wide", "narrow"), strict=True))
    return Figure(title, note, alt, wide, narrow, reading, data, specs[0], measured)


def specification(chart: Any) -> dict[str, Any]:
    """The chart as Vega-Lite in the page's theme, with its rows inline and control characters as escapes."""
    spec: dict[str, Any] = visible_everywhere(chart.to_dict(validate=False))  # each part was checked when it was made
    return {**spec, "$schema": SPEC_SCHEMA, "config": config()}


def rendered(spec: Mapping[str, Any]) -> str:
    """Vega's SVG of a specification."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(dict(spec), vl_version=VEGALITE_VERSION))


def warm_up_charts() -> None:
    """Import what draws, and draw nothing once: a process's first drawing compiles Vega-Lite, 0.5 s of CPU."""
    altair()
    rendered({"$schema": SPEC_SCHEMA, "data": {"values": []}, "mark": "point"})


def empty_figure(title: str, what: str = NO_EVENTS) -> Figure:
    """A figure without data, which says so."""
    wide, narrow = (
        f'<svg class="{name}" viewBox="0 0 {width} 40" width="{width}" height="40" aria-hidden="true">'
        f'<text class="tick" x="0" y="24">{escape(visible(what))}</text></svg>'
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return Figure(title, what, f"An empty chart: {what}.", wide, narrow, f"{what[:1].upper()}{what[1:]}.")


def frame_table(title: str, first: TableColumn, frame: pd.DataFrame, *, decimals: int = 0) -> Table:
    """A frame as the data behind a figure, its index as the first column."""
    columns = (first, *(number(str(name), decimals) for name in frame.columns))
    return Table(title, columns, tuple(frame.itertuples(name=None)))


def ways_to_read(seconds: Mapping[str, float], rows: int) -> Figure:
    """The milliseconds of each way to read a topic, as bars; the first way is the baseline of the comparison."""
    title = "The same rows, read in other ways"
    if not rows:
        return empty_figure(title)
    took = {way: 1000 * value for way, value in seconds.items()}
    first, base = next(iter(took.items()))
    best = min(took, key=lambda way: took[way])
    spread = ", ".join(f"{way} {value:,.0f} ms" for way, value in took.items())
    return figure(
        title,
        f"milliseconds from asking to a DataFrame of {counted(rows, 'row')}; one reading each, after a first one",
        alt=f"Bar chart of {counted(len(took), 'way')} to read the same {counted(rows, 'row')}: {spread}.",
        reading=f"Of {len(took)} ways, {best} was the quickest: {took[best]:,.0f} ms, {base / took[best]:,.1f} times "
        f"as fast as {first}.",
        data=Table(
            title,
            (TableColumn("way"), number("ms", 1), number(f"times {first}", 1)),
            tuple((way, value, base / value) for way, value in took.items()),
        ),
        draw=lambda narrow: duration_bars(took, narrow),
        measured=True,
    )


def duration_bars(took: Mapping[str, float], narrow: bool) -> Any:
    """Horizontal bars with their values at the end."""
    alt = altair()

    frame = pd.DataFrame({"way": list(took), "ms": list(took.values())})
    side = 130 if narrow else 170
    axis = alt.Axis(labelColor=TOKENS["ink"], labelExpr="datum.label", labelLimit=side)  # our own words
    way = alt.Y("way:N", sort=list(took), title=None, axis=axis)
    span = alt.X("ms:Q", title="milliseconds", axis=alt.Axis(grid=True, tickCount=4))
    width = (NARROW if narrow else WIDE) - side - 60
    base = alt.Chart(records(frame), width=width, height=34 * len(took))
    drawn = base.mark_bar(size=18, color=OTHER, tooltip=True).encode(way, span)
    ends = base.mark_text(align="left", dx=5, color=TOKENS["ink"])
    return drawn + ends.encode(way, span, alt.Text("ms:Q", format=",.0f"))
