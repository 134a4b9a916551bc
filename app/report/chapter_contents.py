"""Saves notebooks for JupyterLab: a committed one keeps what a person types, and gets none of what its cells show."""

import json
import subprocess
from pathlib import Path
from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from streaming_lab.paths import PROJECT

OF_THE_FILE = ("kernelspec", "language_info")  # JupyterLab writes those of the running kernel, version included
OF_THE_VIEW = ("jupyter", "collapsed", "scrolled")  # a cell that is unfolded to be read is not an edit
OF_THE_RUN = ("execution", "ExecuteTime")


class ChapterContents(AsyncLargeFileManager):
    """JupyterLab's own files, but for committed notebooks of this project."""

    def run_pre_save_hooks(self, model: dict[str, Any], path: str, **more: Any) -> None:
        """Take out of `model` what is not to be saved, after the hooks of a person's own configuration."""
        super().run_pre_save_hooks(model=model, path=path, **more)  # type: ignore[no-untyped-call]
        file = Path(self._get_os_path(path.strip("/")))  # type: ignore[no-untyped-call]
        if model["type"] == "notebook" and model.get("content") and is_committed(file):
            keep_typed(model["content"], read_notebook(file))


def is_committed(file: Path) -> bool:
    """Tell whether git has this notebook of the project; without git every one counts as committed."""
    if PROJECT not in file.resolve().parents:
        return False
    command = ["git", "ls-files", "--error-unmatch", file.name]
    try:
        return subprocess.run(command, cwd=file.parent, capture_output=True, check=False, timeout=10).returncode != 1
    except (OSError, subprocess.TimeoutExpired):
        return file.exists()


def keep_typed(notebook: dict[str, Any], before: dict[str, Any]) -> None:
    """Remove results from `notebook`, and restore the metadata of kernel and view from the file as it was `before`."""
    for name in OF_THE_FILE:
        _restore(notebook["metadata"], before.get("metadata", {}), name)
    notebook["metadata"].pop("widgets", None)
    old = {cell.get("id"): cell["metadata"] for cell in before.get("cells", ())}
    for cell in notebook["cells"]:
        for name in OF_THE_VIEW:
            _restore(cell["metadata"], old.get(cell.get("id"), {}), name)
        for name in OF_THE_RUN:
            cell["metadata"].pop(name, None)
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)


def read_notebook(file: Path) -> dict[str, Any]:
    """Return the notebook as it is in the file, or nothing where that cannot be read."""
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def _restore(metadata: dict[str, Any], before: dict[str, Any], name: str) -> None:
    if name in before:
        metadata[name] = before[name]
    else:
        metadata.pop(name, None)
