"""The command line of the check of hand-ins: a folder, a zip, a class of either, or the last run."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from streaming_lab.cli import VERSION, positive, printable, whole, write_error
from streaming_lab.errors import LabError
from streaming_lab.handin import classroom, verdict_page
from streaming_lab.handin.check import Check, Shared
from streaming_lab.handin.examine import Examined
from streaming_lab.paths import PROJECT, build_folder
from streaming_lab.report.record import write_text

EPILOG = """\
As handed in (the default) nothing of a hand-in is executed, and neither a broker nor Docker is needed. Each check says
one of three words: agrees, contradicts (with the file, the row and both values), cannot tell (with the reason).

exit codes: 0 nothing contradicts; 1 something contradicts; 2 something could not be looked at"""
NEWEST = "the last run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine the hand-ins, write the verdict, print the table; the exit code is 0, 1 or 2."""
    options = verify_parser().parse_args(arguments)
    places = [Path(what) for what in options.what] or [last_run()]
    hand_ins, others = classroom.find_hand_ins(places)
    refuse_inside(options.out.resolve(), [place for _, place in hand_ins])
    for line in others:
        write_error(line)
    if options.gradescope and len(hand_ins) > 1:
        raise LabError(f"results.json is of one hand-in, and {len(hand_ins)} were named", "Name one, or take --csv.")
    if options.fresh:
        for path in (options.out / "rows").glob("*.json"):
            path.unlink(missing_ok=True)
    rows = examine_with_bar(hand_ins, options)
    earlier = read_register(options.register)
    shared: list[Shared] = []
    if len(rows) > 1 or earlier:
        shared = classroom.find_shared(rows, earlier)
        rows = classroom.with_shared(rows, shared)
    if options.rerun:
        from streaming_lab.handin.rerun import rerun_all

        rows = rerun_all(rows, hand_ins)
    write_outputs(rows, shared, options)
    if options.register:
        write_register(options.register, earlier, rows)
    for line in table_lines(rows):
        sys.stdout.write(printable(line) + "\n")
    sys.stdout.write(f"{options.out / 'verdict.html'}\n")
    return exit_code(rows)


def verify_parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python3 scripts/verify.py",
        description="Check what was handed in against what its run kept.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=VERSION)
    what = f"a folder build/, a zip, or a folder of either (default: {NEWEST})"
    made.add_argument("what", nargs="*", metavar="WHAT", help=what)
    made.add_argument(
        "--out", type=Path, default=PROJECT / "verdict", help="the folder of the verdict (default: verdict)"
    )
    made.add_argument("--rerun", action="store_true", help="run the recorded parameters again, too, and compare")
    made.add_argument("--csv", type=Path, metavar="FILE", help="write one row a hand-in as CSV, too")
    made.add_argument("--gradescope", type=Path, metavar="FILE", help="write Gradescope's results.json of one hand-in")
    made.add_argument(
        "--register", type=Path, metavar="FILE", help="compare with the hand-ins of earlier classes there"
    )
    made.add_argument("--fresh", action="store_true", help="make rows again that an earlier call has made")
    processes = classroom.default_processes()
    made.add_argument(
        "--processes", type=whole(1, 256), default=processes, metavar="N", help=f"at once (default: {processes})"
    )
    limit = classroom.HAND_IN_LIMIT
    made.add_argument(
        "--limit", type=positive, default=limit, metavar="S", help=f"seconds for one hand-in (default: {limit:g})"
    )
    return made


def last_run() -> Path:
    """The build folder; `LabError` if no report is there."""
    build = build_folder()
    if not (build / "run.json").exists():
        raise LabError(f"there is no report in {build}", "Run python3 scripts/report.py first, or name a hand-in.")
    return build


def refuse_inside(out: Path, places: Sequence[Path]) -> None:
    """`LabError` for a verdict that would be written into a hand-in."""
    for place in places:
        if out.is_relative_to(place.resolve()):
            raise LabError(
                f"the verdict would be written into the hand-in {place}", "Name another folder: --out FOLDER"
            )


def examine_with_bar(hand_ins: Sequence[tuple[str, Path]], options: argparse.Namespace) -> list[Examined]:
    """The rows, with a progress bar on a terminal and a line for each hand-in elsewhere."""
    watched = sys.stderr.isatty()
    with tqdm(total=len(hand_ins), unit="hand-in", disable=not watched, file=sys.stderr) as bar:

        def done(row: Examined) -> None:
            bar.update(1)
            if not watched and len(hand_ins) > 1:
                write_error(f"{row.name}: {row.broken or row.word} ({row.seconds:.1f} s)")

        return classroom.examine_class(
            hand_ins, options.out / "rows", processes=options.processes, limit=options.limit, done=done
        )


def write_outputs(rows: Sequence[Examined], shared: Sequence[Shared], options: argparse.Namespace) -> None:
    """Write the page, and what else was asked for."""
    how = "as handed in, and run again" if options.rerun else "as handed in"
    page = verdict_page.render_verdict(rows, shared, how, datetime.now(UTC))
    write_text(options.out / "verdict.html", page)
    if options.csv:
        write_text(options.csv, verdict_page.class_csv(rows))
    if options.gradescope:
        write_text(options.gradescope, verdict_page.results_json(rows[0]))


def table_lines(rows: Sequence[Examined]) -> list[str]:
    """The verdict for a terminal: the checks of one hand-in, or a line for each of a class; contradictions in full."""
    lines = []
    for row in rows:
        said = f"could not look: {row.broken}" if row.broken else f"{row.word} ({verdict_page.summary(row.checks)})"
        lines.append(f"{row.name}: {said}")
        for check in row.checks:
            if len(rows) == 1 or check.word == "contradicts":
                lines += check_lines(check)
    return lines


def check_lines(check: Check) -> list[str]:
    """One check, and its findings."""
    more = [f"    and {check.more:,} more"] if check.more else []
    return [
        f"  {check.name:<14}{check.word:<13}{check.said}",
        *(f"  {verdict_page.finding_line(one)}" for one in check.findings),
        *more,
    ]


def exit_code(rows: Sequence[Examined]) -> int:
    """1 if something contradicts, otherwise 2 if something could not be looked at, otherwise 0."""
    if any(row.word == "contradicts" for row in rows):
        return 1
    return 2 if any(row.broken for row in rows) else 0


def read_register(file: Path | None) -> dict[str, Any]:
    """The marks of earlier hand-ins by name; `LabError` for a file that is no register."""
    if file is None or not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): {what: list(values) for what, values in marks.items()} for name, marks in found.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise LabError(
            f"{file} is no register of earlier hand-ins: {error}", "Name one that --register wrote."
        ) from error


def write_register(file: Path, earlier: dict[str, Any], rows: Sequence[Examined]) -> None:
    """Add the marks of these hand-ins to the register."""
    today = {f"{datetime.now(UTC):%Y-%m-%d} {row.name}": row.to_json()["marks"] for row in rows if not row.broken}
    write_text(file, json.dumps({**earlier, **today}, indent=1, ensure_ascii=False) + "\n")
