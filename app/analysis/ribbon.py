"""The ledger's ribbon: its strips, their courses and the gates they pass, as SVG paths, lying or upright."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streaming_lab.analysis.ledger import Ledger, Thread

ASIDE, LOST = "turned", "lost"
FEWEST_PIXELS = 1.5  # a thread thinner than this is not drawn on its own
GAP = 7.0  # between two partitions; less when there are many


@dataclass(frozen=True)
class Way:
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
        return " ".join(map(short, pair))


WIDE = Way("wide", (736, 253), (1, 170, 340, 540, 735), 494, 586, (85.5, 255, 400, 668.7), 76.5, 104)
NARROW = Way("narrow", (342, 412), (14, 106, 198, 298, 390), 276, 320, (60, 152, 232, 360.6), 18.5, 132)


@dataclass(frozen=True)
class Strip:
    """A part of the ribbon: a partition with its threads, or what leaves; in pixels across."""

    kind: str
    begin: float
    end: float
    shift: float = 0.0
    threads: tuple[float, ...] = ()

    @property
    def middle(self) -> float:
        return (self.begin + self.end) / 2


def strips_of(ledger: Ledger, way: Way) -> list[Strip]:
    """The ribbon across: partitions with their threads, then what is lost, then what turned away."""
    aside = ledger.refused + ledger.failed + ledger.unanswered - ledger.unconfirmed
    counts = ledger.rows + ledger.lost + max(aside, 0)
    pixels = way.breadth / max(counts, ledger.requests, 1)
    groups = by_partition(ledger.threads)
    gap = min(GAP, 3 * GAP / max(len(groups) - 1, 1))
    strips: list[Strip] = []
    edge = way.start
    for index, (_, threads) in enumerate(groups):
        edges = [edge := edge + thread.rows * pixels for thread in threads]
        begin = strips[-1].end if strips else way.start
        strips.append(Strip("rows", begin, edge, (index - (len(groups) - 1) / 2) * gap, separators(begin, edges)))
    for kind, count in ((LOST, ledger.lost), (ASIDE, max(aside, 0))):
        if count:
            strips.append(Strip(kind, edge, edge := edge + count * pixels))
    return strips


def separators(begin: float, edges: list[float]) -> tuple[float, ...]:
    """Where one thread ends and the next begins; none when threads would be too thin to see."""
    thick = (edges[-1] - begin) / len(edges) >= FEWEST_PIXELS
    return tuple(edges[:-1]) if thick else ()


def by_partition(threads: Sequence[Thread]) -> list[tuple[int, list[Thread]]]:
    partitions = sorted({thread.partition for thread in threads})
    return [(p, [thread for thread in threads if thread.partition == p]) for p in partitions]


def strip_lines(strip: Strip, way: Way) -> Iterator[str]:
    """A strip's paths."""
    if strip.kind == "rows":
        there, back = course(strip.begin, strip.shift, way), course(strip.end, strip.shift, way, back=True)
        yield f'<path class="band" d="M{there}L{back}Z"/>'
        yield from (f'<path class="thread" d="M{course(t, strip.shift, way)}"/>' for t in strip.threads)
        return
    first, second = way.along[:2]
    until = second if strip.kind == LOST else first + (46 if way is WIDE else 4)
    corners = ((first, strip.begin), (until, strip.begin), (until, strip.end), (first, strip.end))
    yield f'<path class="band" d="M{"L".join(way.at(*corner) for corner in corners)}Z"/>'
    yield from falling(strip, until, way)


def course(across: float, shift: float, way: Way, *, back: bool = False) -> str:
    """A line along the whole ribbon that bends by `shift` while it is on the partitions."""
    a, b, c, d = way.along[2], way.arrive, way.depart, way.along[4]
    moved = across + shift
    points = [(way.along[0], across), (a, across), ((a + b) / 2, across), ((a + b) / 2, moved), (b, moved)]
    points += [(c, moved), ((c + d) / 2, moved), ((c + d) / 2, across), (d, across)]
    signs = ("", "L", "C", " ", " ", "L", "C", " ", " ")
    if back:
        points, signs = points[::-1], ("", "C", " ", " ", "L", "C", " ", " ", "L")
    return "".join(sign + way.at(*point) for sign, point in zip(signs, points, strict=True))


def falling(strip: Strip, start: float, way: Way) -> Iterator[str]:
    """What leaves the ribbon: a bend, then a tail that frays."""
    style = f'class="fall{" turned" if strip.kind == ASIDE else ""}" stroke-width="{short(strip.end - strip.begin)}"'
    tail = style.replace('class="fall', 'class="fall tail')
    start += 1 if strip.kind == LOST else 0  # beside the gate, not under it
    x, y = (start, strip.middle) if way is WIDE else (strip.middle, start)
    if way is WIDE:
        yield f'<path {style} d="M{short(x)} {short(y)}c29 0 51 2 63 16"/>'
        yield f'<path {tail} d="M{short(x + 63)} {short(y + 16)}q9 10 14 24"/>'
    else:
        yield f'<path {style} d="M{short(x)} {short(y)}c0 25 4 45 22 55"/>'
        yield f'<path {tail} d="M{short(x + 22)} {short(y + 55)}q6 8 8 18"/>'


PASSING = (("rows", LOST, ASIDE), ("rows", LOST), ("rows",), ("rows",), ("rows",))


def gates(strips: list[Strip], way: Way) -> Iterator[str]:
    """A line across the ribbon at each station, as broad as what passes there."""
    ends = [max((s.end for s in strips if s.kind in kinds), default=way.start + way.breadth) for kinds in PASSING]
    shifts = [strip.shift for strip in strips if strip.kind == "rows"] or [0.0]
    for index, (along, end) in enumerate(zip(way.along, ends, strict=True)):
        low, high = (shifts[0], shifts[-1]) if index == 3 else (0.0, 0.0)
        yield f'<path class="gate" d="M{way.at(along, way.start - 7 + low)}L{way.at(along, end + 7 + high)}"/>'


def short(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")
