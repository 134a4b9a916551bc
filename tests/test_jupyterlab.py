"""JupyterLab in a real browser, as scripts/lab.py starts it: Run All in each chapter, and nothing left at the end."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from book import PROJECT
from waiting import eventually

from streaming_lab.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Chapter -> a cell that is run twice, and a cell of one's own that is filled in at the end, with what it prints.
CHAPTERS = {
    "01-start-the-cluster": ("create-topic", "print(len(topic.partitions))", "1\n"),
    "02-play-the-game": ("read-back", "print(lines[0])", "default\n"),
    "03-read-the-events": ("ledger", "print(closed.lost)", "0\n"),
    "04-lose-nothing": ("lost-after-a-200", "print(len(everything))", "6\n"),
    "05-outgrow-one-broker": ("order-holds", "print(len(members))", "3\n"),
    "06-outgrow-one-machine": ("slices-equal", "print(len(engines[0].shown))", "15\n"),
}
POLL = 250  # milliseconds between two looks; by default a look at every frame takes half a core
READY = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
BOOK = "jupyterapp.shell.currentWidget.content"
CELLS = f"{BOOK}.widgets.filter(one => one.model.type === 'code')"
STATES = (
    f"{CELLS}.map(one => ({{id: one.model.id, count: one.model.executionCount, outputs: one.model.outputs.toJSON()}}))"
)
# What a person would see at a cell whose index is given: drawings with their size, text in columns, and words.
SEEN = """async index => {
    const book = jupyterapp.shell.currentWidget.content
    await book.scrollToItem(index, 'start')
    await new Promise(done => setTimeout(done, 100))
    const outputs = book.widgets[index].outputArea.node
    const boxes = [...outputs.querySelectorAll('.vega-embed :is(canvas, svg)')].map(one => one.getBoundingClientRect())
    const texts = [...outputs.querySelectorAll('td:not(.n, .dataframe *), th:not(.n, .dataframe *)')]
    return {
        drawn: boxes.some(box => box.width > 200 && box.height > 60),
        words: outputs.innerText,
        aligned: texts.map(one => getComputedStyle(one).textAlign).filter(side => side !== 'left'),
        wide: [...outputs.querySelectorAll('table')].some(one => one.scrollWidth > outputs.clientWidth),
    }
}"""


@dataclass
class Lab:
    """JupyterLab in a process of its own: its address with the token, and every place where it may leave something."""

    process: "subprocess.Popen[bytes]"
    url: str
    folder: Path

    def family(self) -> list[psutil.Process]:
        """The living processes that have this lab's home: server, kernels, supervisor, brokers, games."""
        home, found = str(self.folder / "home"), []
        for one in psutil.process_iter():
            try:
                if one.environ().get("LAB_HOME") == home and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
            except psutil.Error:
                continue
        return found

    def left(self) -> list[str]:
        """The files that were made for a while, and are there; Jupyter's cookie secret is for all times."""
        files = [path for name in ("runtime", "tmp") for path in (self.folder / name).rglob("*")]
        return [str(path.relative_to(self.folder)) for path in files if path.name != "jupyter_cookie_secret"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """The lab on a copy of the chapters, since a committed one never keeps what its cells show."""
    shutil.copytree(PROJECT / "notebooks", tmp_path / "notebooks")
    third = tmp_path / "notebooks/03-read-the-events.ipynb"
    third.write_text(third.read_text().replace("requests: int = 2000 ", "requests: int = 300 "))
    (tmp_path / "tmp").mkdir()
    places = {"LAB_HOME": "home", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "TMPDIR": "tmp"}
    places |= {"JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    own = {**os.environ, **{name: str(tmp_path / place) for name, place in places.items()}}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--no-browser", "--allow-root", "--notebook-dir", str(tmp_path / "notebooks"), f"--ServerApp.port={port}"]
    command = [sys.executable, "scripts/lab.py", *words, "--LabApp.expose_app_in_browser=True"]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=PROJECT, env=own, stdout=said, stderr=said)
    with process:
        url = rf"http://127\.0\.0\.1:{port}/lab\?token=\w+"
        found = wait_until(lambda: re.search(url, (tmp_path / "said").read_text()), 60)
        made = Lab(process, found[0] if found else "", tmp_path)
        assert found, (tmp_path / "said").read_text()
        assert eventually(lambda: reachable(port), 60)
        yield made
        process.kill()
    for one in made.family():
        one.kill()


def reachable(port: int) -> bool:
    """Does somebody listen there?"""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def open_chapter(page: "Page", lab: Lab, name: str) -> None:
    """Open a chapter as a click on its file does, and wait for its kernel."""
    page.goto(lab.url.replace("/lab?", f"/lab/tree/{name}.ipynb?") + "&reset")
    page.wait_for_function(READY, timeout=240_000, polling=POLL)


def wait_for_all(page: "Page", seconds: float) -> dict[str, Any]:
    """The code cells by id once each has run, or one of them raised."""
    ended = f"{CELLS}.every(one => one.model.executionCount && one.model.executionState === 'idle')"
    raised = f"{CELLS}.some(one => one.model.outputs.toJSON().some(out => out.output_type === 'error'))"
    page.wait_for_function(f"{ended} || {raised}", timeout=seconds * 1000, polling=POLL)
    return {one["id"]: one for one in page.evaluate(STATES)}


def run_all(page: "Page", seconds: float) -> dict[str, Any]:
    """Run > Run All Cells from the menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    return wait_for_all(page, seconds)


def is_trouble(output: dict[str, Any]) -> bool:
    """An error, or words on stderr other than the crowd's bar, which whoever waits for five seconds sees."""
    bar = r"(\r?\s*\d+%\|[^\n\r]*(it/s|s/it)\]\s*)+"
    words = output.get("name") == "stderr" and not re.fullmatch(bar, output.get("text", ""))
    return output["output_type"] == "error" or words


def look_at(page: "Page", cells: dict[str, Any]) -> None:
    """Every chart is drawn, every table fits with its words to the left, and no output shows markup or an error."""
    for index, cell_id in enumerate(page.evaluate(f"{BOOK}.widgets.map(one => one.model.id)")):
        outputs = cells.get(cell_id, {}).get("outputs", [])
        kinds = {kind for one in outputs for kind in one.get("data", {})}
        assert [one for one in outputs if is_trouble(one)] == [], cell_id
        if not outputs:
            continue
        if charted := any("vegalite" in kind for kind in kinds):
            assert eventually(lambda at=index: page.evaluate(SEEN, at)["drawn"], 20), f"{cell_id} has no drawing"
        seen = page.evaluate(SEEN, index)
        assert (seen["drawn"], seen["aligned"], seen["wide"]) == (charted, [], False), cell_id
        assert not re.search(r"</?(div|td|span|code|svg)\b", seen["words"]), cell_id


def run_again(page: "Page", cell_id: str) -> int:
    """Run one cell by Ctrl+Enter; its new count."""
    index = page.evaluate(f"{BOOK}.widgets.findIndex(one => one.model.id === '{cell_id}')")
    page.evaluate(f"{BOOK}.mode = 'command'; {BOOK}.activeCellIndex = {index}; {BOOK}.scrollToItem({index})")
    page.locator(".jp-Notebook .jp-Cell.jp-mod-active .jp-InputPrompt").click()
    page.keyboard.press("Control+Enter")
    return int(wait_for_all(page, 120)[cell_id]["count"])


def fill_in(page: "Page", source: str, given: Container[str]) -> str:
    """A cell of one's own below the last one, typed and run; what it printed."""
    page.evaluate(f"{BOOK}.mode = 'command'; {BOOK}.activeCellIndex = {BOOK}.widgets.length - 1")
    page.locator(".jp-Notebook .jp-Cell.jp-mod-active .jp-InputPrompt").click()
    for key in ("b", "Enter"):
        page.keyboard.press(key)
    page.keyboard.type(source)
    page.keyboard.press("Control+Enter")
    (own,) = (one for cell_id, one in wait_for_all(page, 60).items() if cell_id not in given and one["outputs"])
    return "".join(one["text"] for one in own["outputs"])


@pytest.mark.parametrize(
    ("names", "seconds"),
    [
        pytest.param(["01-start-the-cluster", "02-play-the-game", "03-read-the-events"], 120, marks=pytest.mark.slow),
        pytest.param(["04-lose-nothing"], 600, marks=pytest.mark.long),
        pytest.param(["05-outgrow-one-broker", "06-outgrow-one-machine"], 600, marks=pytest.mark.long),
    ],
    ids=["01-03", "04", "05-06"],
)
def test_every_chapter_runs_in_jupyterlab_and_nothing_is_left(
    lab: Lab, browser: "Browser", names: list[str], seconds: float
) -> None:
    """No error, charts drawn, one cell run twice, one of one's own; after Ctrl-C no process, port or file is left."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    page, complaints = context.new_page(), list[str]()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for name in names:
        twice, source, printed = CHAPTERS[name]
        open_chapter(page, lab, name)
        cells = run_all(page, seconds)
        assert list(range(1, len(cells) + 1)) == [one["count"] for one in cells.values()]
        look_at(page, cells)
        assert run_again(page, twice) == len(cells) + 1
        assert fill_in(page, source, cells) == printed
    family = lab.family()
    assert len(family) > 2
    ports = [one.laddr.port for process in family for one in process.net_connections("inet") if one.status == "LISTEN"]
    context.close()
    lab.process.send_signal(signal.SIGINT)
    assert lab.process.wait(60) == 0
    assert eventually(lambda: not lab.family(), 60), lab.family()
    assert [port for port in ports if reachable(port)] == []
    assert (lab.left(), complaints) == ([], [])
