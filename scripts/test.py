"""Runs the checks: lint and types beside the tests, in three tiers.

python3 scripts/test.py quick              before a commit: lint, types, all tests that need no broker of their own, and
                                           the essential paths on one that runs
python3 scripts/test.py                    all that this machine can run
python3 scripts/test.py long --minutes 30  that and the long runs: fault schedules, fuzzing, every reader of the
                                           benchmark, thorough faults; each of them may take so many minutes
python3 scripts/test.py -k ledger          tests alone, one after the other, with any of pytest's options

On two quiet cores: quick 1 to 1.5 minutes, all with Docker 8 to 15 minutes, long as long as it may. With
mypy's cache cold a minute more; the first call adds the tools of the checks to .venv, 90 MB in 8 s.
A few tests that fail beside others are tried again alone; one that passes then is named as unsteady.
A tool that is missing here (kcat, Docker ...) is named with the number of tests that need it; with CI=true in the
environment it is a failure.
"""

import bootstrap

bootstrap.enter(checks=True)

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from streaming_lab.cli import positive, run

LINT = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
}
TIERS = {  # the tests that each tier chooses, as pytest options
    "quick": ["-m", "essential or not (broker or slow or docker or long)"],
    "": ["-m", "not long"],
    "long": [],
}
MINUTES = 5.0  # for each of the long runs
WORKERS = min(4, 1 + (os.cpu_count() or 1))  # each has brokers of 350 MB, and one that idles takes 3 % of a core
FEW = 5  # failures beside others that are worth a second try alone; more of them are no accident
PARALLEL = ["--dist=loadscope", "--no-loadscope-reorder", "--quiet"]


class Lint:
    """One check of the source, in a process of its own beside the tests."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=bootstrap.PROJECT, stdout=self._output, stderr=subprocess.STDOUT
        )

    def passed(self) -> bool:
        """Wait for the end of the check, and print its output."""
        code = self._process.wait()
        self._output.seek(0)
        print(self._output.read().decode(errors="replace").rstrip())
        print(f"{self.name}: {'passed' if code == 0 else 'FAILED'}", flush=True)
        return code == 0

    def end(self) -> None:
        """Kill the process if it still runs."""
        self._process.kill()
        self._process.wait()
        self._output.close()


def main(argv: list[str]) -> int:
    """Run the named tier, or chosen tests alone where pytest gets options; return 1 when anything failed."""
    tier = argv[0] if argv and argv[0] in TIERS else ""
    parser = argparse.ArgumentParser(
        "test.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.usage = "test.py [quick | long [--minutes N]] [pytest options]"
    parser.add_argument(
        "--minutes", type=positive, default=MINUTES, help="for each of the long runs (default: %(default)g)"
    )
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of some hundred processes would compile what it imports
    own, options = parser.parse_known_args(argv[1:] if tier else argv)
    more = [f"--minutes={own.minutes}"] if tier == "long" else []
    alone = bool(options) and not tier
    parallel = [] if alone else [f"--numprocesses={WORKERS}", *PARALLEL]
    began = time.monotonic()
    lints = [] if options else [Lint(name, command) for name, command in LINT.items()]
    if not alone:
        warm_up()
    try:
        passed, left_out = tests([*TIERS[tier], *more, *parallel, *options])
        failed = [lint.name for lint in lints if not lint.passed()] + ([] if passed else ["pytest"])
    finally:
        for lint in lints:
            lint.end()
    for reason, count in left_out.most_common():
        print(f"not run: {count} that {'need' if count > 1 else 'needs'} {reason.removeprefix('needs ')}")
    verdict = f"FAILED: {', '.join(failed)}" if failed else "All checks passed"
    print(f"{verdict} in {time.monotonic() - began:.0f} s" + (f", {left_out.total()} not run" if left_out else ""))
    return 1 if failed else 0


def warm_up() -> None:
    """Fetch Kafka and train its start-up cache once: without this, every worker would at the same moment."""
    from streaming_lab.cluster import ClusterError, attach
    from streaming_lab.cluster.embedded import jars

    try:
        jars.class_path()
        if not any((jars.cache_folder() / "start").glob("*.aot")):
            attach("embedded", instance="warm-up").close(wait=True)  # type: ignore[call-arg]
    except ClusterError as error:  # the tests that need Kafka will fail with the reason
        print(error, flush=True)


def tests(options: list[str]) -> tuple[bool, Counter[str]]:
    """Run pytest; return whether all tests passed, and how many were left out for each reason."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", f"--junit-xml={results}", "-o", "junit_logging=no", *options]
        code = subprocess.run(command, cwd=bootstrap.PROJECT, check=False).returncode
        if code == 1 and "--dist=loadscope" in options:
            code = try_again(results, options)
        found = ElementTree.parse(results).iter("skipped") if results.exists() else ()  # noqa: S314 - pytest's own
        return code == 0, Counter(one.get("message", "") for one in found if one.get("type") == "pytest.skip")


def try_again(results: Path, options: list[str]) -> int:
    """Run a few failed tests again, one after the other; returns the exit code, and names the unsteady ones."""
    failed = []
    for case in ElementTree.parse(results).iter("testcase"):  # noqa: S314 - pytest's own
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
    if not 0 < len(failed) <= FEW or any(one.startswith(".py") for one in failed):
        return 1  # many, or a file that cannot be read at all
    print(f"Tried again alone: {' '.join(failed)}", flush=True)
    minutes = [option for option in options if option.startswith("--minutes")]
    again = [sys.executable, "-m", "pytest", "--quiet", *minutes, *failed]
    code = subprocess.run(again, cwd=bootstrap.PROJECT, check=False).returncode
    if code == 0:
        print(f"UNSTEADY, failed beside others and passed alone: {' '.join(failed)}", flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(run(lambda: main(sys.argv[1:])))
