"""Kernels of the running environment's own Python, whatever kernels are installed or set as default."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from app.home import PROJECT

NAME = "python3"
ARGUMENTS = ("--HistoryManager.enabled=False",)  # nobody's history belongs into a report


def command() -> list[str]:
    """What starts a kernel: this very interpreter."""
    return [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, in which `import app` works from any folder."""
    path = os.pathsep.join(part for part in (str(PROJECT), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **more}


class OwnKernelSpecs(KernelSpecManager):  # type: ignore[misc]  # traitlets classes carry no types
    """One kernel and no search: the kernel of this interpreter."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The same for every name: a notebook's metadata may name a kernel of another machine."""
        return KernelSpec(argv=command(), display_name="Python 3 (lab)", language="python", resource_dir="")


class Kernels:
    """Starts kernels, the next one while the current one works, and ends them all.

    What a kernel's process itself says (not its cells) goes to `log`.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], log: Path) -> None:
        self.folder, self.env, self.log = folder, env, log
        self.spare: AsyncKernelManager | None = None
        self.last: AsyncKernelManager | None = None
        self.all: list[AsyncKernelManager] = []

    async def prepare(self) -> None:
        """Start a kernel to have at hand. It returns as soon as the process exists."""
        if self.spare is None:
            manager = AsyncKernelManager(kernel_name=NAME, kernel_spec_manager=OwnKernelSpecs())
            self.all.append(manager)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                await manager.start_kernel(
                    extra_arguments=list(ARGUMENTS), cwd=str(self.folder), env=dict(self.env), stdout=log, stderr=log
                )
            self.spare = manager

    async def take(self) -> AsyncKernelManager:
        """The kernel at hand, or a new one."""
        await self.prepare()
        manager, self.spare = self.spare, None
        assert manager is not None
        self.last = manager
        return manager

    async def end(self, *, now: bool = True) -> None:
        """End every kernel that is still there."""
        for manager in self.all:
            if manager.has_kernel:
                await manager.shutdown_kernel(now=now)
        self.all.clear()
        self.spare = None


async def exit_of(manager: Any) -> str:
    """How a dead kernel ended, in words: `SIGKILL (-9): often out of memory`."""
    code = await manager.provisioner.poll() if manager and manager.provisioner else None
    if code is None:
        return "no exit status"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "signal"
        return f"{name} ({code})" + (", often for want of memory" if name == "SIGKILL" else "")
    return f"exit status {code}"
