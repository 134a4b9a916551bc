"""Kernels of the running environment's own Python, whatever kernels are installed or set as default."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from streaming_lab.paths import SOURCE
from streaming_lab.report.kernel_main import FOR

KERNEL_NAME = "python3"
START, KERNEL_GRACE = 60.0, 2.0  # seconds for a kernel to answer first, and to end when asked
ARGUMENTS = (
    "--HistoryManager.enabled=False",  # nobody's history belongs into a report
    "--IPKernelApp.log_level=50",  # ipykernel 7 warns of TCP in the terminal; its sockets are on 127.0.0.1
)


def kernel_command() -> list[str]:
    """What starts a kernel: this very interpreter."""
    return [sys.executable, "-P", "-m", "streaming_lab.report.kernel_main", "-f", "{connection_file}"]


def kernel_environment(**more: str) -> dict[str, str]:
    """This process's environment, in which `import app` works from any folder."""
    path = os.pathsep.join(part for part in (str(SOURCE), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **more}


class OwnKernelSpecs(KernelSpecManager):
    """One kernel and no search: the kernel of this interpreter."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The same for every name: a notebook's metadata may name a kernel of another machine."""
        return KernelSpec(argv=kernel_command(), display_name="Python 3 (lab)", language="python", resource_dir="")


@dataclass
class Kernel:
    """A kernel's process, our line to it, and the promise that it answers."""

    manager: AsyncKernelManager
    client: Any
    ready: asyncio.Future[None]
    asked: bool = False  # to end


class Kernels:
    """Starts kernels, the next one while the current one works, and ends them all.

    What a kernel's process itself says (not its cells) goes to `log`.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], log: Path) -> None:
        self.folder, self.env, self.log = folder, env, log
        self.spare: Kernel | None = None
        self.last: Kernel | None = None
        self.all: list[Kernel] = []

    async def prepare(self, modules: Iterable[str] = ()) -> None:
        """Start a kernel to have at hand, which first imports `modules`; returns as soon as the process exists."""
        if self.spare:
            return
        manager = AsyncKernelManager(kernel_name=KERNEL_NAME, kernel_spec_manager=OwnKernelSpecs())
        arguments = [*ARGUMENTS, *(f"{FOR}{module}" for module in modules)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            await manager.start_kernel(
                extra_arguments=arguments, cwd=str(self.folder), env=dict(self.env), stdout=log, stderr=log
            )
        client = manager.client()
        client.start_channels()
        client.allow_stdin = False
        self.spare = Kernel(manager, client, asyncio.ensure_future(client.wait_for_ready(timeout=START)))
        self.all.append(self.spare)

    async def take(self) -> Kernel:
        """The kernel at hand, or a new one, ready for its first cell. Raises RuntimeError when it does not answer."""
        await self.prepare()
        kernel, self.spare = self.spare, None
        assert kernel is not None
        self.last = kernel
        await kernel.ready
        return kernel

    async def retire(self, kernel: Kernel, *, now: bool) -> None:
        """Ask a kernel to end, without waiting for it; `now` kills it.

        Not by `shutdown_kernel`: it interrupts first, which at times hits the kernel's own loop and then costs 2.5 s.
        """
        kernel.client.stop_channels()
        if now:
            await kernel.manager.shutdown_kernel(now=True)
        elif await kernel.manager.is_alive():
            await kernel.manager.request_shutdown()
            kernel.asked = True

    async def end(self) -> None:
        """End every kernel that is still there: those asked get two seconds, all others none."""
        await settle()
        for kernel in self.all:
            kernel.client.stop_channels()
            if not kernel.manager.has_kernel:
                continue
            if kernel.asked:
                await kernel.manager.finish_shutdown(waittime=KERNEL_GRACE)
                await kernel.manager.cleanup_resources()
            else:
                await kernel.manager.shutdown_kernel(now=True)
        self.all.clear()
        self.spare = None


async def settle() -> None:
    """Cancel what Ctrl-C left half-way on the loop, and hear it out."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def exit_of(kernel: Kernel | None) -> str:
    """How a dead kernel ended, in words: `SIGKILL (-9), often for want of memory`."""
    code = await kernel.manager.provisioner.poll() if kernel and kernel.manager.provisioner else None
    if code is None:
        return "no exit status"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "signal"
        return f"{name} ({code})" + (", often for want of memory" if name == "SIGKILL" else "")
    return f"exit status {code}"
