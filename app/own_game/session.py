"""A hosted game for a chapter: started, played by the crowd or by a load file, stopped, its records read."""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from streaming_lab.cluster import Cluster, run_topics
from streaming_lab.own_game.account import Account, choose_join, settle_account
from streaming_lab.own_game.hosted import FoundGame, HostedGame, game_in_folder, host_command
from streaming_lab.own_game.journal import Story
from streaming_lab.own_game.load_file import LoadLine, run_load, served_as_asked
from streaming_lab.own_game.own_replay import OwnReplay, replay_game
from streaming_lab.own_game.play import play, seeded_asks
from streaming_lab.own_game.records import GameRecords, read_records
from streaming_lab.own_game.routes import Route
from streaming_lab.waiting import wait_until

GAME_DRAIN = 10.0  # seconds that sends under way have at a game's end
ALONE = 3  # requests to each route alone, from which its rows a request are learnt
QUIET = 0.3  # seconds without a further send after which a request has sent all


@contextmanager
def hosted_game(found: FoundGame, kafka: Cluster) -> Iterator[HostedGame]:
    """The game in a process and a folder of its own; however the block ends, neither is left."""
    with game_in_folder(kafka.connection, found.source, uuid.uuid4().hex[:8]) as game:
        try:
            game.launch(GAME_DRAIN)
            game.await_ready()
            yield game
        finally:
            note_topics(kafka, game)
            game.kill()


def note_topics(kafka: Cluster, game: HostedGame) -> None:
    """On somebody else's brokers the game's topics go at the run's end."""
    if kafka.kind == "external":
        for name in game.story().topics.values():
            run_topics.note_topic(kafka, name)


@dataclass(frozen=True)
class GameRun:
    """A run of a hosted game: answers, records, journal, account, the game's prints, the lines of a load file."""

    asked: pd.DataFrame
    records: GameRecords
    story: Story
    account: Account
    printed: tuple[str, ...]
    lines: pd.DataFrame | None = None
    replay: OwnReplay | None = None


def run_game(
    found: FoundGame,
    kafka: Cluster,
    routes: Sequence[Route],
    *,
    load: tuple[Sequence[LoadLine], str] | None = None,
    player: str = "",
    concurrency: int = 4,
    **crowd: Any,
) -> GameRun:
    """Host the game, play it, stop it, and settle its account.

    `crowd` is what `seeded_asks` takes: players, requests, seed, run. `load` runs its lines in place of the crowd.
    """
    lines, learnt, taught = None, None, Story()
    with hosted_game(found, kafka) as game:
        if load is not None:
            lines = run_load(load[0], load[1], game.url, kafka.check)
            asked = served_as_asked(game.story().requests)
        else:
            asks = seeded_asks(routes, player=player, **crowd)
            asked = play(game.url, asks, concurrency=concurrency, check=kafka.check)
        settle_sends(game)
        story = game.story()
        if choose_join(asked, pd.DataFrame({"send_id": []}), story)[0] == "counts":
            learnt, taught = learn_rows(game, routes, player)
        game.begin_stop()
        game.await_end()
        written, printed = game.story(), tuple(game.printed())
        command = host_command(found.source, game.scratch, "--probe", "--replay")
        replay = replay_game(command, game.scratch, kafka.connection, written.topics)
    records = without_sends(read_records(kafka.connection, written.topics), taught)
    story = without_story(written, taught)
    return GameRun(asked, records, story, settle_account(asked, records, story, learnt), printed, lines, replay)


def settle_sends(game: HostedGame) -> int:
    """Wait until no further send was noted for `QUIET` seconds, ten at most; the number of sends."""
    seen, since = len(game.story().sends), time.monotonic()

    def quiet() -> bool:
        nonlocal seen, since
        if (count := len(game.story().sends)) != seen:
            seen, since = count, time.monotonic()
        return time.monotonic() - since >= QUIET

    wait_until(quiet, 10.0, step=0.05)
    return seen


def learn_rows(game: HostedGame, routes: Sequence[Route], player: str) -> tuple[dict[str, int | None], Story]:
    """The records that a request of each route sends, None where that varies; and the story of these requests."""
    before, learnt = game.story(), dict[str, int | None]()
    sent = settle_sends(game)
    for route in routes:
        grown = []
        for number in range(ALONE):
            asks = seeded_asks([route], players=1, requests=1, seed=number, run="alone", player=player)
            play(game.url, asks, concurrency=1)
            start, sent = sent, settle_sends(game)
            grown.append(sent - start)
        learnt[route.name] = grown[0] if len(set(grown)) == 1 else None
    return learnt, without_story(game.story(), before)


def without_sends(records: GameRecords, story: Story) -> GameRecords:
    """The records without those that these sends wrote."""
    ids = [send.send_id for send in story.sends]
    left = records.events[~records.events["send_id"].isin(ids)].reset_index(drop=True)
    return replace(records, events=left, aside=len(records.events) - len(left))


def without_story(story: Story, part: Story) -> Story:
    """A story without the requests and sends of a part of it."""
    sends, requests = {send.send_id for send in part.sends}, {one.request_id for one in part.requests}
    return replace(
        story,
        requests=tuple(one for one in story.requests if one.request_id not in requests),
        sends=tuple(send for send in story.sends if send.send_id not in sends),
    )
