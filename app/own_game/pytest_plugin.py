"""The pytest plug-in: `kafka`, a real broker for a test session, and `game(app)`, a game hosted on it.

def test_a_sword_is_an_event(game):
    with game("game_api.py") as played:
        assert played.get("/purchase_a_sword").status_code == 200
    assert played.events["event_type"].tolist() == ["purchase_sword"]
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    import pandas as pd
    import requests
    from flask import Flask

    from streaming_lab.cluster import Cluster
    from streaming_lab.own_game.journal import Send, Story

# Everything of the lab is imported where it is used: pytest loads this module in every session of the environment.

TEST_DRAIN = 10.0  # seconds that sends under way have at the end of a `with game(...)`


class PlayedGame:
    """A hosted game in a test: requests to it, and after the `with` its rows, its sends and its account."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.story: Story
        self.events: pd.DataFrame  # a row for each record in the game's topics; after the `with`
        self.printed: tuple[str, ...] = ()

    def request(self, method: str, path: str, **more: Any) -> "requests.Response":
        """One request to the game, as `requests.request` takes it; it carries an X-Request-Id."""
        import requests

        headers = {"X-Request-Id": str(uuid.uuid4()), **more.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, headers=headers, timeout=more.pop("timeout", 30), **more)

    def get(self, path: str, **more: Any) -> "requests.Response":
        """GET."""
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> "requests.Response":
        """POST."""
        return self.request("POST", path, **more)

    @property
    def lost(self) -> "list[Send]":
        """The sends whose record is not in the topic."""
        there = set(self.events["send_id"])
        return [send for send in self.story.sends if send.send_id not in there]


PlayGame: TypeAlias = "Callable[[str | Path | Flask], AbstractContextManager[PlayedGame]]"


@pytest.fixture(scope="session")
def kafka() -> "Iterator[Cluster]":
    """A real Kafka for the session: `kafka.connection` is what kafka-python's clients take."""
    from streaming_lab.cluster import attach

    with attach("embedded") as cluster:
        yield cluster


@pytest.fixture
def game(kafka: Any, tmp_path: Path) -> "PlayGame":
    """`game(app)` hosts a game: a file or `package.module:app` in a process of its own, a Flask app in this one.

    A Flask app that made its producer while it was imported must be given as a file or a module.
    """
    connection = getattr(kafka, "connection", kafka)

    def host(app: Any) -> AbstractContextManager[PlayedGame]:
        folder = tmp_path / f"game-{uuid.uuid4().hex[:8]}"
        return _apart(app, connection, folder) if isinstance(app, (str, Path)) else _here(app, connection, folder)

    return host


@contextmanager
def _apart(text: Any, connection: Any, folder: Path) -> Iterator[PlayedGame]:
    from streaming_lab.own_game.hosted import HostedGame, probe_game

    hosted = HostedGame(connection, probe_game(str(text)).source, folder, f"{folder.name}-")
    try:
        hosted.launch(TEST_DRAIN)
        hosted.await_ready()
        played = PlayedGame(hosted.url)
        yield played
        hosted.begin_stop()
        hosted.await_end()
        _finish(played, hosted.story(), connection)
        played.printed = tuple(hosted.printed())
    finally:
        hosted.kill()
        shutil.rmtree(hosted.scratch, ignore_errors=True)


@contextmanager
def _here(app: Any, connection: Any, folder: Path) -> Iterator[PlayedGame]:
    from streaming_lab.game.server import GameServer
    from streaming_lab.own_game.host import CountedApp
    from streaming_lab.own_game.journal import JOURNAL_FILE, Journal, read_journal
    from streaming_lab.own_game.masks import masked_text
    from streaming_lab.own_game.producer import ProducerWatch, prefixed_names
    from streaming_lab.waiting import wait_until

    folder.mkdir(parents=True)
    journal = Journal(folder / JOURNAL_FILE)
    watch = ProducerWatch(connection, journal, Path.cwd(), prefixed_names(f"{folder.name}-"))
    watch.install()
    try:
        with GameServer(CountedApp(app() if not hasattr(app, "wsgi_app") else app, journal)) as server:
            played = PlayedGame(server.url)
            yield played
            wait_until(lambda: not watch.pending, TEST_DRAIN)
            played.printed = tuple(map(masked_text, server.printed))
        _finish(played, read_journal(folder / JOURNAL_FILE), connection)
    finally:
        watch.close()
        watch.uninstall()
        journal.close()


def _finish(played: PlayedGame, story: Any, connection: Any) -> None:
    from streaming_lab.own_game.records import read_records

    played.story = story
    played.events = read_records(connection, story.topics).events
