"""What is measured is marked where it is shown, and a comparison of two runs sees everything else."""

from typing import Any

import pandas as pd
from IPython.core.formatters import DisplayFormatter

from streaming_lab.analysis.display import Figure, Table, TableColumn, number
from streaming_lab.analysis.measured import BLANK, comparable, measured


def code(*outputs: dict[str, Any], tags: tuple[str, ...] = (), id_: str = "fire") -> dict[str, Any]:
    """An executed code cell with the timing that papermill adds."""
    metadata = {"tags": list(tags), "papermill": {"duration": 0.123, "start_time": "2026-11-25T00:00:00"}}
    return {
        "cell_type": "code",
        "id": id_,
        "metadata": metadata,
        "source": ["a = 1\n", "a"],
        "outputs": list(outputs),
        "execution_count": 7,
    }


def shown(thing: Any) -> dict[str, Any]:
    """What IPython saves for a thing at the end of a cell."""
    data, metadata = DisplayFormatter().format(thing)
    return {"output_type": "execute_result", "data": data, "metadata": metadata}


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def left_of(*cells: dict[str, Any]) -> list[dict[str, Any]]:
    return comparable({"cells": list(cells), "metadata": {"papermill": {"duration": 9.9}}})


def outputs_of(*outputs: dict[str, Any]) -> Any:
    return left_of(code(*outputs))[0]["outputs"]


def test_in_prose() -> None:
    """In an f-string a measured value is a marked span, with or without a format."""
    assert f"{measured(0.9137)} s" == '<span class="measured">0.91</span> s'
    assert f"{measured(0.9137):.1f} s" == '<span class="measured">0.9</span> s'
    assert f"{measured(40127, '127.0.0.1:40127')}" == '<span class="measured">127.0.0.1:40127</span>'
    assert f"{measured(12345)} of {measured('<b>')}" == (
        '<span class="measured">12,345</span> of <span class="measured">&lt;b&gt;</span>'
    )


def test_at_the_end_of_a_cell() -> None:
    """A measured value shows as its text in a terminal and as a span on the page."""
    assert shown(measured(0.5))["data"] == {"text/plain": "0.50", "text/html": '<span class="measured">0.50</span>'}


def test_prose_is_compared_without_its_measured_parts() -> None:
    """Two sentences that differ in the measured number only are equal, and no others."""

    def markdown(text: str) -> Any:
        return outputs_of({"output_type": "display_data", "data": {"text/markdown": text}, "metadata": {}})

    assert markdown(f"2,000 events in {measured(1.5)} s") == markdown(f"2,000 events in {measured(22.25)} s")
    assert markdown(f"2,000 events in {measured(1.5)} s") != markdown(f"1,999 events in {measured(1.5)} s")


def test_measured_columns_are_compared_without_their_values() -> None:
    """A table's other cells still count, and the widths of its plain text do not."""

    def table(events: int, latency: float) -> Any:
        columns = (TableColumn("player"), number("events"), number("p50 (ms)", 2, measured=True))
        return outputs_of(shown(Table("Players", columns, (("ann", events, latency),))))

    assert table(7, 1.25) == table(7, 1234.5)
    assert table(7, 1.25) != table(8, 1.25)


def test_plain_tables_are_compared_whole() -> None:
    """Without measured cells the plain text counts, too."""
    (output,) = outputs_of(shown(Table("T", (TableColumn("a"),), (("x",),))))
    assert output["data"]["text/plain"] == "T\na\nx"


def test_a_measured_chart_is_blanked_as_a_whole() -> None:
    """A figure of times says so in its output's metadata; one of counts is compared."""

    def figure(alt: str, times: bool) -> Any:
        return outputs_of(shown(Figure("F", "", alt, "<svg/>", "<svg/>", "", spec={"mark": alt}, measured=times)))

    assert figure("fast", True) == figure("slow", True)
    assert figure("many", False) != figure("few", False)
    assert set(figure("fast", True)[0]["data"].values()) == {BLANK}


def test_any_output_can_be_measured() -> None:
    """A frame, or a figure of counts, wrapped where it is shown."""
    frame = pd.DataFrame({"ms": [1.25]})
    (output,) = outputs_of(shown(measured(frame)))
    assert output == {"data": {"text/html": BLANK, "text/plain": BLANK}}
    figure = Figure("F", "", "alt", "<svg/>", "<svg/>", "")
    assert set(outputs_of(shown(measured(figure)))[0]["data"].values()) == {BLANK}


def test_a_cell_can_be_measured() -> None:
    """The tag blanks all outputs of a cell; its source still counts."""
    assert left_of(code(stream("9.5 s"), tags=("measured",))) == left_of(code(stream("7 s"), tags=("measured",)))
    assert left_of(code(stream("9.5 s"))) != left_of(code(stream("7 s")))


def test_what_papermill_adds_does_not_count() -> None:
    """Timings and the random id of the injected cell differ in every run; ids of our own cells do not."""
    injected = ("injected-parameters",)
    assert left_of(code(tags=injected, id_="a1")) == left_of(code(tags=injected, id_="b2"))
    assert left_of(code(id_="a1")) != left_of(code(id_="b2"))
    assert left_of(code())[0] == {"type": "code", "id": "fire", "tags": [], "source": "a = 1\na", "outputs": []}


def test_streams_are_joined_and_progress_is_blanked() -> None:
    """Where a stream is cut depends on the clock, and so does a progress bar."""
    assert outputs_of(stream("one "), stream("two")) == outputs_of(stream("one two"))
    assert outputs_of(stream(" 10%\r 20%", "stderr")) == outputs_of(
        stream(" 5%\r 9%\r 20%", "stderr"), stream("\r100%", "stderr")
    )
    assert outputs_of(stream("one"), stream("two", "stderr")) != outputs_of(stream("onetwo"))


def test_widgets_are_blanked() -> None:
    """A widget's model id is drawn anew in each run."""

    def widget(model: str) -> Any:
        name = "application/vnd.jupyter.widget-view+json"
        data = {name: {"model_id": model}, "text/plain": f"HBox({model})"}
        return outputs_of({"output_type": "display_data", "data": data, "metadata": {}})

    assert widget("a1") == widget("b2")


def test_lines_may_be_a_list() -> None:
    """nbformat on disk splits text into lines."""
    html = [f"<p>{measured(1.5)}</p>\n", "<p>2</p>"]
    (output,) = outputs_of({"output_type": "display_data", "data": {"text/html": html}, "metadata": {}})
    assert output["data"]["text/html"] == f"<p>{BLANK}</p>\n<p>2</p>"
