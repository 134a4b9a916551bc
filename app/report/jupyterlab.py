"""Starts JupyterLab on the chapters, with the kernel of this environment whatever else is installed."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from streaming_lab.paths import PROJECT, SOURCE, lab_home

PORTABLE = ("-m", "ipykernel_launcher", "-f", "{connection_file}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run JupyterLab on notebooks/ until Ctrl-C; further arguments go to JupyterLab."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.update(lab_environment(kernel_folder(lab_home()), os.environ))
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    LabApp.launch_instance([*lab_options(PROJECT / "notebooks"), *given])
    return 0


def kernel_folder(home: Path) -> Path:
    """Write the kernel's description where only this JupyterLab looks; return the folder for `JUPYTER_PATH`."""
    folder = home / "jupyter"
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {
            "argv": [sys.executable, *PORTABLE],
            "display_name": "Python 3 (lab)",
            "language": "python",
            "env": {"PYTHONPATH": str(SOURCE)},
        }
    )
    spec.write_text(text, encoding="utf-8")
    return folder


def lab_environment(folder: Path, current: Mapping[str, str]) -> dict[str, str]:
    """Return `JUPYTER_PATH` with `folder` in front: it precedes all other places where Jupyter looks for kernels."""
    return {"JUPYTER_PATH": os.pathsep.join(filter(None, [str(folder), current.get("JUPYTER_PATH", "")]))}


def lab_options(notebooks: Path) -> list[str]:
    """Return the options: this machine only, with a token, one Ctrl-C to end, no news from any server."""
    return [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={notebooks}",
        "--ServerApp.answer_yes=True",
        "--MultiKernelManager.default_kernel_name=python3",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
