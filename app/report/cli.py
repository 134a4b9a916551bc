"""The command line of the report: checks chapters, options and parameters before anything starts."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from streaming_lab import settings
from streaming_lab.cli import VERSION, positive, write_error
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, build_folder
from streaming_lab.report import chapter, own, parameters
from streaming_lab.report.parameters import Parameter, ParameterError
from streaming_lab.report.render import paper
from streaming_lab.report.render.paper import PAPERS
from streaming_lab.skipped_imports import skip_schema_formats

PROGRAM = "python3 scripts/report.py"
HELP = """\
A chapter is a notebook in notebooks/: NN-name.ipynb by its number, any other behind these. It runs in that folder,
where its relative paths begin, with the clock at UTC. A run takes the place of the last report when it ends; earlier
ones are in build/runs/."""
CELL_LIMIT, RUN_LIMIT = 600.0, 1800.0  # seconds; more where a parameter multiplies the work


class Parser(argparse.ArgumentParser):
    """argparse that raises `LabError` for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message with the way to the help."""
        raise LabError(message, f"help: {PROGRAM} --help")


def main(arguments: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Run the report of `folder`'s notebooks; the exit code is 0 passed, 1 failed, 2 refused, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    folder = folder or PROJECT / "notebooks"
    chapters = chapter.find_chapters(folder)
    if not chapters:
        raise LabError(f"there are no notebooks in {folder}", "restore them: git checkout -- notebooks")
    if arguments[:1] == ["new"]:
        return add_chapter(folder, arguments[1:])
    named = [one.name for one in chapters if one.by_name]
    games = chapter.find_chapters(folder / "own-game")
    options = parser(known_parameters([*chapters, *games]), named).parse_args(arguments)
    names = [name for name, _ in options.parameters]
    if "game" in names:
        chapters = chapter.replace_chapters(chapters, games)
    elif without_game := sorted({*names} & known_parameters(games).keys() - known_parameters(chapters).keys()):
        cure = "Give the game as well: -p game path/to/game_api.py"
        raise ParameterError(f"{without_game[0]} goes with a game of your own", cure)
    chosen = chapter.select_chapters(chapters, options.chapters)
    here = parameters.merge_parameters(
        {"the report": own.OWN_PARAMETERS, **{one.name: one.parameters for one in chosen}}
    )
    others = {one.name: readable_parameters(one) for one in chapters if one not in chosen}
    elsewhere = {name: chapter_ for chapter_, names in others.items() for name in names if name not in here}
    given = own.own_values(parameters.check_parameters(options.parameters, here, elsewhere), here)
    if isinstance(cluster := given.get("cluster"), str):
        from streaming_lab.cluster import check_cluster_name, resolve_cluster_name

        check_cluster_name(cluster)
        given["cluster"] = resolve_cluster_name(cluster)  # chapters run in another folder
    if "game" in given:
        from streaming_lab.own_game.choices import absolute_choices

        given = absolute_choices(given)
    for line in chapter.name_copies(folder):
        write_error(line)
    return start(chosen, here, given, arguments, options)


def known_parameters(chapters: Sequence[chapter.Chapter]) -> dict[str, Parameter]:
    """The parameters of all chapters for the help; a chapter that can't be read has none."""
    known: dict[str, Parameter] = dict(own.OWN_PARAMETERS)
    for one in chapters:
        known = {**readable_parameters(one), **known}
    return known


def readable_parameters(one: chapter.Chapter) -> dict[str, Parameter]:
    """A chapter's parameters; none if they can't be read, which is an error only where the chapter runs."""
    try:
        return one.parameters
    except ParameterError:
        return {}


def parser(known: dict[str, Parameter], named: Sequence[str] = ()) -> Parser:
    """The options; the help lists each parameter of the notebooks and each setting, and the chapters run by name."""
    default = f"all but {', '.join(named)}" if named else "all"
    lines = [f"  {name:<14} {parameters.describe_parameter(parameter)}" for name, parameter in known.items()]
    made = Parser(
        prog=PROGRAM,
        description="Run the chapters and write build/report.html.",
        epilog="\n".join([HELP, "", "parameters (-p NAME VALUE):", *lines, "", settings.help_text()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=VERSION)
    made.add_argument(
        "chapters",
        nargs="*",
        metavar="CHAPTER",
        help=f'such as 3, 03 or 03-read-the-events (default: {default}); new "Title" makes a chapter of your own',
    )
    made.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter"
    )
    seconds: dict[str, Any] = {"type": positive, "metavar": "S"}
    made.add_argument("--cell-timeout", **seconds, help=f"seconds for one cell (default: {CELL_LIMIT:.0f})")
    made.add_argument("--timeout", **seconds, help=f"seconds for the whole run (default: {RUN_LIMIT:.0f})")
    made.add_argument("--pdf", action="store_true", help="print the page to build/report.pdf, with Chromium or Chrome")
    made.add_argument("--paper", choices=PAPERS, default="A4", help="of the PDF (default: A4)")
    return made


def add_chapter(folder: Path, arguments: Sequence[str]) -> int:
    """Make a chapter of one's own, and print its path and the next command."""
    from streaming_lab.report.new_chapter import write_new_chapter

    if len(arguments) != 1:
        raise LabError("new takes one title", f'for example: {PROGRAM} new "What I found"')
    path = write_new_chapter(folder, arguments[0])
    sys.stdout.write(f"{path}\nOpen it with python3 scripts/lab.py; {PROGRAM} runs it after the other chapters.\n")
    return 0


def start(
    chosen: list[chapter.Chapter],
    known: dict[str, Parameter],
    given: dict[str, Any],
    arguments: Sequence[str],
    options: argparse.Namespace,
) -> int:
    """Run the checked command, and print the verdict and the page's path."""
    skip_schema_formats()
    from streaming_lab.report.chapter import RunPlan
    from streaming_lab.report.progress import Progress
    from streaming_lab.report.run import run_report

    if options.pdf:
        paper.find_browser()
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # record and page show the same with more detail
    values = {name: parameter.default for name, parameter in known.items() if name not in own.OWN_PARAMETERS} | given
    times = max((parameter.times for name, parameter in known.items() if values.get(name) is True), default=1)
    plan = RunPlan(
        chapters=chosen,
        parameters=values,
        given=given,
        build=build_folder().resolve(),
        command=shlex.join(["python3", "scripts/report.py", *arguments]),
        cell_timeout=options.cell_timeout or CELL_LIMIT * times,
        timeout=options.timeout or RUN_LIMIT * times,
    )
    with Progress() as progress:
        result, folder = run_report(plan, progress)
        first, *more = result.reason.splitlines()
        progress.say(f"{result.status.capitalize()}: {first} {result.seconds:.1f} s")
        for line in more:
            progress.say(f"  {line}")
        progress.say(str(folder / "report.html"))
        if folder != plan.build and (plan.build / "report.html").exists():
            progress.say(f"The last report stays: {plan.build / 'report.html'}")
        if options.pdf:
            paper.print_page(folder / "report.html", folder / "report.pdf", options.paper)
            progress.say(str(folder / "report.pdf"))
    return result.exit_code
