"""Makes a chapter of one's own: a notebook with imports, parameters, and a first table of what chapter 03 kept."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

from streaming_lab.errors import LabError
from streaming_lab.report.chapter import find_chapters, is_numbered
from streaming_lab.report.record import write_text

LONGEST_TITLE = 80
IMPORTS = """\
from IPython.display import Markdown

from streaming_lab.analysis import tables
from streaming_lab.report.record import load_frame"""
PARAMETERS = "rows: int = 5  # rows that the first table shows, 1..100"
LOAD = """\
requests = load_frame("requests")
events = load_frame("events")
tables.first_rows(events, rows)"""
READING = """\
Markdown(
    f"**{tables.counted(len(requests), 'request')}** became {tables.counted(len(events), 'event')} "
    f"of {tables.counted(events['player'].nunique(), 'player')}."
)"""


def write_new_chapter(folder: Path, title: str) -> Path:
    """Write the next chapter of `folder` under this title and return its path; `LabError` for a title that is none."""
    title = " ".join(title.split())
    if not title or len(title) > LONGEST_TITLE or not title.isprintable():
        raise LabError(f"the title {title[:LONGEST_TITLE]!r} is no title", f"Take 1 to {LONGEST_TITLE} characters.")
    number = max((one.number for one in find_chapters(folder) if is_numbered(one.name)), default=0) + 1
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain)) or "chapter"
    cells = [
        markdown_cell("my-chapter", f"# {title}\n\nWhat this chapter finds, in one line."),
        code_cell("my-imports", IMPORTS, "machinery"),
        code_cell("my-parameters", PARAMETERS, "parameters"),
        markdown_cell("before-my-rows", "Chapter 03 kept the crowd's requests and the topic's rows:"),
        code_cell("my-rows", LOAD),
        code_cell("my-reading", READING, "machinery"),
    ]
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "lab": {"needs": ["03"]},
        "language_info": {"name": "python"},
    }
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    path = folder / f"{number:02d}-{slug}.ipynb"
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return path


def markdown_cell(name: str, text: str) -> dict[str, Any]:
    """A cell of prose as a notebook file has it."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}


def code_cell(name: str, source: str, *tags: str) -> dict[str, Any]:
    """A cell of code as a notebook file has it; machinery is folded."""
    metadata: dict[str, Any] = {"jupyter": {"source_hidden": True}} if "machinery" in tags else {}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {**metadata, **({"tags": list(tags)} if tags else {})},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }
