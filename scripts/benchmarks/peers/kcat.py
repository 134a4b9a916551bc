"""kcat as a process, its output to a reader of JSON lines; ways: arrow, polars, duckdb."""

import measure  # first: it starts the clock

# isort: split
import io
import json
import subprocess
import sys
import tempfile

import pandas as pd

WAY = measure.Task(**json.loads(sys.argv[1])).way
if WAY == "arrow":
    import pyarrow.json  # noqa: F401
elif WAY == "polars":
    import polars
elif WAY == "duckdb":
    import duckdb

SETTINGS = ("fetch.max.bytes=67108864", "max.partition.fetch.bytes=16777216", "queued.max.messages.kbytes=1048576")


def command(task: measure.Task) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("-X", setting)]
    return ["kcat", "-b", task.bootstrap, "-C", "-t", task.topic, "-o", "beginning", "-e", "-q", *settings]


def load(task: measure.Task) -> object:
    if task.way == "duckdb":
        return by_duckdb(task)
    lines = subprocess.run(command(task), stdout=subprocess.PIPE, check=True).stdout
    if task.way == "arrow":
        return measure.read_lines(lines).to_pandas()
    types = {"price": polars.Float64, "quantity": polars.Int64}
    schema = {name: types.get(name, polars.String) for name in measure.ROW}
    at = polars.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
    return polars.read_ndjson(io.BytesIO(lines), schema=schema).with_columns(at).to_pandas()


def by_duckdb(task: measure.Task) -> pd.DataFrame:
    types = {"at": "TIMESTAMP", "price": "DOUBLE", "quantity": "BIGINT"}
    columns = {name: types.get(name, "VARCHAR") for name in measure.ROW}
    with tempfile.NamedTemporaryFile(suffix=".ndjson") as file:  # its reader wants a file it can seek in
        subprocess.run(command(task), stdout=file, check=True)
        read = duckdb.sql(
            "SELECT * FROM read_json($1, format='newline_delimited', columns=$2)", params=[file.name, columns]
        )
        frame = read.df()
    frame["at"] = frame["at"].dt.tz_localize("UTC")
    return frame


measure.run(load)
