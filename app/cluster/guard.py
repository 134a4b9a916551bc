"""Who ends the JVMs when the keeper itself is killed: a shell that waits for the end of a pipe.

SIGKILL cannot be caught, and Linux's parent-death signal is Linux's alone. A pipe works on every Unix: the keeper
holds its writing end, so the shell's `read` ends when the keeper does, however it ends. Where both are killed at once,
the state file still names the JVMs, and the next start, status or stop ends them.
"""

import contextlib
import subprocess

# The last line read is the list of process groups to end; an empty one means: nothing to do.
_SHELL = 'groups=; while read -r line; do groups=$line; done; for group in $groups; do kill -9 "-$group"; done'


class Guard:
    """Watches over the given process groups as long as it lives."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, groups: list[int]) -> None:
        """From now on it is these."""
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                self._shell.stdin.write(" ".join(map(str, groups)).encode() + b"\n")
                self._shell.stdin.flush()

    def close(self) -> None:
        """Nothing is left to watch."""
        self.watch([])
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                self._shell.stdin.close()
            self._shell.wait(timeout=5.0)
            self._shell = None
