"""A kernel's process: python -m streaming_lab.report.kernel_main -f CONNECTION_FILE [MODULE ...]

ipykernel, but: one needless import is skipped; the modules that the chapter will import are imported before its first
cell is sent, while the chapter before it still runs; and what background threads print goes to its log, because
ipykernel shows it in whichever cell happens to run, and in another one in its next version.
"""

import importlib
import sys
from collections.abc import Iterable
from contextlib import suppress

from streaming_lab.skipped_imports import skip_iri_grammar

FOR = "--for="
DRAWS = "streaming_lab.analysis.charts"  # imports these two where it draws


def main() -> None:
    """Import the chapter's modules, then become a kernel."""
    skip_iri_grammar()
    modules = [argument.removeprefix(FOR) for argument in sys.argv if argument.startswith(FOR)]
    sys.argv = [argument for argument in sys.argv if not argument.startswith(FOR)]
    preload(modules)
    sys.path.append("")  # the chapter's folder comes last: a kafka.py of one's own hides no library
    from ipykernel import kernelapp

    kernelapp.launch_new_instance(outstream_class=f"{__package__}.cell_stream.CellStream")


def preload(modules: Iterable[str]) -> None:
    """Import what can be imported; an error belongs to the cell that will meet it again."""
    names = list(modules)
    for name in [*names, *(["altair", "vl_convert"] if DRAWS in names else [])]:
        with suppress(Exception):
            importlib.import_module(name)


if __name__ == "__main__":
    main()
