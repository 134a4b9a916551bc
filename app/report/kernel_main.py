"""A kernel's process: python -m streaming_lab.report.kernel_main -f CONNECTION_FILE [MODULE ...]

Differs from ipykernel in four points. It skips one needless import. It imports the chapter's modules before the first
cell arrives, while the chapter before still runs. The output of background threads goes to the log, because ipykernel
shows such output in whichever cell happens to run, and in another one in its next version. A failed assertion shows
what it asserted, and the values.
"""

import importlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from streaming_lab.report.assertions import explain_assertion
from streaming_lab.skipped_imports import skip_schema_formats

PRELOAD = "--for="  # the option before the name of a module to import
CHARTS = "streaming_lab.analysis.charts"  # imports altair and vl_convert when it draws for the first time


def main() -> None:
    """Import the chapter's modules, then become a kernel."""
    skip_schema_formats()
    modules = [argument.removeprefix(PRELOAD) for argument in sys.argv if argument.startswith(PRELOAD)]
    sys.argv = [argument for argument in sys.argv if not argument.startswith(PRELOAD)]
    preload(modules)
    sys.path.append("")  # the chapter's folder comes last: a kafka.py of one's own hides no library
    from ipykernel.kernelapp import IPKernelApp

    app: Any = IPKernelApp.instance(outstream_class=f"{__package__}.cell_stream.CellStream")
    app.initialize()
    app.shell.set_custom_exc((AssertionError,), show_assertion)
    app.start()


def show_assertion(
    shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: Any = None
) -> None:
    """Show a failed assertion as IPython does; one without a message gets its source and values as the message."""
    if not str(error):
        with suppress(Exception):
            error.args = tuple(filter(None, [explain_assertion(trace)]))
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def preload(modules: Iterable[str]) -> None:
    """Import the modules, and draw once if they draw; an error is left to the cell that does the same again."""
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)
    if CHARTS in sys.modules:
        with suppress(Exception):
            sys.modules[CHARTS].warm_up_charts()


if __name__ == "__main__":
    main()
