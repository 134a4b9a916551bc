"""The ledger as a ribbon of threads through five stations, drawn twice: lying on wide pages, upright on narrow ones.

    requests -> accepted -> acknowledged -> offsets -> rows

Breadth is events. What was refused turns away before the second station; what is lost falls off, red, before the third;
between the third and the fifth the ribbon runs over the topic's partitions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from streaming_lab.analysis.display import Table, TableColumn, number
from streaming_lab.analysis.ledger import Ledger, RequestThread
from streaming_lab.analysis.tables import stations

# The ledger's ribbon: its strips, their courses and the gates they pass, as SVG paths, lying or upright.


ASIDE_BAND, LOST_BAND = "turned", "lost"
FEWEST_PIXELS = 1.5  # a thread thinner than this is not drawn on its own
GAP = 7.0  # between two partitions; less when there are many


@dataclass(frozen=True)
class Orientation:
    """One orientation: where things stand along the ribbon, where it begins across, and how broad it is; in pixels."""

    name: str
    size: tuple[int, int]
    along: tuple[float, float, float, float, float]
    arrive: float
    depart: float
    signs: tuple[float, float, float, float]
    start: float
    breadth: float

    def at(self, along: float, across: float) -> str:
        pair = (across, along) if self.name == "narrow" else (along, across)
        return " ".join(map(short_number, pair))


WIDE_SANKEY = Orientation("wide", (736, 253), (1, 170, 340, 540, 735), 494, 586, (85.5, 255, 400, 668.7), 76.5, 104)
NARROW_SANKEY = Orientation("narrow", (342, 412), (14, 106, 198, 298, 390), 276, 320, (60, 152, 232, 360.6), 18.5, 132)


@dataclass(frozen=True)
class Band:
    """A part of the ribbon: a partition with its threads, or what leaves; in pixels across."""

    kind: str
    begin: float
    end: float
    shift: float = 0.0
    threads: tuple[float, ...] = ()

    @property
    def middle(self) -> float:
        return (self.begin + self.end) / 2


def bands_of(ledger: Ledger, way: Orientation) -> list[Band]:
    """The ribbon across: partitions with their threads, then what is lost, then what turned away."""
    aside = ledger.refused + ledger.failed + ledger.unanswered - ledger.unconfirmed
    counts = ledger.rows + ledger.lost + max(aside, 0)
    pixels = way.breadth / max(counts, ledger.requests, 1)
    groups = by_partition(ledger.threads)
    gap = min(GAP, 3 * GAP / max(len(groups) - 1, 1))
    strips: list[Band] = []
    edge = way.start
    for index, (_, threads) in enumerate(groups):
        edges = [edge := edge + thread.rows * pixels for thread in threads]
        begin = strips[-1].end if strips else way.start
        strips.append(Band("rows", begin, edge, (index - (len(groups) - 1) / 2) * gap, separators(begin, edges)))
    for kind, count in ((LOST_BAND, ledger.lost), (ASIDE_BAND, max(aside, 0))):
        if count:
            strips.append(Band(kind, edge, edge := edge + count * pixels))
    return strips


def separators(begin: float, edges: list[float]) -> tuple[float, ...]:
    """Where one thread ends and the next begins; none when threads would be too thin to see."""
    thick = (edges[-1] - begin) / len(edges) >= FEWEST_PIXELS
    return tuple(edges[:-1]) if thick else ()


def by_partition(threads: Sequence[RequestThread]) -> list[tuple[int, list[RequestThread]]]:
    partitions = sorted({thread.partition for thread in threads})
    return [(p, [thread for thread in threads if thread.partition == p]) for p in partitions]


def band_paths(strip: Band, way: Orientation) -> Iterator[str]:
    """A strip's paths."""
    if strip.kind == "rows":
        there, back = band_path(strip.begin, strip.shift, way), band_path(strip.end, strip.shift, way, back=True)
        yield f'<path class="band" d="M{there}L{back}Z"/>'
        yield from (f'<path class="thread" d="M{band_path(t, strip.shift, way)}"/>' for t in strip.threads)
        return
    first, second = way.along[:2]
    until = second if strip.kind == LOST_BAND else first + (46 if way is WIDE_SANKEY else 4)
    corners = ((first, strip.begin), (until, strip.begin), (until, strip.end), (first, strip.end))
    yield f'<path class="band" d="M{"L".join(way.at(*corner) for corner in corners)}Z"/>'
    yield from falling_paths(strip, until, way)


def band_path(across: float, shift: float, way: Orientation, *, back: bool = False) -> str:
    """A line along the whole ribbon that bends by `shift` while it is on the partitions."""
    a, b, c, d = way.along[2], way.arrive, way.depart, way.along[4]
    moved = across + shift
    points = [(way.along[0], across), (a, across), ((a + b) / 2, across), ((a + b) / 2, moved), (b, moved)]
    points += [(c, moved), ((c + d) / 2, moved), ((c + d) / 2, across), (d, across)]
    signs = ("", "L", "C", " ", " ", "L", "C", " ", " ")
    if back:
        points, signs = points[::-1], ("", "C", " ", " ", "L", "C", " ", " ", "L")
    return "".join(sign + way.at(*point) for sign, point in zip(signs, points, strict=True))


def falling_paths(strip: Band, start: float, way: Orientation) -> Iterator[str]:
    """What leaves the ribbon: a bend, then a tail that frays."""
    turned = " turned" if strip.kind == ASIDE_BAND else ""
    style = f'class="fall{turned}" stroke-width="{short_number(strip.end - strip.begin)}"'
    tail = style.replace('class="fall', 'class="fall tail')
    start += 1 if strip.kind == LOST_BAND else 0  # beside the gate, not under it
    x, y = (start, strip.middle) if way is WIDE_SANKEY else (strip.middle, start)
    if way is WIDE_SANKEY:
        yield f'<path {style} d="M{short_number(x)} {short_number(y)}c29 0 51 2 63 16"/>'
        yield f'<path {tail} d="M{short_number(x + 63)} {short_number(y + 16)}q9 10 14 24"/>'
    else:
        yield f'<path {style} d="M{short_number(x)} {short_number(y)}c0 25 4 45 22 55"/>'
        yield f'<path {tail} d="M{short_number(x + 22)} {short_number(y + 55)}q6 8 8 18"/>'


PASSING = (("rows", LOST_BAND, ASIDE_BAND), ("rows", LOST_BAND), ("rows",), ("rows",), ("rows",))


def gate_paths(strips: list[Band], way: Orientation) -> Iterator[str]:
    """A line across the ribbon at each station, as broad as what passes there."""
    ends = [max((s.end for s in strips if s.kind in kinds), default=way.start + way.breadth) for kinds in PASSING]
    shifts = [strip.shift for strip in strips if strip.kind == "rows"] or [0.0]
    for index, (along, end) in enumerate(zip(way.along, ends, strict=True)):
        low, high = (shifts[0], shifts[-1]) if index == 3 else (0.0, 0.0)
        yield f'<path class="gate" d="M{way.at(along, way.start - 7 + low)}L{way.at(along, end + 7 + high)}"/>'


def short_number(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


AS_TABLE = "The ledger as a table"
FALL_ROOM = 34  # what falls off a lying ribbon needs this much more room above the labels


def ledger_sankey(ledger: Ledger) -> str:
    """The ledger as a figure for the page: caption, both drawings, and the same numbers as a table."""
    closed = ledger.closed
    title, rest = caption(ledger)
    table = as_table(ledger).fragment(f'<caption class="sr">{title}</caption>', AS_TABLE)
    return (
        f'<figure class="figure ledger{"" if closed else " failed"}">\n'
        f"<figcaption><b>{title}</b> <span>{rest}</span></figcaption>\n"
        f'<div class="plot" role="img" aria-label="{escape(describe_ledger(ledger))}">\n'
        f"{drawn(ledger, WIDE_SANKEY)}\n{drawn(ledger, NARROW_SANKEY)}\n</div>\n"
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


def describe_ledger(ledger: Ledger) -> str:
    """The drawing for a reader who cannot see it."""
    found = stations(ledger)
    counts = ", ".join(f"{shown_count(one.count)} {one.name}" for one in found)
    gaps = ", ".join(one.parts for one in found if one.gap is not None)
    partitions = by_partition(ledger.threads)
    spread = ", ".join(f"p{partition} {sum(t.rows for t in threads):,}" for partition, threads in partitions)
    over = f" Over partitions: {spread}." if partitions else ""
    return f"Flow of events through five stations: {counts}. Gaps: {gaps}.{over}"


def as_table(ledger: Ledger) -> Table:
    """The drawing's numbers."""
    columns = (TableColumn("station"), TableColumn("what is counted"), number("events"), TableColumn("gap before it"))
    rows = tuple((one.name, one.counted, one.count, one.parts) for one in stations(ledger))
    return Table(AS_TABLE, columns, rows)


def drawn(ledger: Ledger, way: Orientation) -> str:
    """One orientation as SVG."""
    strips = bands_of(ledger, way)
    staying = [strip for strip in strips if strip.kind == "rows"]
    falls = way is WIDE_SANKEY and len(strips) > len(staying)
    width, height = way.size[0], way.size[1] + (FALL_ROOM if falls else 0)
    middle = (way.start + (staying[-1].end if staying else way.start + way.breadth)) / 2
    parts = [
        *(line for strip in strips for line in band_paths(strip, way)),
        *gate_paths(strips, way),
        *signs(ledger, way, middle),
        *part_labels(ledger, staying, way),
        *station_labels(ledger, way, FALL_ROOM if falls else 0),
    ]
    head = (
        f'<svg class="{way.name}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
    )
    return "\n".join([head, *parts, "</svg>"])


def signs(ledger: Ledger, way: Orientation, middle: float) -> Iterator[str]:
    """Between two stations: equal, less, more, or, where the account breaks, unequal; and what the gap is."""
    for index, station in enumerate(stations(ledger)[1:]):
        off = broken(ledger)[index]
        css = " off" if off else ""
        x, y = (way.signs[index], middle) if way is WIDE_SANKEY else (middle, way.signs[index])
        yield f'<circle class="sign{css}" cx="{short_number(x)}" cy="{short_number(y)}" r="11"/>'
        yield f'<path class="equal{css}" d="{stroke(x, y, station.gap, off=off, more=index == 2)}"/>'
        told = station.parts
        words = told if len(told) <= 26 else f"{station.gap:,} in {told.count(',') + 1} ways"
        place = (
            f'x="{short_number(x)}" y="48" text-anchor="middle"'
            if way is WIDE_SANKEY
            else f'x="182" y="{NARROW_GAPS[index]}"'
        )
        yield f'<text class="gap{css}" {place}>{escape(words)}</text>'


NARROW_GAPS = (71, 163, 259, 355)


def broken(ledger: Ledger) -> tuple[bool, bool, bool, bool]:
    """Which of the four gaps keep the ledger open."""
    surplus = ledger.duplicates + ledger.unexpected - ledger.unconfirmed
    return False, bool(ledger.lost or ledger.disagreement()), bool(surplus), bool(ledger.rejects)


def stroke(x: float, y: float, gap: int | None, *, off: bool, more: bool) -> str:
    """The sign's path: two bars, crossed when off; a minus or a plus for a gap that is accounted for."""
    left = short_number(x - 5)
    bars = f"M{left} {short_number(y - 2.5)}h10M{left} {short_number(y + 2.5)}h10"
    if off:
        return f"{bars}M{short_number(x - 3.2)} {short_number(y + 6)}L{short_number(x + 3.2)} {short_number(y - 6)}"
    if not gap:
        return bars
    return f"M{left} {short_number(y)}h10" + (f"M{short_number(x)} {short_number(y - 5)}v10" if more else "")


def part_labels(ledger: Ledger, staying: list[Band], way: Orientation) -> Iterator[str]:
    """Each partition's name and rows, where there is room for it."""
    for strip, (partition, threads) in zip(staying, by_partition(ledger.threads), strict=True):
        if strip.end - strip.begin < (11 if way is WIDE_SANKEY else 14):
            continue
        centre = strip.middle + strip.shift
        if way is WIDE_SANKEY:
            rows = sum(thread.rows for thread in threads)
            yield f'<text class="part halo" x="548" y="{short_number(centre + 4)}">p{partition}  {rows:,}</text>'
        else:
            yield f'<text class="part halo" x="{short_number(centre)}" y="314" text-anchor="middle">p{partition}</text>'


def station_labels(ledger: Ledger, way: Orientation, room: int) -> Iterator[str]:
    """Each station's count, name, and what it counts."""
    anchors = ("start", "middle", "middle", "middle", "end")
    for along, anchor, station in zip(way.along, anchors, stations(ledger), strict=True):
        count, name, note = shown_count(station.count), station.name, station.counted
        if way is WIDE_SANKEY:
            end = f'text-anchor="{anchor}"'
            yield f'<text class="sum" x="{short_number(along)}" y="26" {end}>{count}</text>'
            yield f'<text class="label" x="{short_number(along)}" y="{217 + room}" {end}>{name}</text>'
            yield f'<text class="note" x="{short_number(along)}" y="{235 + room}" {end}>{note}</text>'
        else:
            sum_ends = 182 + max(66, 14 * len(count))
            yield f'<text class="sum" x="182" y="{short_number(along + 1)}">{count}</text>'
            yield f'<text class="label" x="{sum_ends}" y="{short_number(along + 1)}">{name}</text>'
            yield f'<text class="note" x="182" y="{short_number(along + 18)}">{note}</text>'


def shown_count(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"
