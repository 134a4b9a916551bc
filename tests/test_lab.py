"""JupyterLab opens on the notebooks with this environment's kernel, on this machine only, and one Ctrl-C ends it."""

import json
import os
import re
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
