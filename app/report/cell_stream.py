"""A kernel's stdout and stderr: cells write into the notebook, background threads into the kernel's log."""

import os
import threading

from ipykernel.iostream import OutStream


class CellStream(OutStream):
    """ipykernel's stream for the main thread, where cells run; for every other thread the process's own stderr."""

    def write(self, string: str) -> int:
        """Write to the cell, or from a background thread to the log."""
        here = threading.current_thread()
        if here is threading.main_thread() or here is getattr(self, "watch_fd_thread", None):
            return super().write(string) or len(string)  # the second carries what a cell's subprocess or C code writes
        os.write(log_descriptor(self), string.encode("utf-8", "replace"))
        return len(string)


def log_descriptor(stream: OutStream) -> int:
    """The file descriptor of the process's own stderr; ipykernel keeps a copy when it captures the original."""
    return int(getattr(stream, "_original_stdstream_copy", None) or 2)
