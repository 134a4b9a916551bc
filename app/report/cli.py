"""The command line of the report: checks chapters, options and parameters before anything starts."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from streaming_lab import settings
from streaming_lab.cli import VERSION, positive
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, build_folder
from streaming_lab.report import chapter, parameters
from streaming_lab.report.parameters import Parameter
from streaming_lab.report.render import paper
from streaming_lab.report.render.paper import PAPERS
from streaming_lab.skipped_imports import skip_iri_grammar

PROGRAM = "python3 scripts/report.py"
CELL, RUN = 600.0, 1800.0  # seconds; more where a parameter multiplies the work


class Parser(argparse.ArgumentParser):
    """argparse that raises `LabError` for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message with the way to the help."""
        raise LabError(message, f"help: {PROGRAM} --help")


def main(arguments: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Run the report of `folder`'s notebooks; the exit code is 0 passed, 1 failed, 2 refused, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    chapters = chapter.find_chapters(folder or PROJECT / "notebooks")
    if not chapters:
        raise LabError(
            f"there are no notebooks in {folder or PROJECT / 'notebooks'}", "restore them: git checkout -- notebooks"
        )
    known = parameters.merge_parameters({one.name: one.parameters for one in chapters})
    options = parser(known).parse_args(arguments)
    chosen = chapter.select_chapters(chapters, options.chapters)
    here = parameters.merge_parameters({one.name: one.parameters for one in chosen})
    elsewhere = {name: one.name for one in chapters for name in one.parameters if name not in here}
    given = parameters.check_parameters(options.parameters, here, elsewhere)
    return start(chosen, here, given, arguments, options)


def parser(known: dict[str, Parameter]) -> Parser:
    """The options; the help lists each parameter of the notebooks and each setting."""
    lines = [f"  {name:<14} {parameters.describe_parameter(parameter)}" for name, parameter in known.items()]
    made = Parser(
        prog=PROGRAM,
        description="Run the chapters and write build/report.html.",
        epilog="\n".join(["parameters (-p NAME VALUE):", *lines, "", settings.help_text()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=VERSION)
    made.add_argument("chapters", nargs="*", metavar="CHAPTER", help="such as 03 (default: all)")
    made.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter"
    )
    made.add_argument("--cell-timeout", type=positive, metavar="S", help=f"seconds for one cell (default: {CELL:.0f})")
    made.add_argument("--timeout", type=positive, metavar="S", help=f"seconds for the whole run (default: {RUN:.0f})")
    made.add_argument("--pdf", action="store_true", help="print the page to build/report.pdf, with Chromium or Chrome")
    made.add_argument("--paper", choices=PAPERS, default="A4", help="of the PDF (default: A4)")
    return made


def start(
    chosen: list[chapter.Chapter],
    known: dict[str, Parameter],
    given: dict[str, Any],
    arguments: Sequence[str],
    options: argparse.Namespace,
) -> int:
    """Run the checked command, and print the verdict and the page's path."""
    skip_iri_grammar()
    from streaming_lab.report.chapter import RunPlan
    from streaming_lab.report.progress import Progress
    from streaming_lab.report.run import run_report

    if options.pdf:
        paper.find_browser()
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # record and page show the same with more detail
    values = {name: parameter.default for name, parameter in known.items()} | given
    times = max((parameter.times for name, parameter in known.items() if values[name] is True), default=1)
    plan = RunPlan(
        chapters=chosen,
        parameters=values,
        given=given,
        build=build_folder().resolve(),
        command=shlex.join(["python3", "scripts/report.py", *arguments]),
        cell_timeout=options.cell_timeout or CELL * times,
        timeout=options.timeout or RUN * times,
    )
    with Progress() as progress:
        result = run_report(plan, progress)
        progress.say(f"{result.status.capitalize()}: {result.reason} {result.seconds:.1f} s")
        progress.say(str(plan.build / "report.html"))
        if options.pdf:
            paper.print_page(plan.build / "report.html", plan.build / "report.pdf", options.paper)
            progress.say(str(plan.build / "report.pdf"))
    return result.exit_code
