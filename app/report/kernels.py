"""Kernels on the Python of the running environment, independent of installed kernels and defaults."""

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

from streaming_lab import settings
from streaming_lab.paths import SOURCE
from streaming_lab.report.kernel_main import PRELOAD

KERNEL_NAME = "python3"
START, KERNEL_GRACE = 60.0, 2.0  # seconds for a kernel to answer first, and to end when asked
ARGUMENTS = (
    "--HistoryManager.enabled=False",  # a person's IPython history does not belong in a report
    "--IPKernelApp.log_level=50",  # ipykernel 7 warns of TCP in the terminal; its sockets are on 127.0.0.1
)


def kernel_command() -> list[str]:
    """The command that starts a kernel: the running interpreter."""
    return [sys.executable, "-P", "-m", "streaming_lab.report.kernel_main", "-f", "{connection_file}"]


def kernel_environment(**more: str) -> dict[str, str]:
    """This process's environment, with UTC as local time, the lab's package on the path, and no key of a class."""
    path = os.pathsep.join(part for part in (str(SOURCE), os.environ.get("PYTHONPATH", "")) if part)
    inherited = {name: value for name, value in os.environ.items() if name != settings.CLASS_KEY.name}
    return {**inherited, "PYTHONPATH": path, "PYDEVD_DISABLE_FILE_VALIDATION": "1", "TZ": "UTC0", **more}


class OwnKernelSpecs(KernelSpecManager):
    """The one kernel of the running interpreter, without a search."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The same kernel for each name: a notebook's metadata may name a kernel of another machine."""
        return KernelSpec(argv=kernel_command(), display_name="Python 3 (lab)", language="python", resource_dir="")


@dataclass
class Kernel:
    """A kernel's process, its client, and the future that ends when the kernel answers."""

    manager: AsyncKernelManager
    client: Any
    ready: asyncio.Future[None]
    shutdown_requested: bool = False


class Kernels:
    """Starts kernels, the next ones while the current one works, and ends them all.

    `work` holds their connection files and kernel.log: the output of their processes, as opposed to that of cells.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], work: Path) -> None:
        self.folder, self.env, self.work = folder, env, work
        self.log = work / "kernel.log"
        self.spares: dict[str, Kernel] = {}  # by the name of the chapter whose modules each imports
        self.last: Kernel | None = None
        self.all: list[Kernel] = []

    async def prepare(self, chapter: str, modules: Iterable[str] = ()) -> None:
        """Start the kernel of a chapter, which imports `modules` first; return as soon as the process exists."""
        if chapter in self.spares:
            return
        manager = AsyncKernelManager(kernel_name=KERNEL_NAME, kernel_spec_manager=OwnKernelSpecs())
        manager.connection_file = str(self.work / f".kernel-{len(self.all) + 1}.json")  # no other place to clean up
        arguments = [*ARGUMENTS, *(f"{PRELOAD}{module}" for module in modules)]
        with self.log.open("ab") as log:
            await manager.start_kernel(
                extra_arguments=arguments, cwd=str(self.folder), env=dict(self.env), stdout=log, stderr=log
            )
        client = manager.client()
        client.start_channels()
        client.allow_stdin = False
        kernel = Kernel(manager, client, asyncio.ensure_future(client.wait_for_ready(timeout=START)))
        self.spares[chapter] = kernel
        self.all.append(kernel)

    async def take(self, chapter: str) -> Kernel:
        """Return the chapter's kernel, ready for its first cell. Raises RuntimeError if it does not answer."""
        await self.prepare(chapter)
        self.last = kernel = self.spares.pop(chapter)
        await kernel.ready
        return kernel

    async def retire(self, kernel: Kernel, *, now: bool) -> None:
        """Ask a kernel to end, without waiting; `now` kills it.

        `shutdown_kernel` interrupts first, which at times hits the kernel's own loop and then costs 2.5 s.
        """
        kernel.client.stop_channels()
        if now:
            await kernel.manager.shutdown_kernel(now=True)
        elif await kernel.manager.is_alive():
            await kernel.manager.request_shutdown()
            kernel.shutdown_requested = True

    async def end(self) -> None:
        """End all kernels: those asked to end get two seconds, the others none."""
        await cancel_tasks()
        for kernel in self.all:
            kernel.client.stop_channels()
            if not kernel.manager.has_kernel:
                continue
            if kernel.shutdown_requested:
                await kernel.manager.finish_shutdown(waittime=KERNEL_GRACE)
                await kernel.manager.cleanup_resources()
            else:
                await kernel.manager.shutdown_kernel(now=True)
        self.all.clear()
        self.spares.clear()


async def cancel_tasks() -> None:
    """Cancel the tasks that Ctrl-C left on the loop, and wait for their end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def describe_exit(kernel: Kernel | None) -> str:
    """The exit status of a dead kernel in words: `SIGKILL (-9), often for want of memory`."""
    code = await kernel.manager.provisioner.poll() if kernel and kernel.manager.provisioner else None
    if code is None:
        return "no exit status"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "signal"
        return f"{name} ({code})" + (", often for want of memory" if name == "SIGKILL" else "")
    return f"exit status {code}"
