"""The ledger as a ribbon of threads through five stations, drawn twice: lying on wide pages, upright on narrow ones.

    requests -> accepted -> acknowledged -> offsets -> rows

Breadth is events. What was refused turns away before the second station; what is lost falls off, red, before the third;
between the third and the fifth the ribbon runs over the topic's partitions.
"""

from collections.abc import Iterator
from html import escape

from streaming_lab.analysis.accounts import stations
from streaming_lab.analysis.ledger import Ledger
from streaming_lab.analysis.page import Column, Table, number
from streaming_lab.analysis.ribbon import NARROW, WIDE, Strip, Way, by_partition, gates, short, strip_lines, strips_of

AS_TABLE = "The ledger as a table"
FALL_ROOM = 34  # what falls off a lying ribbon needs this much more room above the labels


def ledger_drawing(ledger: Ledger) -> str:
    """The ledger as a figure for the page: caption, both drawings, and the same numbers as a table."""
    closed = ledger.closed
    title, rest = caption(ledger)
    table = as_table(ledger).fragment(f'<caption class="sr">{title}</caption>', AS_TABLE)
    return (
        f'<figure class="figure ledger{"" if closed else " failed"}">\n'
        f"<figcaption><b>{title}</b> <span>{rest}</span></figcaption>\n"
        f'<div class="plot" role="img" aria-label="{escape(in_words(ledger))}">\n'
        f"{drawn(ledger, WIDE)}\n{drawn(ledger, NARROW)}\n</div>\n"
        f'<details class="data"><summary>{AS_TABLE}</summary>\n{table}\n</details>\n</figure>'
    )


def caption(ledger: Ledger) -> tuple[str, str]:
    """The figure's title and what it shows, as HTML."""
    if not ledger.requests and not ledger.rows:
        return "The ledger.", "No requests and no events."
    told = "Each thread is a player, as wide as that player’s events"
    if len({thread.player for thread in ledger.threads}) == len(ledger.threads):
        told += "; the key keeps it on one partition"
    red = " Red is what was answered 2xx and never arrived." if ledger.lost else ""
    return "The ledger." if ledger.closed else "The ledger, open.", f"{told}.{red}"


def in_words(ledger: Ledger) -> str:
    """The drawing for a reader who cannot see it."""
    found = stations(ledger)
    counts = ", ".join(f"{shown(one.count)} {one.name}" for one in found)
    gaps = ", ".join(one.parts for one in found if one.gap is not None)
    partitions = by_partition(ledger.threads)
    spread = ", ".join(f"p{partition} {sum(t.rows for t in threads):,}" for partition, threads in partitions)
    over = f" Over partitions: {spread}." if partitions else ""
    return f"Flow of events through five stations: {counts}. Gaps: {gaps}.{over}"


def as_table(ledger: Ledger) -> Table:
    """The drawing's numbers."""
    columns = (Column("station"), Column("what is counted"), number("events"), Column("gap before it"))
    rows = tuple((one.name, one.counted, one.count, one.parts) for one in stations(ledger))
    return Table(AS_TABLE, columns, rows)


def drawn(ledger: Ledger, way: Way) -> str:
    """One orientation as SVG."""
    strips = strips_of(ledger, way)
    staying = [strip for strip in strips if strip.kind == "rows"]
    falls = way is WIDE and len(strips) > len(staying)
    width, height = way.size[0], way.size[1] + (FALL_ROOM if falls else 0)
    middle = (way.start + (staying[-1].end if staying else way.start + way.breadth)) / 2
    parts = [
        *(line for strip in strips for line in strip_lines(strip, way)),
        *gates(strips, way),
        *signs(ledger, way, middle),
        *part_labels(ledger, staying, way),
        *station_labels(ledger, way, FALL_ROOM if falls else 0),
    ]
    head = (
        f'<svg class="{way.name}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
    )
    return "\n".join([head, *parts, "</svg>"])


def signs(ledger: Ledger, way: Way, middle: float) -> Iterator[str]:
    """Between two stations: equal, less, more, or, where the account breaks, unequal; and what the gap is."""
    for index, station in enumerate(stations(ledger)[1:]):
        off = broken(ledger)[index]
        css = " off" if off else ""
        x, y = (way.signs[index], middle) if way is WIDE else (middle, way.signs[index])
        yield f'<circle class="sign{css}" cx="{short(x)}" cy="{short(y)}" r="11"/>'
        yield f'<path class="equal{css}" d="{stroke(x, y, station.gap, off=off, more=index == 2)}"/>'
        told = station.parts
        words = told if len(told) <= 26 else f"{station.gap:,} in {told.count(',') + 1} ways"
        place = f'x="{short(x)}" y="48" text-anchor="middle"' if way is WIDE else f'x="182" y="{NARROW_GAPS[index]}"'
        yield f'<text class="gap{css}" {place}>{escape(words)}</text>'


NARROW_GAPS = (71, 163, 259, 355)


def broken(ledger: Ledger) -> tuple[bool, bool, bool, bool]:
    """Which of the four gaps keep the ledger open."""
    surplus = ledger.duplicates + ledger.unexpected - ledger.unconfirmed
    return False, bool(ledger.lost or ledger.disagreement()), bool(surplus), bool(ledger.rejects)


def stroke(x: float, y: float, gap: int | None, *, off: bool, more: bool) -> str:
    """The sign's path: two bars, crossed when off; a minus or a plus for a gap that is accounted for."""
    left = short(x - 5)
    bars = f"M{left} {short(y - 2.5)}h10M{left} {short(y + 2.5)}h10"
    if off:
        return f"{bars}M{short(x - 3.2)} {short(y + 6)}L{short(x + 3.2)} {short(y - 6)}"
    if not gap:
        return bars
    return f"M{left} {short(y)}h10" + (f"M{short(x)} {short(y - 5)}v10" if more else "")


def part_labels(ledger: Ledger, staying: list[Strip], way: Way) -> Iterator[str]:
    """Each partition's name and rows, where there is room for it."""
    for strip, (partition, threads) in zip(staying, by_partition(ledger.threads), strict=True):
        if strip.end - strip.begin < (11 if way is WIDE else 14):
            continue
        centre = strip.middle + strip.shift
        if way is WIDE:
            rows = sum(thread.rows for thread in threads)
            yield f'<text class="part halo" x="548" y="{short(centre + 4)}">p{partition}  {rows:,}</text>'
        else:
            yield f'<text class="part halo" x="{short(centre)}" y="314" text-anchor="middle">p{partition}</text>'


def station_labels(ledger: Ledger, way: Way, room: int) -> Iterator[str]:
    """Each station's count, name, and what it counts."""
    anchors = ("start", "middle", "middle", "middle", "end")
    for along, anchor, station in zip(way.along, anchors, stations(ledger), strict=True):
        count, name, note = shown(station.count), station.name, station.counted
        if way is WIDE:
            end = f'text-anchor="{anchor}"'
            yield f'<text class="sum" x="{short(along)}" y="26" {end}>{count}</text>'
            yield f'<text class="label" x="{short(along)}" y="{217 + room}" {end}>{name}</text>'
            yield f'<text class="note" x="{short(along)}" y="{235 + room}" {end}>{note}</text>'
        else:
            sum_ends = 182 + max(66, 14 * len(count))
            yield f'<text class="sum" x="182" y="{short(along + 1)}">{count}</text>'
            yield f'<text class="label" x="{sum_ends}" y="{short(along + 1)}">{name}</text>'
            yield f'<text class="note" x="182" y="{short(along + 18)}">{note}</text>'


def shown(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"
