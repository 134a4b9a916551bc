"""A kernel's process: python -m streaming_lab.report.kernel_main -f CONNECTION_FILE [MODULE ...]

ipykernel, but: one needless import is skipped; the modules that the chapter will import are imported before its first
cell is sent, while the chapter before it still runs; and what background threads print goes to its log, because
ipykernel shows it in whichever cell happens to run, and in another one in its next version.
"""

import importlib
import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress

from ipykernel.iostream import OutStream

from streaming_lab.skipped_imports import skip_iri_grammar

# A kernel's stdout and stderr: cells print into the notebook, background threads into the kernel's log.


class CellStream(OutStream):
    """ipykernel's stream for the main thread, where cells run; for every other thread the process's own stderr."""

    def write(self, string: str) -> int:
        """Write to the cell, or to the log."""
        here = threading.current_thread()
        if here is threading.main_thread() or here is getattr(self, "watch_fd_thread", None):
            return super().write(string) or len(string)  # the second carries what a cell's subprocess or C code writes
        os.write(log_line(self), string.encode("utf-8", "replace"))
        return len(string)


def log_line(stream: OutStream) -> int:
    """The process's own stderr; ipykernel keeps a copy of it when it captures the original."""
    return int(getattr(stream, "_original_stdstream_copy", None) or 2)


FOR = "--for="
DRAWS = "streaming_lab.analysis.charts"  # imports these two where it draws


def main() -> None:
    """Import the chapter's modules, then become a kernel."""
    skip_iri_grammar()
    modules = [argument.removeprefix(FOR) for argument in sys.argv if argument.startswith(FOR)]
    sys.argv = [argument for argument in sys.argv if not argument.startswith(FOR)]
    preload(modules)
    from ipykernel import kernelapp

    kernelapp.launch_new_instance(outstream_class=f"{__package__}.stream.CellStream")


def preload(modules: Iterable[str]) -> None:
    """Import what can be imported; an error belongs to the cell that will meet it again."""
    names = list(modules)
    for name in [*names, *(["altair", "vl_convert"] if DRAWS in names else [])]:
        with suppress(Exception):
            importlib.import_module(name)


if __name__ == "__main__":
    main()
