"""The ledger as a sankey through five stations, drawn twice: horizontal on wide pages, vertical on narrow ones.

    requests -> accepted -> acknowledged -> offsets -> rows

Breadth is events. Refused requests turn away before the second station; lost events fall off, red, before the third;
between the third and the fifth the bands run over the topic's partitions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from streaming_lab.analysis.display import Table, TableColumn, number
from streaming_lab.analysis.ledger import Ledger, RequestThread
from streaming_lab.analysis.tables import Station, stations

ASIDE_BAND, LOST_BAND = "turned", "lost"
FEWEST_PIXELS = 1.5  # thinner threads are not drawn one by one
GAP = 7.0  # between two partitions; less between many


@dataclass(frozen=True)
class Orientation:
    """The layout of one drawing, horizontal or vertical: positions along and across the ribbon, in pixels."""

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
    """A band of the ribbon: a partition with its threads, or the events that leave; in pixels across."""

    kind: str
    begin: float
    end: float
    shift: float = 0.0
    threads: tuple[float, ...] = ()

    @property
    def middle(self) -> float:
        return (self.begin + self.end) / 2


def bands_of(ledger: Ledger, layout: Orientation) -> list[Band]:
    """The bands across: partitions with their threads, then the lost events, then the refused requests."""
    aside = ledger.refused + ledger.failed + ledger.unanswered - ledger.unconfirmed
    counts = ledger.rows + ledger.lost + max(aside, 0)
    pixels = layout.breadth / max(counts, ledger.requests, 1)
    groups = by_partition(ledger.threads)
    gap = min(GAP, 3 * GAP / max(len(groups) - 1, 1))
    bands: list[Band] = []
    edge = layout.start
    for index, (_, threads) in enumerate(groups):
        edges = [edge := edge + thread.rows * pixels for thread in threads]
        begin = bands[-1].end if bands else layout.start
        bands.append(Band("rows", begin, edge, (index - (len(groups) - 1) / 2) * gap, separators(begin, edges)))
    for kind, count in ((LOST_BAND, ledger.lost), (ASIDE_BAND, max(aside, 0))):
        if count:
            bands.append(Band(kind, edge, edge := edge + count * pixels))
    return bands


def separators(begin: float, edges: list[float]) -> tuple[float, ...]:
    """The lines between the threads of a band; none where the threads are too thin to see."""
    thick = (edges[-1] - begin) / len(edges) >= FEWEST_PIXELS
    return tuple(edges[:-1]) if thick else ()


def by_partition(threads: Sequence[RequestThread]) -> list[tuple[int, list[RequestThread]]]:
    partitions = sorted({thread.partition for thread in threads})
    return [(p, [thread for thread in threads if thread.partition == p]) for p in partitions]


def band_paths(band: Band, layout: Orientation) -> Iterator[str]:
    """The SVG paths of a band."""
    if band.kind == "rows":
        there, back = band_path(band.begin, band.shift, layout), band_path(band.end, band.shift, layout, back=True)
        yield f'<path class="band" d="M{there}L{back}Z"/>'
        yield from (f'<path class="thread" d="M{band_path(t, band.shift, layout)}"/>' for t in band.threads)
        return
    first, second = layout.along[:2]
    until = second if band.kind == LOST_BAND else first + (46 if layout is WIDE_SANKEY else 4)
    corners = ((first, band.begin), (until, band.begin), (until, band.end), (first, band.end))
    yield f'<path class="band" d="M{"L".join(layout.at(*corner) for corner in corners)}Z"/>'
    yield from falling_paths(band, until, layout)


def band_path(across: float, shift: float, layout: Orientation, *, back: bool = False) -> str:
    """A line along the whole ribbon that is shifted by `shift` on the partitions."""
    a, b, c, d = layout.along[2], layout.arrive, layout.depart, layout.along[4]
    moved = across + shift
    points = [(layout.along[0], across), (a, across), ((a + b) / 2, across), ((a + b) / 2, moved), (b, moved)]
    points += [(c, moved), ((c + d) / 2, moved), ((c + d) / 2, across), (d, across)]
    signs = ("", "L", "C", " ", " ", "L", "C", " ", " ")
    if back:
        points, signs = points[::-1], ("", "C", " ", " ", "L", "C", " ", " ", "L")
    return "".join(sign + layout.at(*point) for sign, point in zip(signs, points, strict=True))


def falling_paths(band: Band, start: float, layout: Orientation) -> Iterator[str]:
    """A band that leaves the ribbon: a bend, then a fraying tail."""
    turned = " turned" if band.kind == ASIDE_BAND else ""
    style = f'class="fall{turned}" stroke-width="{short_number(band.end - band.begin)}"'
    tail = style.replace('class="fall', 'class="fall tail')
    start += 1 if band.kind == LOST_BAND else 0  # beside the gate, not under it
    x, y = (start, band.middle) if layout is WIDE_SANKEY else (band.middle, start)
    if layout is WIDE_SANKEY:
        yield f'<path {style} d="M{short_number(x)} {short_number(y)}c29 0 51 2 63 16"/>'
        yield f'<path {tail} d="M{short_number(x + 63)} {short_number(y + 16)}q9 10 14 24"/>'
    else:
        yield f'<path {style} d="M{short_number(x)} {short_number(y)}c0 25 4 45 22 55"/>'
        yield f'<path {tail} d="M{short_number(x + 22)} {short_number(y + 55)}q6 8 8 18"/>'


PASSING = (("rows", LOST_BAND, ASIDE_BAND), ("rows", LOST_BAND), ("rows",), ("rows",), ("rows",))


def gate_paths(bands: list[Band], layout: Orientation) -> Iterator[str]:
    """A line across the ribbon at each station, as broad as the bands that pass the station."""
    ends = [max((s.end for s in bands if s.kind in kinds), default=layout.start + layout.breadth) for kinds in PASSING]
    shifts = [band.shift for band in bands if band.kind == "rows"] or [0.0]
    for index, (along, end) in enumerate(zip(layout.along, ends, strict=True)):
        low, high = (shifts[0], shifts[-1]) if index == 3 else (0.0, 0.0)
        yield f'<path class="gate" d="M{layout.at(along, layout.start - 7 + low)}L{layout.at(along, end + 7 + high)}"/>'


def short_number(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


AS_TABLE = "The ledger as a table"
FALL_ROOM = 34  # pixels between a horizontal ribbon with falling bands and the labels


def ledger_sankey(ledger: Ledger) -> str:
    """The ledger as a figure for the page: caption, both drawings, and the same numbers as a table."""
    closed = ledger.closed
    title, rest = caption(ledger)
    table = as_table(ledger).fragment(f'<caption class="sr">{title}</caption>', AS_TABLE)
    return (
        f'<figure class="figure ledger{"" if closed else " failed"}">\n'
        f"<figcaption><b>{title}</b> <span>{rest}</span></figcaption>\n"
        f'<div class="plot" role="img" aria-label="{escape(describe_ledger(ledger))}">\n'
        f"{draw_svg(ledger, WIDE_SANKEY)}\n{draw_svg(ledger, NARROW_SANKEY)}\n</div>\n"
        f'<details class="data"><summary>{AS_TABLE}</summary>\n{table}\n</details>\n</figure>'
    )


def caption(ledger: Ledger) -> tuple[str, str]:
    """The figure's title and description, as HTML."""
    if not ledger.requests and not ledger.rows:
        return "The ledger.", "No requests and no events."
    words = "Each thread is a player, as wide as that player’s events"
    several = len({thread.partition for thread in ledger.threads}) > 1
    if several and len({thread.player for thread in ledger.threads}) == len(ledger.threads):
        words += "; the key keeps it on one partition"
    red = " Red is what was answered 2xx and never arrived." if ledger.lost else ""
    return "The ledger." if ledger.closed else "The ledger, open.", f"{words}.{red}"


def describe_ledger(ledger: Ledger) -> str:
    """The drawing in words, for a screen reader."""
    found = stations(ledger)
    counts = ", ".join(f"{shown_count(one.count)} {name_of(one)}" for one in found)
    gaps = ", ".join(one.parts for one in found if one.gap is not None)
    partitions = by_partition(ledger.threads)
    spread = ", ".join(f"p{partition} {sum(t.rows for t in threads):,}" for partition, threads in partitions)
    over = f" Over partitions: {spread}." if partitions else ""
    return f"Flow of events through five stations: {counts}. Gaps: {gaps}.{over}"


def as_table(ledger: Ledger) -> Table:
    """The drawing's numbers as a table."""
    columns = (TableColumn("station"), TableColumn("what is counted"), number("events"), TableColumn("gap before it"))
    rows = tuple((one.name, one.counted, one.count, one.parts) for one in stations(ledger))
    return Table(AS_TABLE, columns, rows)


def draw_svg(ledger: Ledger, layout: Orientation) -> str:
    """The SVG of one orientation."""
    bands = bands_of(ledger, layout)
    staying = [band for band in bands if band.kind == "rows"]
    falls = layout is WIDE_SANKEY and len(bands) > len(staying)
    width, height = layout.size[0], layout.size[1] + (FALL_ROOM if falls else 0)
    middle = (layout.start + (staying[-1].end if staying else layout.start + layout.breadth)) / 2
    parts = [
        *(line for band in bands for line in band_paths(band, layout)),
        *gate_paths(bands, layout),
        *gap_signs(ledger, layout, middle),
        *part_labels(ledger, staying, layout),
        *station_labels(ledger, layout, FALL_ROOM if falls else 0),
    ]
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg class="{layout.name}" {size} aria-hidden="true">'
    return "\n".join([head, *parts, "</svg>"])


def gap_signs(ledger: Ledger, layout: Orientation, middle: float) -> Iterator[str]:
    """The sign between two stations (equal, less, more; unequal where the ledger is open) and the parts of the gap."""
    for index, station in enumerate(stations(ledger)[1:]):
        off = open_gaps(ledger)[index]
        css = " off" if off else ""
        x, y = (layout.signs[index], middle) if layout is WIDE_SANKEY else (middle, layout.signs[index])
        yield f'<circle class="sign{css}" cx="{short_number(x)}" cy="{short_number(y)}" r="11"/>'
        yield f'<path class="equal{css}" d="{sign_path(x, y, station.gap, off=off, more=index == 2)}"/>'
        words = station.parts
        words = words if len(words) <= 26 else f"{station.gap:,} in {words.count(',') + 1} ways"
        place = (
            f'x="{short_number(x)}" y="48" text-anchor="middle"'
            if layout is WIDE_SANKEY
            else f'x="182" y="{NARROW_GAPS[index]}"'
        )
        yield f'<text class="gap{css}" {place}>{escape(words)}</text>'


NARROW_GAPS = (71, 163, 259, 355)


def open_gaps(ledger: Ledger) -> tuple[bool, bool, bool, bool]:
    """Whether each of the four gaps keeps the ledger open."""
    surplus = ledger.duplicates + ledger.unexpected - ledger.unconfirmed
    return False, bool(ledger.lost or ledger.log_disagreement()), bool(surplus), bool(ledger.rejects)


def sign_path(x: float, y: float, gap: int | None, *, off: bool, more: bool) -> str:
    """The sign's path: two bars, crossed out when `off`; a minus or a plus for an explained gap."""
    left = short_number(x - 5)
    bars = f"M{left} {short_number(y - 2.5)}h10M{left} {short_number(y + 2.5)}h10"
    if off:
        return f"{bars}M{short_number(x - 3.2)} {short_number(y + 6)}L{short_number(x + 3.2)} {short_number(y - 6)}"
    if not gap:
        return bars
    return f"M{left} {short_number(y)}h10" + (f"M{short_number(x)} {short_number(y - 5)}v10" if more else "")


def part_labels(ledger: Ledger, staying: list[Band], layout: Orientation) -> Iterator[str]:
    """Name and rows of each partition that has the room."""
    for band, (partition, threads) in zip(staying, by_partition(ledger.threads), strict=True):
        if band.end - band.begin < (11 if layout is WIDE_SANKEY else 14):
            continue
        centre = band.middle + band.shift
        if layout is WIDE_SANKEY:
            rows = sum(thread.rows for thread in threads)
            yield f'<text class="part halo" x="548" y="{short_number(centre + 4)}">p{partition}  {rows:,}</text>'
        else:
            yield f'<text class="part halo" x="{short_number(centre)}" y="314" text-anchor="middle">p{partition}</text>'


def station_labels(ledger: Ledger, layout: Orientation, room: int) -> Iterator[str]:
    """Count, name and unit of each station."""
    anchors = ("start", "middle", "middle", "middle", "end")
    for along, anchor, station in zip(layout.along, anchors, stations(ledger), strict=True):
        count, name, note = shown_count(station.count), name_of(station), station.counted
        if layout is WIDE_SANKEY:
            end = f'text-anchor="{anchor}"'
            yield f'<text class="sum" x="{short_number(along)}" y="26" {end}>{count}</text>'
            yield f'<text class="label" x="{short_number(along)}" y="{217 + room}" {end}>{name}</text>'
            yield f'<text class="note" x="{short_number(along)}" y="{235 + room}" {end}>{note}</text>'
        else:
            sum_ends = 182 + max(66, 14 * len(count))
            yield f'<text class="sum" x="182" y="{short_number(along + 1)}">{count}</text>'
            yield f'<text class="label" x="{sum_ends}" y="{short_number(along + 1)}">{name}</text>'
            yield f'<text class="note" x="182" y="{short_number(along + 18)}">{note}</text>'


def name_of(station: Station) -> str:
    """A station's name beside its count: one request, one offset, one row."""
    return station.name.removesuffix("s") if station.count == 1 else station.name


def shown_count(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"
