"""Marks of measured values (times, latencies, ports, generated ids): everything else repeats from run to run.

    Markdown(f"The broker was ready after {measured(seconds):.2f} s.")       in prose
    measured(frame)                                                         a whole output

`comparable(notebook)` is an executed notebook with its measured parts blanked: two runs with the same parameters have
equal ones.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from streaming_lab.wording import visible

BLANK = "[measured]"
SPAN = re.compile(r'<span class="measured">.*?</span>', re.DOTALL)


@dataclass(frozen=True)
class Measured:
    """A measured value and its text; a marked span in f-strings and in HTML."""

    value: Any
    text: str

    def _repr_html_(self) -> str:
        return marked(escape(visible(self.text), quote=False))

    def __repr__(self) -> str:
        return visible(self.text)

    def __str__(self) -> str:
        return self._repr_html_()

    def __format__(self, spec: str) -> str:
        return str(Measured(self.value, format(self.value, spec)) if spec else self)


@dataclass(frozen=True)
class MeasuredOutput:
    """An output (a chart, a frame) that is measured as a whole, marked in its metadata."""

    shown: Any

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        if hasattr(self.shown, "_repr_mimebundle_"):
            bundle = self.shown._repr_mimebundle_()
            data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
            return dict(data), {**metadata, "measured": True}
        return {"text/html": self.shown._repr_html_(), "text/plain": repr(self.shown)}, {"measured": True}

    def __repr__(self) -> str:
        return repr(self.shown)


def measured(value: Any, text: str | None = None) -> Any:
    """`value` marked as measured; without `text` numbers get thousands separators, and fractions two decimals.

    Works in f-strings (also with a format: `f"{measured(x):.1f}"`), in table cells, and around a chart, table or frame.
    """
    if text is None and (hasattr(value, "_repr_mimebundle_") or hasattr(value, "_repr_html_")):
        return value if isinstance(value, (Measured, MeasuredOutput)) else MeasuredOutput(value)
    return Measured(value, show_measured(value) if text is None else text)


def marked(html: str) -> str:
    """`html` marked as measured: two runs with the same parameters may differ in marked parts only."""
    return f'<span class="measured">{html}</span>'


def show_measured(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def comparable(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cells of an executed notebook (nbformat 4) without the parts that may differ between two equal runs.

    Left out: all metadata but the tags, and the random id of the cell that papermill injects. Blanked: marked spans,
    outputs whose metadata says measured, all outputs of a cell tagged `measured`, progress bars, widgets, and the plain
    text beside marked HTML.
    """
    return [comparable_cell(cell) for cell in notebook["cells"]]


def comparable_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    tags = sorted(cell.get("metadata", {}).get("tags", []))
    kept: dict[str, Any] = {"type": cell["cell_type"], "tags": tags, "source": joined(cell["source"])}
    if "injected-parameters" not in tags:
        kept["id"] = cell.get("id")
    if cell["cell_type"] == "code":
        outputs = [comparable_output(output) for output in cell["outputs"]]
        kept["outputs"] = BLANK if "measured" in tags else merge_spans(outputs)
    return kept


def comparable_output(output: Mapping[str, Any]) -> dict[str, Any]:
    """One output: its type, and its content with the measured parts blanked."""
    kind = output["output_type"]
    if kind == "stream":
        text = joined(output["text"])
        return {"stream": output["name"], "text": BLANK if "\r" in text else blanked(text)}
    if kind == "error":
        return {"error": output["ename"], "value": blanked(output["evalue"])}
    if output.get("metadata", {}).get("measured"):
        return {"data": dict.fromkeys(sorted(output["data"]), BLANK)}
    data = {name: blanked(joined(value)) for name, value in sorted(output["data"].items())}
    widget = any("widget" in name for name in data)
    if widget or any(BLANK in str(value) for name, value in data.items() if name != "text/plain"):
        # plain text has no marks, and a column is as wide as its longest value: the marked HTML beside it says the same
        data["text/plain"] = BLANK
    return {"data": {name: BLANK if "widget" in name else value for name, value in data.items()}}


def merge_spans(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adjacent pieces of one stream as one piece: the cuts of a stream depend on the clock."""
    whole: list[dict[str, Any]] = []
    for output in outputs:
        if whole and "stream" in output and output["stream"] == whole[-1].get("stream"):
            before = whole[-1]["text"]
            text = BLANK if BLANK in (before, output["text"]) else before + output["text"]
            whole[-1] = {"stream": output["stream"], "text": text}
        else:
            whole.append(output)
    return whole


def blanked(value: Any) -> Any:
    return SPAN.sub(BLANK, value) if isinstance(value, str) else value


def joined(text: Any) -> Any:
    """A multi-line text as one string; nbformat allows lists of lines."""
    return "".join(text) if isinstance(text, list) and all(isinstance(line, str) for line in text) else text
