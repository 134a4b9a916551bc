"""The terminal is never silent while something runs."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import eventually

from streaming_lab.report import record
from streaming_lab.report.execute import Execution
from streaming_lab.report.progress import BEAT_LIVE, BEAT_PIPED, Progress


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_gets_a_line_per_cell_and_no_control_characters() -> None:
    """Line-wise: a file of progress can be read with any pager."""
    clock, stream = Clock(), io.StringIO()
    progress = Progress(stream, live=False, beat=60, clock=clock)
    with progress:
        progress.say("3 Read the events")
        progress.begin("  3.1    imports")
        clock.now = 0.5
        progress.end()
        progress.begin("  3.2    fire-requests")
        clock.now = 5.5
        progress.pulse()
        clock.now = 7.0
        progress.end("failed")
    assert stream.getvalue().splitlines() == [
        "3 Read the events",
        "  3.1    imports                                0.5 s",
        "  3.2    fire-requests                          5.0 s  running",
        "  3.2    fire-requests                          6.5 s  failed",
    ]


def test_a_terminal_sees_the_running_line_count() -> None:
    """On a terminal the running cell's line is rewritten in place and replaced by its result."""
    clock, stream = Clock(), io.StringIO()
    with Progress(stream, live=True, beat=60, clock=clock) as progress:
        progress.begin("cell")
        clock.now = 1.0
        progress.end()
    assert stream.getvalue().split("\r\x1b[K") == ["", f"{'cell':<44}    0.0 s  running", f"{'cell':<44}    1.0 s\n"]


def test_a_narrow_terminal_keeps_no_garbage() -> None:
    """The running line never wraps: only one row can be rewritten. What the cell does is cut before its name is."""
    stream = io.StringIO()
    with Progress(stream, live=True, beat=60, clock=Clock(), columns=lambda: 40) as progress:
        progress.begin("  3.2    fire-requests", lambda: "no fault: the crowds\nplay")
        progress.pulse()
    shown = "  3.2    fire-requests  0.0 s  no fault"
    assert stream.getvalue().split("\r\x1b[K") == ["", shown, shown, ""]


def test_no_control_character_of_a_record_reaches_the_terminal() -> None:
    """A chapter's title or an error with an escape sequence or a direction mark is shown escaped."""
    stream = io.StringIO()
    with Progress(stream, live=False, beat=60, clock=Clock()) as progress:
        progress.say("a\x1b[2Jb\u202ec\rd")
        progress.begin("\x07cell")
        progress.end()
    assert stream.getvalue() == "a\\x1b[2Jb\\u202ec\\rd\n" + f"{chr(92)}x07cell".ljust(44) + "    0.0 s\n"


def test_a_long_step_tells_how_far_it_is() -> None:
    """The detail stands where `running` does, as long as there is one."""
    stream, details = io.StringIO(), iter(["12 of 44 jars", ""])
    with Progress(stream, live=False, beat=60, clock=Clock()) as progress:
        progress.begin("download", lambda: next(details))
        progress.pulse()
        progress.pulse()
    assert [line[55:] for line in stream.getvalue().splitlines()] == ["12 of 44 jars", "running"]


def test_a_sign_of_life_comes_by_itself() -> None:
    """A cell that takes long is shown as running, well within ten seconds."""
    stream = io.StringIO()
    with Progress(stream, live=False, beat=0.01) as progress:
        progress.begin("a long cell")
        assert eventually(lambda: stream.getvalue().count("running\n") > 2)
    assert max(BEAT_LIVE, BEAT_PIPED) < 10


def test_a_reader_that_left_does_not_stop_the_run() -> None:
    """`report.py | head` ends the lines, not the report."""
    stream = io.StringIO()
    with Progress(stream, live=False, beat=60) as progress:
        stream.close()
        progress.say("nobody reads this")


def test_a_cell_tells_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a notebook says of its running cell stands on the cell's line, escaped, until the cell ends."""
    monkeypatch.setenv("LAB_BUILD", str(tmp_path))
    stream, kernels, none = io.StringIO(), SimpleNamespace(work=tmp_path), Any
    with Progress(stream, live=False, beat=60, clock=Clock()) as progress:
        execution = Execution(none, kernels, progress, none)  # type: ignore[arg-type]
        execution.numbers, execution.ids = ["4.5", "4.6"], ["no-fault", "reading"]
        execution.start(0)
        record.show_progress("the crowds\x1b play")
        progress.pulse()
        execution.finish(0)
        execution.start(1)
        progress.pulse()
    assert [line[55:] for line in stream.getvalue().splitlines()] == ["the crowds\\x1b play", "", "running"]
    assert list(tmp_path.iterdir()) == []
