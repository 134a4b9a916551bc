"""The real thing before a fake: one Kafka for the whole session, and one more to kill and to freeze.

A session is one worker of pytest-xdist, or the only one: each has a home, a Kafka and ports of its own.
"""

import json
import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import settings

from streaming_lab.client.connection import Connection
from streaming_lab.cluster import Cluster
from streaming_lab.skipped_imports import schema_formats_skipped

with schema_formats_skipped():
    import jsonschema  # noqa: F401 - for all tests, without the second that its grammar of web addresses takes

if TYPE_CHECKING:
    from book import Report
    from playwright.sync_api import Browser

BROKERS_OF_A_FILE = {"trio", "doors", "compacted"}
BROKERS = {"kafka", "breakable", "engine"} | BROKERS_OF_A_FILE  # fixtures that start a JVM


settings.register_profile("same", derandomize=True)
settings.register_profile("any", derandomize=False)


def pytest_configure(config: pytest.Config) -> None:
    """Restore Ctrl-C and the end of a terminal under nohup or in a script's background: what the tests start would
    ignore them, too.

    Generated values are the same in each run, and other ones in each long run.
    """
    settings.load_profile("any" if config.getoption("--minutes") else "same")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--minutes`: how long `scripts/test.py long` lets each long run take."""
    parser.addoption("--minutes", type=float, default=0.0, help="how long each long run may take")


@pytest.hookimpl(tryfirst=True)  # before pytest itself chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a broker; put those on containers first, then slow ones and files with brokers."""
    for item in items:
        if BROKERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("broker")
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("docker"):
        return 0
    has_brokers = BROKERS_OF_A_FILE & set(getattr(item, "fixturenames", ()))
    return 1 if item.get_closest_marker("slow") or has_brokers else 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute single tests; those of a file with a module-scoped fixture stay on one worker, and so do all that look
    at the small report: nobody waits for it twice.

    (xdist's own `--dist=loadgroup` writes groups into names, which pytest 9.2 no longer permits.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixture(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            text = _text(config.rootpath / file)
            return "small" if "small: Report" in text else file if 'scope="module"' in text else nodeid

    return ByFixture(config, log)


@cache
def _text(file: Path) -> str:
    return file.read_text(encoding="utf8")


@pytest.fixture(scope="session")
def minutes(pytestconfig: pytest.Config) -> float:
    """Minutes that each long run may take; 0 outside the long tier."""
    return float(pytestconfig.getoption("--minutes"))


@pytest.fixture(scope="session")
def kafka(own_home: Path) -> Iterator[Connection]:
    """The connection mapping of a real, embedded Kafka of this session's own."""
    from streaming_lab.cluster import attach

    with attach("embedded") as cluster:
        yield cluster.connection


@pytest.fixture(scope="session")
def breakable(own_home: Path) -> Iterator[Cluster]:
    """A broker that only tests of faults use, to kill and to freeze; each leaves it running."""
    from streaming_lab.cluster import attach

    with attach("embedded", instance="breakable") as cluster:
        yield cluster


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests keep their state apart from the user's, but share the jars and the start-up cache."""
    home = tmp_path_factory.mktemp("lab")
    before = os.environ.get("LAB_HOME")
    os.environ["LAB_HOME"] = str(home)
    yield home
    os.environ.pop("LAB_HOME") if before is None else os.environ.update(LAB_HOME=before)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> "Report":
    """A report of all chapters with little to do: one for all workers, which nobody changes."""
    from book import SMALL, Report, project_report

    base = tmp_path_factory.getbasetemp()
    place = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "small"
    place.mkdir(exist_ok=True)
    with FileLock(place / "lock"):
        if not (place / "done.json").exists():
            options = [word for name, value in SMALL.items() for word in ("-p", name, str(value))]
            ran = project_report(place / "build", *options)
            (place / "done.json").write_text(json.dumps([ran.exit_code, ran.out, ran.err]))
    return Report(*json.loads((place / "done.json").read_text()), place / "build")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """The system's Chromium, for one file of tests: its loop runs in this thread and keeps others out."""
    from peers import needs_chromium
    from playwright.sync_api import sync_playwright

    found = needs_chromium()
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if root else [])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in for `java`."""
    from java import make

    return make(tmp_path_factory.mktemp("java"))


@pytest.fixture(scope="session")
def machines() -> Iterator[Path | None]:
    """The library that gives a process a clock, a disk and power of its own, where one can be made."""
    from streaming_lab.faults.machine import compiled_library

    with compiled_library() as library:
        yield library


@pytest.fixture(scope="session")
def machine_library(machines: Path | None) -> Path:
    """The same, for tests that are nothing without it."""
    return machines or pytest.skip("needs Linux and a C compiler, for a machine of a process's own")


@pytest.fixture(autouse=True)
def overwritten_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwrite each buffer that is given back: code that reads an answer's bytes later finds other bytes."""
    from streaming_lab.client.broker_connection import Buffers

    give_back = Buffers.give_back

    def overwrite_and_give_back(self: Buffers, buffer: bytearray) -> None:
        buffer[:] = b"\xee" * len(buffer)
        give_back(self, buffer)

    monkeypatch.setattr(Buffers, "give_back", overwrite_and_give_back)
