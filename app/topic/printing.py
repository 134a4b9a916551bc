"""Frames on a terminal or for programs: a table, CSV, or a JSON object a line."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from streaming_lab.cli import write_error
from streaming_lab.wording import counted, visible

_CELL = 48  # characters of a cell in a table
RECORD_COLUMNS = ("partition", "offset", "timestamp", "key")


def print_frame(frame: pd.DataFrame, form: str, most: int) -> None:
    """Write the frame to stdout; a table shows `most` rows, the first and the last, and stderr says so."""
    sys.stdout.write(_FORMATS[form](frame, most))
    sys.stdout.flush()


def _table(frame: pd.DataFrame, most: int) -> str:
    if frame.empty:
        write_error("no rows")
        return ""
    shown = frame
    if len(frame) > most:
        shown = pd.concat([frame.head(most - most // 2), frame.tail(most // 2)])
        write_error(
            f"{most} of {counted(len(frame), 'record')} are shown; --rows N shows more, --format csv or json all"
        )
    cells = [list(map(str, frame.columns)), *map(_row, shown.itertuples(index=False, name=None))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    lines = ["  ".join(_aligned(*each) for each in zip(row, widths, numbers, strict=True)).rstrip() for row in cells]
    room = shutil.get_terminal_size((200, 0)).columns if sys.stdout.isatty() else None
    return "".join(f"{line[:room]}\n" for line in lines)


def _aligned(text: str, width: int, number: bool) -> str:
    return text.rjust(width) if number else text.ljust(width)


def _row(cells: tuple[Any, ...]) -> list[str]:
    return [_short(_text(cell)) for cell in cells]


def _text(cell: Any) -> str:
    plain = to_plain(cell)
    text = "" if plain is None else plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return visible(text).replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _short(text: str) -> str:
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def _csv(frame: pd.DataFrame, most: int) -> str:
    del most
    text = pd.DataFrame({name: [_csv_cell(cell) for cell in frame[name]] for name in frame.columns}, dtype=object)
    return str(text.to_csv(index=False, lineterminator="\n"))


def _csv_cell(cell: Any) -> Any:
    plain = to_plain(cell)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, (list, dict)) else plain


def _json(frame: pd.DataFrame, most: int) -> str:
    del most
    return "".join(f"{line}\n" for line in map(_line, frame.to_dict("records")))


def _line(row: Mapping[Any, Any]) -> str:
    """A record as a JSON object; the payload's missing columns are left out."""
    cells = ((str(name), to_plain(cell)) for name, cell in row.items())
    kept = {name: cell for name, cell in cells if cell is not None or name in RECORD_COLUMNS}
    return json.dumps(kept, ensure_ascii=False)


def to_plain(cell: Any) -> Any:
    """A cell as JSON has it: times in ISO 8601, bytes as text with \\xNN, missing as None."""
    if isinstance(cell, (list, tuple)):
        return [to_plain(one) for one in cell]
    if isinstance(cell, dict):
        return {name: to_plain(one) for name, one in cell.items()}
    if isinstance(cell, bytes):
        return cell.decode(errors="backslashreplace")
    if cell is None or pd.isna(cell):
        return None
    if isinstance(cell, pd.Timestamp):
        fine = bool(cell.microsecond % 1000)
        return cell.isoformat(timespec="microseconds" if fine else "milliseconds").replace("+00:00", "Z")
    return cell.item() if hasattr(cell, "item") else cell


_FORMATS: Mapping[str, Callable[[pd.DataFrame, int], str]] = {"table": _table, "csv": _csv, "json": _json}
