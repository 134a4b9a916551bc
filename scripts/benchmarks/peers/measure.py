"""What every peer does around its own loading: times, memory, and what its frame holds. Imported first, stdlib only.

A peer is a script: `import measure`, its heavy imports, a function from `Task` to DataFrame, `measure.run(function)`.
It is started in a fresh interpreter with the task as JSON, and prints one line of JSON.
"""

import time

STARTED = time.perf_counter()

import json
import os
import resource
import sys
from dataclasses import dataclass
from typing import Any

ROW = ("event_id", "event_type", "player", "at", "host", "user_agent", "price", "item", "quantity")


@dataclass(frozen=True)
class Task:
    """What to load: all of `topic`, which has `events` events; `way` is the peer's variant, if it has several."""

    bootstrap: str
    topic: str
    events: int
    partitions: int
    way: str = ""


def run(load: Any) -> None:
    """Time `load(task)`, then describe the frame, and leave without tearing it down."""
    imported = time.perf_counter() - STARTED
    task = Task(**json.loads(sys.argv[1]))
    start, cpu = time.perf_counter(), time.process_time()
    frame = load(task)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    found = {"seconds": seconds, "cpu_seconds": cpu, "import_seconds": imported, "peak_rss_mb": peak_mb()}
    if frame is not None:
        found["content"] = content(frame)
    print(json.dumps(found), flush=True)
    os._exit(0)  # a million objects take seconds to tear down, and clients' threads want to be joined: nobody needs it


def peak_mb() -> float:
    """The highest resident memory so far, of this process and a finished child, in MB."""
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(peaks) / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # macOS counts bytes, Linux kilobytes


def content(frame: Any) -> dict[str, str]:
    """A hash per column and one over whole rows that do not depend on the rows' order, and the number of rows."""
    import numpy as np

    hashes = {name: cell_hashes(frame[name]) for name in ROW}
    rows = np.zeros(len(frame), np.uint64)
    for each in hashes.values():
        rows = rows * np.uint64(0x9E3779B97F4A7C15) + each  # wraps around: cells that change places change the sum
        rows ^= rows >> np.uint64(29)
    hashes["whole rows"] = rows
    return {"rows": str(len(frame)), **{name: f"{int(each.sum()):016x}" for name, each in hashes.items()}}


def cell_hashes(column: Any) -> Any:
    """A 64-bit hash per cell that is the same for the same value, whatever type the column has it in."""
    import pandas as pd

    if column.name == "at":
        values = column.dt.as_unit("us").astype("int64").to_numpy()
    elif column.name in ("price", "quantity"):
        values = column.astype("float64").to_numpy()
    else:
        values = column.to_numpy(dtype=object, copy=True)
        values[column.isna().to_numpy()] = None
    return pd.util.hash_array(values, categorize=False)


def arrow_schema() -> Any:
    """The declared schema, as pyarrow's JSON reader wants it."""
    import pyarrow as pa

    types = {"at": pa.timestamp("us", "UTC"), "price": pa.float64(), "quantity": pa.int64()}
    return pa.schema([(name, types.get(name, pa.string())) for name in ROW])


def read_lines(lines: bytes) -> Any:
    """JSON lines to an Arrow table, the fast way that pyarrow has."""
    import pyarrow as pa
    from pyarrow import json as pj

    return pj.read_json(
        pa.BufferReader(lines),
        read_options=pj.ReadOptions(block_size=1 << 20),
        parse_options=pj.ParseOptions(explicit_schema=arrow_schema(), unexpected_field_behavior="ignore"),
    )


def frame_of(rows: list[dict[str, Any]]) -> Any:
    """A list of dicts to a DataFrame, the usual way."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame
