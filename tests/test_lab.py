"""JupyterLab opens on the notebooks with this environment's kernel, on this machine only, and one Ctrl-C ends it."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import book
import psutil
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from peers import needs

from streaming_lab.errors import LabError
from streaming_lab.report.jupyterlab import KERNEL, jupyter_folder, lab_options
from streaming_lab.report.kernels import kernel_command, kernel_environment

COMMAND = (
    "from streaming_lab.cli import run; from streaming_lab.report.jupyterlab import main; raise SystemExit(run(main))"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """JupyterLab in a process of its own, on a machine whose default kernel is broken."""
    broken = tmp_path / "share" / "kernels" / "python3"
    broken.mkdir(parents=True)
    (broken / "kernel.json").write_text('{"argv": ["/no/such"], "display_name": "broken", "language": "python"}')
    env = {**os.environ, "JUPYTER_PATH": str(tmp_path / "share"), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--no-browser", f"--ServerApp.port={free_port()}", "--allow-root"],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(book.SOURCE), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def free_port() -> int:
    """A port that is free now; JupyterLab prints 0 when it gets port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address(process: "subprocess.Popen[str]") -> str:
    """The address that JupyterLab prints, with its token."""
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", line):
            return found[0]
    raise AssertionError("JupyterLab ended without an address")


def get(url: str, path: str) -> Any:
    """The server's JSON answer to its own token."""
    base, token = url.split("/lab?token=")
    request = urllib.request.Request(f"{base}{path}", headers={"Authorization": f"token {token}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


def wait_for(url: str, seconds: float = 60.0) -> None:
    """Wait until the server listens: JupyterLab prints its address before that."""
    place = urllib.parse.urlsplit(url)
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((place.hostname, place.port or 0), timeout=5).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens at {url}"
            time.sleep(0.05)


def committed(tmp_path: Path) -> tuple[Any, Path]:
    """JupyterLab's files on a copy of a chapter that git has, and the copy."""
    from streaming_lab.report.chapter_contents import ChapterContents

    (source,) = (book.PROJECT / "notebooks").glob("01-*.ipynb")
    chapter = Path(shutil.copy(source, tmp_path))
    for arguments in (["init", "-q"], ["add", chapter.name]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return ChapterContents(root_dir=str(tmp_path)), chapter


def as_jupyterlab_saves(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook after it was opened, unfolded and run: the kernel's metadata, outputs, counts, view."""
    notebook["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    notebook["metadata"]["language_info"] |= {"version": "3.11.7", "file_extension": ".py"}
    notebook["metadata"]["widgets"] = {"state": {}}
    for cell in notebook["cells"]:
        cell["metadata"] |= {"jupyter": {"source_hidden": False}, "scrolled": True}
        if cell["cell_type"] == "code":
            output = {"output_type": "stream", "name": "stdout", "text": "shown"}
            cell |= {"execution_count": 7, "outputs": [output]}
            cell["metadata"]["execution"] = {"iopub.status.busy": "2026"}
    return notebook


def save(contents: Any, chapter: Path, notebook: dict[str, Any]) -> None:
    asyncio.run(contents.save({"type": "notebook", "format": "json", "content": notebook}, chapter.name))


def test_opening_and_running_a_committed_chapter_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What JupyterLab saves by itself leaves the file as it was, byte for byte; what a student types is saved."""
    needs("git")
    monkeypatch.setattr("streaming_lab.report.chapter_contents.PROJECT", tmp_path)
    contents, chapter = committed(tmp_path)
    before = chapter.read_bytes()
    save(contents, chapter, as_jupyterlab_saves(json.loads(before)))
    assert chapter.read_bytes() == before
    edited = json.loads(before)
    edited["cells"][1]["source"] += ["\n", "print('mine')"]
    save(contents, chapter, as_jupyterlab_saves(json.loads(json.dumps(edited))))
    assert json.loads(chapter.read_bytes()) == edited


def test_a_notebook_of_ones_own_keeps_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git does not have it, or it lies outside the project: JupyterLab saves it as ever."""
    needs("git")
    monkeypatch.setattr("streaming_lab.report.chapter_contents.PROJECT", tmp_path)
    contents, chapter = committed(tmp_path)
    own = as_jupyterlab_saves(json.loads(chapter.read_bytes()))
    save(contents, tmp_path / "mine.ipynb", own)
    assert json.loads((tmp_path / "mine.ipynb").read_bytes())["cells"][1]["execution_count"] == 7
    monkeypatch.setattr("streaming_lab.report.chapter_contents.PROJECT", tmp_path / "elsewhere")
    save(contents, chapter, own)
    assert json.loads(chapter.read_bytes())["cells"][1]["execution_count"] == 7


def test_a_given_option_takes_the_place_of_the_labs() -> None:
    """Under its long name or its short one: JupyterLab accepts each only once."""
    aliases = {"ip": "ServerApp.ip", "notebook-dir": "ServerApp.root_dir"}
    names = [option.partition("=")[0] for option in lab_options(Path("/n"), [], aliases)]
    given = ["--ServerApp.root_dir=/x", "--ip", "127.0.0.2", "--no-browser", "/LabApp.news_url"]
    left = [option.partition("=")[0] for option in lab_options(Path("/n"), given, aliases)]
    assert [name for name in names if name not in left] == ["--ServerApp.ip", "--ServerApp.root_dir"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The lab home is a file: the problem and the setting that cures it."""
    (tmp_path / "home").touch()
    with pytest.raises(LabError, match=r"home/jupyter can't be written: .*\n.*LAB_HOME=/path/to/folder"):
        jupyter_folder(tmp_path / "home")


@pytest.mark.slow
def test_a_file_beside_a_chapter_hides_no_library(tmp_path: Path) -> None:
    """kafka.py, select.py and requests.py in the chapter's folder: both kernels import the libraries, and helper.py."""
    for name in ("kafka", "select", "requests", "signal"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this file hides a library')")
    (tmp_path / "helper.py").write_text("answer = 42")
    program = "import kafka, select, requests, signal, helper; print(kafka.KafkaProducer.__name__, helper.answer)"
    report_kernel = KernelSpec(argv=kernel_command(), env=kernel_environment())
    for spec in (report_kernel, KernelSpec(**KERNEL)):
        manager = KernelManager(kernel_name="python3")
        manager._kernel_spec = spec
        manager.start_kernel(cwd=str(tmp_path), env={**os.environ, **spec.env})
        client = manager.blocking_client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=60)
            messages: list[dict[str, Any]] = []
            client.execute_interactive(program, timeout=60, output_hook=messages.append)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        assert [one["content"]["text"] for one in messages if one["msg_type"] == "stream"] == ["KafkaProducer 42\n"]


@pytest.mark.slow
def test_the_lab_opens_on_the_chapters_with_the_right_kernel_and_ends(lab: "subprocess.Popen[str]") -> None:
    """The notebooks are its root, its python3 is this Python, strangers are refused, Ctrl-C is clean."""
    url = address(lab)
    wait_for(url)
    specs = get(url, "/api/kernelspecs")
    assert specs["default"] == "python3"
    assert specs["kernelspecs"]["python3"]["spec"]["argv"][0] == sys.executable
    names = {entry["name"] for entry in get(url, "/api/contents/")["content"]}
    assert {path.name for path in (book.PROJECT / "notebooks").glob("*.ipynb")} <= names
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        get(url.split("?")[0] + "?token=guess", "/api/contents/")
    refused.value.close()
    listening = [one.laddr.ip for one in psutil.Process(lab.pid).net_connections("inet") if one.status == "LISTEN"]
    assert set(listening) == {"127.0.0.1"}
    family = psutil.Process(lab.pid).children(recursive=True)
    lab.send_signal(signal.SIGINT)
    _, complaints = lab.communicate(timeout=60)
    assert (lab.returncode, "Traceback" in complaints) == (0, False)
    assert psutil.wait_procs(family, timeout=5)[1] == []
