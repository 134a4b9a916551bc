"""The command `scripts/faults.py`: many random schedules, one after the other, with a line for each."""

import argparse
import sys
import time
from collections.abc import Sequence

from streaming_lab.cli import VERSION, whole
from streaming_lab.cluster import attach
from streaming_lab.faults import evidence
from streaming_lab.faults.schedules import schedule, violations


def main(argv: Sequence[str] | None = None) -> int:
    """Run the schedules; returns 1 when a promise was broken, and names the seeds.

    Ctrl-C and SIGTERM end the run in the middle (exit code 130): games and folders go at once, the broker soon after.
    """
    options = _options(argv)
    seeds = range(options.first, options.first + options.schedules) if options.seed is None else [options.seed]
    failed = []
    with attach("embedded", instance="schedules") as kafka:
        for seed in seeds:
            one, start = schedule(seed), time.monotonic()
            _say(str(one))
            problems = violations(one, kafka)
            _say(*(f"  BROKEN: {problem}" for problem in problems))
            if problems and evidence.place(seed).exists():
                _say(f"  evidence: {evidence.place(seed)}")
            _say(f"  {'failed' if problems else 'kept'} in {time.monotonic() - start:.1f} s")
            failed += [seed] if problems else []
    _say(f"{len(seeds) - len(failed)} of {len(seeds)} schedules kept every promise")
    if failed:
        _say(f"again: python3 scripts/faults.py --seed {failed[0]}   (failed: {', '.join(map(str, failed))})")
    return 1 if failed else 0


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("faults.py", description="Random fault schedules, each checked for its promises.")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--schedules", type=whole(1), default=10, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=whole(0), default=1, help="the first one's seed (default: %(default)s)")
    parser.add_argument("--seed", type=whole(0), help="this one only")
    return parser.parse_args(argv)
