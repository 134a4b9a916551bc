"""How every script ends: the exit code tells the truth."""

import sys
from collections.abc import Callable

from app.errors import LabError


def run(main: Callable[[], int]) -> int:
    """Call `main`; a `LabError` becomes two plain lines and 2, Ctrl-C becomes 130; a bug keeps its traceback."""
    try:
        return main()
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
