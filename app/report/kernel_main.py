"""A kernel's process: python -m streaming_lab.report.kernel_main -f CONNECTION_FILE [MODULE ...]

Differs from ipykernel in three points: it skips one needless import; it imports the chapter's modules before the first
cell arrives, while the chapter before still runs; and the output of background threads goes to the log, because
ipykernel shows such output in whichever cell happens to run, and in another one in its next version.
"""

import importlib
import sys
from collections.abc import Iterable
from contextlib import suppress

from streaming_lab.skipped_imports import skip_iri_grammar

PRELOAD = "--for="  # the option before the name of a module to import
CHARTS = "streaming_lab.analysis.charts"  # imports altair and vl_convert when it draws


def main() -> None:
    """Import the chapter's modules, then become a kernel."""
    skip_iri_grammar()
    modules = [argument.removeprefix(PRELOAD) for argument in sys.argv if argument.startswith(PRELOAD)]
    sys.argv = [argument for argument in sys.argv if not argument.startswith(PRELOAD)]
    preload(modules)
    from ipykernel import kernelapp

    kernelapp.launch_new_instance(outstream_class=f"{__package__}.cell_stream.CellStream")


def preload(modules: Iterable[str]) -> None:
    """Import the modules; an error is left to the cell that imports the module again."""
    names = list(modules)
    for name in [*names, *(["altair", "vl_convert"] if CHARTS in names else [])]:
        with suppress(Exception):
            importlib.import_module(name)


if __name__ == "__main__":
    main()
