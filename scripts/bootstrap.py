"""Finds or makes the environment that a script needs: `import bootstrap; bootstrap.enter()`.

Every Python can read this file: one that is too old for the rest gets two lines that say so. `environment.py` does the
work, on Python 3.8 and later.
"""

import os
import sys

if sys.version_info < (3, 8):
    running = (sys.version_info[0], sys.version_info[1], sys.executable)
    sys.stderr.write("Python %d.%d runs this (%s); the lab needs 3.11 to 3.14.\n" % running)
    sys.stderr.write("Run it with one of those; any from 3.8 on looks for one by itself: python3 %s\n" % sys.argv[0])
    raise SystemExit(2)

hidden = [path for path in os.environ.pop("PYTHONPATH", "").split(os.pathsep) if path]
paths = [os.path.abspath(path) for path in hidden]
sys.path[1:] = [path for path in sys.path[1:] if os.path.abspath(path) not in paths]
source = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")
if any(path != source for path in paths) and "LAB_SAID" not in os.environ:
    sys.stderr.write(
        "PYTHONPATH is not used here, since a file there could hide a library: %s\n" % os.pathsep.join(hidden)
    )

from environment import PROJECT, bare, enter, enter_if_there

__all__ = ["PROJECT", "bare", "enter", "enter_if_there"]
