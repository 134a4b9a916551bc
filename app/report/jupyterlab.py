"""Starts JupyterLab on the chapters, with the kernel of this environment whatever else is installed."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from streaming_lab import settings
from streaming_lab.cli import command_parser
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, SOURCE, lab_home

KERNEL = {
    "argv": [
        *(sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"),
        "--IPKernelApp.exec_lines=__import__('sys').path.append('')",  # last: a kafka.py of one's own hides no library
        "--InteractiveShellApp.ignore_cwd=True",
    ],
    "display_name": "Python 3",  # as in the notebooks: JupyterLab writes another name into them
    "language": "python",
    "env": {"PYTHONPATH": str(SOURCE)},
}
JUPYTERLAB_OVERRIDES = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
CONTENTS = "streaming_lab.report.chapter_contents.ChapterContents"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run JupyterLab on notebooks/ until Ctrl-C; further arguments go to JupyterLab."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(given):
        _parser().print_help()
        return 0
    os.environ.update(lab_environment(jupyter_folder(lab_home()), os.environ))
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    end_by_one_signal()
    LabApp.launch_instance([*lab_options(PROJECT / "notebooks", given, LabApp.aliases), *given])
    return 0


def end_by_one_signal() -> None:
    """Let Ctrl-C do what SIGTERM does once JupyterLab handles that: without a terminal its files would stay."""
    before, interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGTERM)
        (handler if handler != before and callable(handler) else signal.default_int_handler)(number, frame)

    if interrupt is signal.default_int_handler:  # nohup and a script's background ignore it
        signal.signal(signal.SIGINT, stop)


def jupyter_folder(home: Path) -> Path:
    """Write the kernel and JupyterLab's default settings where only this JupyterLab looks; return that folder."""
    folder = home / "jupyter"
    files = {"kernels/python3/kernel.json": KERNEL, "labconfig/default_setting_overrides.json": JUPYTERLAB_OVERRIDES}
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        cure = f"Name a folder of your own: {settings.HOME.name}=/path/to/folder python3 scripts/lab.py"
        raise LabError(f"{folder} can't be written: {error.strerror}", cure) from error
    return folder


def lab_environment(folder: Path, current: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that put `folder` before all other places where Jupyter looks for kernels and settings."""
    return {
        name: os.pathsep.join(filter(None, [str(folder), current.get(name, "")]))
        for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH")
    }


def lab_options(notebooks: Path, given: Sequence[str], aliases: Mapping[str, Any]) -> list[str]:
    """Return the options: this machine only, one Ctrl-C to end, no news; but not those that are `given`."""
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.root_dir": str(notebooks),
        "ServerApp.answer_yes": "True",
        "ServerApp.contents_manager_class": CONTENTS,
        "MultiKernelManager.default_kernel_name": "python3",
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
    }
    names = {option.lstrip("-").partition("=")[0] for option in given if option.startswith("-")}
    names |= {str(aliases.get(name)) for name in names}
    return [f"--{name}={value}" for name, value in options.items() if name not in names]


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "lab.py",
        "Open JupyterLab on the chapters, on this machine only; Ctrl-C ends it. Saving keeps what you\n"
        "type; what cells show is never written into a committed notebook.",
        f"Every other option goes to JupyterLab; all of them: --help-all\n\n{settings.help_text()}",
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    parser.add_argument("--port", metavar="PORT", help="its port (default: 8888, or the next one that is free)")
    parser.add_argument("--notebook-dir", metavar="FOLDER", help="another folder than notebooks/")
    return parser
