"""The report, from nothing: python3 scripts/report.py [03 ...] [-p requests 5000]"""

import sys

try:
    import bootstrap

    bootstrap.enter(scale="engine dask" in " ".join(sys.argv))

    from streaming_lab.cli import run
    from streaming_lab.report.cli import main
except KeyboardInterrupt:
    sys.stderr.write("interrupted\n")
    raise SystemExit(130) from None

raise SystemExit(run(main))
