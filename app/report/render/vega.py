"""Draws Vega and Vega-Lite charts (Altair's) as SVG, in a process of its own with a limit of time.

`python -m streaming_lab.report.render.vega` reads a chart and writes SVG. vl-convert aborts its process on some
characters, and that must not take the report with it.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from streaming_lab.wording import visible_everywhere

VEGA_MIME = re.compile(r"application/vnd\.(vega|vegalite)\.v(\d+)(?:\.\d+)*\+json")
DRAWING_TIMEOUT = 60.0  # seconds for one chart
HTML_SPEC = re.compile(r"\}\)\(\s*(?=\{)")  # where Altair's HTML hands the chart to its script


class ChartError(Exception):
    """A chart that could not be drawn; the message says why."""


def find_chart(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the chart in an output: its Vega or Vega-Lite form, or the one in Altair's HTML; None without a chart."""
    for kind, value in data.items():
        if VEGA_MIME.fullmatch(kind) and isinstance(value, Mapping):
            return dict(value)
    markup = "".join(data.get("text/html", ""))
    start = HTML_SPEC.search(markup) if "vega" in markup else None
    if start is None:
        return None
    try:
        spec, _ = json.JSONDecoder().raw_decode(markup, start.end())
    except ValueError:
        return None
    return spec if "vega" in str(spec.get("$schema", "vega")) else None


def chart_label(spec: Mapping[str, Any]) -> str:
    """Return a chart's own description or title; empty without one."""
    title = spec.get("title")
    title = title.get("text") if isinstance(title, Mapping) else title
    label = spec.get("description") or title or ""
    return " ".join(map(str, label)) if isinstance(label, list) else str(label)


def draw_chart(spec: Mapping[str, Any]) -> str:
    """Return the chart as SVG, or raise ChartError; a chart whose data is at an address is not drawn."""
    if address := data_address(spec):
        raise ChartError(
            f"its data is at {address[:80]}, and the report fetches nothing: read the data with pandas first"
        )
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(visible_everywhere(spec)).encode(),
            capture_output=True,
            timeout=DRAWING_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChartError(f"drawing took longer than {DRAWING_TIMEOUT:g} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ChartError(lines[-1][:300] if lines else f"the converter ended with status {done.returncode}")
    return done.stdout.decode()


def data_address(spec: Any) -> str:
    """Return the first address that a chart's data is to be loaded from; empty without one."""
    parts = [*spec.values()] if isinstance(spec, Mapping) else spec if isinstance(spec, list) else []
    sources = spec.get("data") if isinstance(spec, Mapping) else None
    for source in sources if isinstance(sources, list) else [sources]:
        if isinstance(source, Mapping) and source.get("url"):
            return str(source["url"])
    return next(filter(None, map(data_address, parts)), "")


def main() -> None:
    """Read a chart from standard input and write it as SVG."""
    import vl_convert

    spec = json.load(sys.stdin)
    schema = re.search(r"/(vega|vega-lite)/v(\d+)", str(spec.get("$schema", "")))
    try:
        if schema and schema[1] == "vega":
            made = vl_convert.vega_to_svg(spec, allowed_base_urls=[])
        else:
            made = vl_convert.vegalite_to_svg(
                spec, vl_version=newest_version(schema[2] if schema else ""), allowed_base_urls=[]
            )
    except Exception as error:
        sys.exit(" ".join(str(error).split())[:300] or type(error).__name__)
    sys.stdout.buffer.write(str(made).encode())


def newest_version(major: str) -> str | None:
    """Return the converter's newest version of Vega-Lite `major`; None stands for its default."""
    import vl_convert

    return next((name for name in reversed(vl_convert.get_vegalite_versions()) if name.split(".")[0] == major), None)


if __name__ == "__main__":
    main()
