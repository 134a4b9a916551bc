"""The real thing before a fake: one Kafka for the whole session."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.stream.connection import Connection


def pytest_configure() -> None:
    """Under nohup, or in a script's background, Ctrl-C is ignored, and so it would be by all that the tests start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """The connection mapping of a real, embedded Kafka of this session's own."""
    from app.cluster import attach

    with attach("embedded") as cluster:
        yield cluster.connection


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests keep their state apart from the user's, but share the jars and the start-up cache."""
    home = tmp_path_factory.mktemp("lab")
    before = os.environ.get("LAB_HOME")
    os.environ["LAB_HOME"] = str(home)
    yield home
    os.environ.pop("LAB_HOME") if before is None else os.environ.update(LAB_HOME=before)


@pytest.fixture(autouse=True)
def used_up_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at an answer's bytes after giving their buffer back finds others there."""
    from app.stream.wire import Buffers

    give_back = Buffers.give_back

    def scribbled(self: Buffers, buffer: bytearray) -> None:
        buffer[:] = b"\xee" * len(buffer)
        give_back(self, buffer)

    monkeypatch.setattr(Buffers, "give_back", scribbled)
