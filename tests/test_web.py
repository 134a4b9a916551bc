"""The game through Flask's client: answers, refusals, retries, and what the world and the log then hold."""

import json
import subprocess
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeLog
from flask.testing import FlaskClient
from peers import needs
from prometheus_client.parser import text_string_to_metric_families

from streaming_lab.game.events import Event
from streaming_lab.game.game import Answer, IdempotencyCache, answer_size
from streaming_lab.game.rules import NAME_RULE, Player, World
from streaming_lab.game.server import GameServer
from streaming_lab.game.web import create_app

AT = datetime(2019, 3, 16, 5, 8, 40, tzinfo=UTC)
PATHS = "one of /, /purchase_a_sword, /sell_a_sword, /join_a_guild"


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def client(log: FakeLog) -> FlaskClient:
    numbers = count(1)
    return create_app(log, clock=lambda: AT, ids=lambda: f"fresh-{next(numbers)}").test_client()


def world(client: FlaskClient) -> World:
    found: World = client.application.extensions["game"].world
    return found


def logged(log: FakeLog) -> list[tuple[str, str]]:
    """(event type, event id) of each event."""
    events = [Event.from_bytes(value) for value in log.values]
    return [(event.event_type, event.event_id) for event in events]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("target", "text", "event_type"),
    [
        ("/?player=ann", "\nThis is the default response!\n", "default"),
        ("/purchase_a_sword?player=ann", "\nSword Purchased!\n", "purchased_sword"),
        ("/join_a_guild?player=ann&guild=owls", "\nGuild Joined!\n", "joined_guild"),
    ],
)
def test_a_command_is_answered_and_logged(
    client: FlaskClient, log: FakeLog, method: str, target: str, text: str, event_type: str
) -> None:
    """GET and POST do the same: the seed's text, one event."""
    response = client.open(target, method=method)
    assert (response.status_code, response.text, logged(log)) == (200, text, [(event_type, "fresh-1")])


def test_an_event_says_who_when_and_from_where(client: FlaskClient, log: FakeLog) -> None:
    """Host and User-Agent are kept (bounded), the other headers never."""
    headers = {"X-Request-Id": "r-1", "User-Agent": "x" * 500, "Authorization": "secret", "Host": "game.example"}
    client.get("/purchase_a_sword", headers=headers)
    assert json.loads(log.values[0]) == {
        "event_id": "r-1",
        "event_type": "purchased_sword",
        "player": "anonymous",
        "at": "2019-03-16T05:08:40.000Z",
        "host": "game.example",
        "user_agent": "x" * 200,
    }


def test_swords_are_sold_until_none_is_left(client: FlaskClient, log: FakeLog) -> None:
    """Buy one, sell it, and the second sale is a 409 that logs nothing."""
    targets = ["/purchase_a_sword", "/sell_a_sword", "/sell_a_sword"]
    assert [client.get(target).status_code for target in targets] == [200, 200, 409]
    assert (world(client), len(log.values)) == (World({"anonymous": Player(0)}), 2)


def test_fields_come_as_a_form_too(client: FlaskClient) -> None:
    """A POST may carry its fields in the body."""
    client.post("/join_a_guild", data={"player": "ann", "guild": "owls"})
    assert world(client) == World({"ann": Player(0, "owls")})


@pytest.mark.parametrize(
    ("target", "extra", "status", "body"),
    [
        ("/horse", {}, 404, ("path", "/horse", PATHS)),
        ("/", {"method": "PUT"}, 405, ("method", "PUT", "one of GET, HEAD, OPTIONS, POST")),
        ("/?player=", {}, 400, ("player", "", NAME_RULE)),
        ("/?player=" + "x" * 500, {}, 400, ("player", "x" * 80 + "…", NAME_RULE)),
        ("/?player=a%0Ab", {}, 400, ("player", "a\nb", NAME_RULE)),
        ("/?player=a&player=b", {}, 400, ("player", "b", "player comes once")),
        ("/?plaier=a", {}, 400, ("plaier", "a", "this command takes: player")),
        ("/purchase_a_sword?guild=owls", {}, 400, ("guild", "owls", "this command takes: player")),
        ("/join_a_guild", {}, 400, ("guild", None, NAME_RULE)),
        ("/sell_a_sword", {}, 409, ("player", "anonymous", "only a player who has a sword can sell one")),
        ("/", {"headers": {"X-Request-Id": ""}}, 400, ("X-Request-Id", "", "1 to 100 printable ASCII characters")),
        ("/", {"headers": {"X-Request-Id": "é"}}, 400, ("X-Request-Id", "é", "1 to 100 printable ASCII characters")),
        (
            "/",
            {"method": "POST", "json": {"player": "ann"}},
            400,
            (
                "Content-Type",
                "application/json",
                "fields come in the query or as a form (application/x-www-form-urlencoded)",
            ),
        ),
        (
            "/",
            {"method": "POST", "data": {"player": "x" * 5000}},
            413,
            ("request", "Request Entity Too Large", "The data value transmitted exceeds the capacity limit."),
        ),
    ],
)
def test_bad_input_is_named_and_not_logged(
    client: FlaskClient, log: FakeLog, target: str, extra: dict[str, Any], status: int, body: tuple[str, str, str]
) -> None:
    """A 4xx says field, value and rule in JSON; no event, no change."""
    response = client.open(target, **extra)
    assert (response.status_code, tuple(response.json.values())) == (status, body)
    assert list(response.json) == ["field", "value", "rule"]
    assert (log.values, world(client)) == ([], World())


def test_405_says_what_is_allowed(client: FlaskClient) -> None:
    """The Allow header that HTTP asks for (RFC 9110, 15.5.6)."""
    assert client.delete("/").headers["Allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(("target", "status"), [("/", 200), ("/purchase_a_sword", 200), ("/sell_a_sword", 409)])
def test_head_changes_nothing(client: FlaskClient, log: FakeLog, target: str, status: int) -> None:
    """HEAD has the status that GET would have, and buys nothing."""
    response = client.head(target, headers={"X-Request-Id": "r-1"})
    assert (response.status_code, response.data, log.values, world(client)) == (status, b"", [], World())
    assert len(client.application.extensions["game"].answers) == 0


def test_a_refusing_log_leaves_the_world_as_it_was(client: FlaskClient, log: FakeLog) -> None:
    """503 "refused": certainly not accepted, and not remembered: the same id works later."""
    log.fate = "refuse"
    refused = client.get("/purchase_a_sword", headers={"X-Request-Id": "r-1"})
    assert (refused.status_code, refused.json["value"], world(client)) == (503, "refused", World())
    log.fate = "accept"
    again = client.get("/purchase_a_sword", headers={"X-Request-Id": "r-1"})
    assert (again.status_code, world(client)) == (200, World({"anonymous": Player(1)}))


@pytest.mark.parametrize(
    ("first", "second", "statuses", "swords"),
    [
        ("/purchase_a_sword", "/purchase_a_sword", (200, 200), 1),
        ("/sell_a_sword", "/sell_a_sword", (409, 409), 0),
        ("/purchase_a_sword", "/sell_a_sword", (200, 422), 1),
        ("/purchase_a_sword", "/purchase_a_sword?player=bob", (200, 422), 1),
        ("/purchase_a_sword?player=bob", "/purchase_a_sword", (200, 422), 0),
    ],
)
def test_an_id_stands_for_one_command(
    client: FlaskClient, first: str, second: str, statuses: tuple[int, int], swords: int
) -> None:
    """The same id again: the same answer; with another player or command: 422."""
    same = {"X-Request-Id": "r-1"}
    assert tuple(client.get(target, headers=same).status_code for target in (first, second)) == statuses
    assert world(client).player("anonymous").swords == swords


def test_a_409_stays_a_409_for_its_id(client: FlaskClient) -> None:
    """What was answered is remembered, though by now the sale would be possible."""
    same = {"X-Request-Id": "r-1"}
    before = client.get("/sell_a_sword", headers=same)
    client.get("/purchase_a_sword")
    after = client.get("/sell_a_sword", headers=same)
    assert (after.status_code, after.json) == (before.status_code, before.json) == (409, before.json)


def test_the_oldest_answers_are_forgotten_first(log: FakeLog) -> None:
    """With room for two, the third forgets the first: memory is bounded, and so is the promise."""
    client = create_app(log, remember=2).test_client()
    for number in (1, 2, 3, 3, 2, 1):
        client.get("/purchase_a_sword", headers={"X-Request-Id": f"r-{number}"})
    assert [event_id for _, event_id in logged(log)] == ["r-1", "r-2", "r-3", "r-1"]


def test_two_in_flight_are_one(client: FlaskClient, log: FakeLog) -> None:
    """The same id twice at once: one event, and both get its answer; the id with another player meanwhile: 422."""
    log.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        twins = [pool.submit(ask, client, "/purchase_a_sword", "r-1") for _ in range(2)]
        assert log.entered.acquire(timeout=10)
        assert ask(client, "/purchase_a_sword?player=bob", "r-1") == 422
        log.gate.set()
        assert [twin.result(10) for twin in twins] == [200, 200]
    assert logged(log) == [("purchased_sword", "r-1")]


def test_a_players_commands_are_handled_one_at_a_time(client: FlaskClient, log: FakeLog) -> None:
    """While one purchase waits for the log, the player's next one waits, and another player's does not."""
    log.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, client, target, None) for target in ("/", "/", "/?player=bob")]
        assert [log.entered.acquire(timeout=10) for _ in range(2)] == [True, True]
        assert not log.entered.acquire(timeout=0.2)
        log.gate.set()
        assert [future.result(10) for future in asked] == [200, 200, 200]
    assert len(client.application.extensions["game"]._locks) == 0


def ask(client: FlaskClient, target: str, request_id: str | None) -> int:
    headers = {"X-Request-Id": request_id} if request_id else {}
    return client.application.test_client().get(target, headers=headers).status_code


def words(client: FlaskClient, *asked: tuple[str, str]) -> list[str]:
    """For each (target, id): "ok", or the word of a 503."""
    responses = [client.get(target, headers={"X-Request-Id": request_id}) for target, request_id in asked]
    return ["ok" if response.status_code == 200 else response.json["value"] for response in responses]


def test_until_the_report_comes_the_player_waits_at_the_door(client: FlaskClient, log: FakeLog) -> None:
    """Unknown: neither moved nor refused; the player's next command is refused at once, another player's is not."""
    log.fate = "unknown"
    assert words(client, ("/purchase_a_sword", "r-1")) == ["unknown"]
    log.fate = "accept"
    assert words(client, ("/purchase_a_sword", "r-1"), ("/", "r-2"), ("/?player=bob", "r-3")) == [
        "unknown",
        "refused",
        "ok",
    ]
    assert (world(client), logged(log)) == (World(), [("default", "r-3")])


@pytest.mark.parametrize(
    ("delivered", "swords", "events"),
    [(True, 1, ["default"]), (False, 1, ["purchased_sword", "default"])],
)
def test_a_late_report_decides(
    client: FlaskClient, log: FakeLog, delivered: bool, swords: int, events: list[str]
) -> None:
    """Delivered: the world moves and a retry is only answered. Not delivered: a retry is a new try. One sword each."""
    log.fate = "unknown"
    words(client, ("/purchase_a_sword", "r-1"))
    log.fate = "accept"
    threading.Thread(target=log.outcomes[0].decide, args=(delivered,)).run()
    assert world(client).player("anonymous").swords == (1 if delivered else 0)
    assert words(client, ("/purchase_a_sword", "r-1"), ("/", "r-2")) == ["ok", "ok"]
    assert (world(client).player("anonymous").swords, [name for name, _ in logged(log)]) == (swords, events)


def test_a_report_that_is_there_already_decides_at_once(client: FlaskClient, log: FakeLog) -> None:
    """The report may come between the time-out and the game's asking for it."""
    log.fate = "unknown"
    append = log.append

    def decided(key: str, value: bytes, event_id: str) -> None:
        try:
            append(key, value, event_id)
        finally:
            log.outcomes[-1].decide(True)

    log.append = decided  # type: ignore[method-assign]
    assert words(client, ("/purchase_a_sword", "r-1"), ("/purchase_a_sword", "r-1")) == ["unknown", "ok"]
    assert world(client) == World({"anonymous": Player(1)})


def test_of_a_long_history_the_newest_ids_are_remembered(log: FakeLog) -> None:
    """By their time: the partitions come one after another, and the last one read is not the newest."""
    history = [Event(f"r-{n}", "purchased_sword", f"p-{n}", AT + timedelta(seconds=n)) for n in (3, 4, 1, 2)]
    client = create_app(log, history=iter(history), remember=2).test_client()
    for number in (4, 3, 2, 1):
        client.get(f"/purchase_a_sword?player=p-{number}", headers={"X-Request-Id": f"r-{number}"})
    assert [Event.from_bytes(value).event_id for value in log.values] == ["r-2", "r-1"]


def test_a_game_with_history_knows_its_world_and_its_ids(log: FakeLog) -> None:
    """History is folded once per id; its ids are answered again, not done again."""
    bought = Event("r-1", "purchased_sword", "ann", AT)
    joined = Event("r-2", "joined_guild", "ann", AT, fields={"guild": "owls"})
    client = create_app(log, history=iter([bought, joined, bought])).test_client()
    assert world(client) == World({"ann": Player(1, "owls")})
    again = ("/purchase_a_sword?player=ann", "r-1"), ("/join_a_guild?player=ann&guild=owls", "r-2")
    assert (words(client, *again), log.values) == (["ok", "ok"], [])


@pytest.mark.parametrize(("fate", "status", "ready"), [("accept", 200, True), ("refuse", 503, False)])
def test_healthz_says_whether_an_event_would_be_accepted(
    client: FlaskClient, log: FakeLog, fate: str, status: int, ready: bool
) -> None:
    """A load balancer's question, and no event."""
    log.fate = fate
    response = client.get("/healthz")
    assert (response.status_code, response.json, log.values) == (status, {"ready": ready}, [])


def test_metrics_count_requests_and_events(client: FlaskClient) -> None:
    """Prometheus reads what the log counts, and the requests by action and status."""
    for target in ("/", "/purchase_a_sword", "/sell_a_sword", "/sell_a_sword"):
        client.get(target)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }
    expected = {
        ("game_events_accepted_total",): 3.0,
        ("game_events_unknown_total",): 0.0,
        ("game_requests_total", "sell_a_sword", "200"): 1.0,
        ("game_requests_total", "sell_a_sword", "409"): 1.0,
        ("game_request_seconds_count", "sell_a_sword"): 2.0,
        ("game_answers_remembered",): 4.0,
    }
    assert {name: samples[name] for name in expected} == expected


def test_two_games_do_not_share_metrics(client: FlaskClient) -> None:
    """Each app has a registry of its own."""
    client.get("/")
    other = create_app(FakeLog()).test_client().get("/metrics").text
    assert "game_events_accepted_total 0.0" in other


LOCAL, FIREFOX = "127.0.0.1:5000", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "user1.comcast.com", "User-Agent": "ApacheBench/2.3"},
        {"Host": "game:5000", "User-Agent": "curl/8.5.0"},
        {"Host": "evil.example"},
        {"Host": LOCAL, "User-Agent": FIREFOX},
        {"Host": LOCAL, "User-Agent": FIREFOX, "Sec-Fetch-Site": "none"},
        {"Host": LOCAL, "User-Agent": FIREFOX, "Sec-Fetch-Site": "same-origin", "Origin": f"http://{LOCAL}"},
        {"Host": "localhost:5000", "User-Agent": FIREFOX, "Sec-Fetch-Site": "none"},
        {"Host": "game.localhost:5000", "User-Agent": FIREFOX, "Sec-Fetch-Site": "none"},
        {"Host": "[::1]:5000", "User-Agent": FIREFOX, "Sec-Fetch-Site": "none"},
        {"Host": "game:5000", "User-Agent": FIREFOX},
        {"Host": "lab.example:5000", "User-Agent": FIREFOX},
    ],
)
def test_programs_and_a_browsers_own_address_line_play(log: FakeLog, headers: dict[str, str]) -> None:
    """ab and curl under any Host, a browser by address, by local names, and by a name that the game was given."""
    client = create_app(log, hosts=("lab.example",)).test_client()
    assert (client.get("/purchase_a_sword", headers=headers).status_code, len(log.values)) == (200, 1)


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Host": LOCAL, "Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site"),
        ({"Host": LOCAL, "Sec-Fetch-Site": "same-site"}, "Sec-Fetch-Site"),
        ({"Host": LOCAL, "Origin": "https://evil.example"}, "Origin"),
        ({"Host": LOCAL, "Origin": "http://127.0.0.1:8888"}, "Origin"),
        ({"Host": LOCAL, "Origin": "null"}, "Origin"),
        ({"Host": "evil.example", "Sec-Fetch-Site": "same-origin"}, "Host"),
        ({"Host": "evil.example:5000", "Origin": "http://evil.example:5000"}, "Host"),
        ({"Host": "evil.example", "User-Agent": FIREFOX}, "Host"),
    ],
)
@pytest.mark.parametrize("path", ["/purchase_a_sword", "/metrics"])
def test_a_page_of_another_site_neither_plays_nor_reads(
    client: FlaskClient, log: FakeLog, headers: dict[str, str], field: str, path: str
) -> None:
    """By Sec-Fetch-Site, by Origin, or by a Host that a foreign name points here: 403, and no event."""
    response = client.get(path, headers=headers)
    assert (response.status_code, response.json["field"], log.values) == (403, field, [])


def test_remembered_answers_are_bounded_in_bytes() -> None:
    """However long the names, the estimate stays within the bound, and the estimate is not below the truth."""
    limit = 2 << 20
    answers = IdempotencyCache(limit_bytes=limit)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20_000):
        name = f"{number:05}" + "\U0001f600" * 35
        answer = Answer(409, {"field": "player", "value": name, "rule": NAME_RULE})
        answers.remember(f"{number:0100}", (name, "sell_a_sword", None), answer)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert answers.bytes <= limit
    assert taken <= 1.1 * limit
    assert 2000 < len(answers) < 5000


def test_what_is_forgotten_is_no_longer_counted() -> None:
    """An answer that replaces another, and answers that go, leave an exact account."""
    answers = IdempotencyCache(limit=2)
    for request_id in ("a", "b", "a", "c", "d"):
        answers.remember(request_id, ("ann", "default", None), Answer(200, ""))
    assert answers.bytes == 2 * answer_size("c", ("ann", "default", None), Answer(200, ""))


@pytest.mark.slow
def test_a_real_browser_plays_for_no_other_page(log: FakeLog, tmp_path: Path) -> None:
    """Chromium on a page with an image and a form that want to play: two refusals; its address line plays."""
    chromium = [needs("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000"]
    with GameServer(create_app(log)) as game:
        page = tmp_path / "page.html"
        page.write_text(
            f'<img src="{game.url}/purchase_a_sword"><form method=post action="{game.url}/purchase_a_sword"></form>'
            "<script>onload = () => document.forms[0].submit()</script>"
        )
        for url in (page.as_uri(), f"{game.url}/purchase_a_sword?player=me"):
            subprocess.run([*chromium, "--dump-dom", url], capture_output=True, timeout=120, check=True)
        asked = [line.split('"')[1:] for line in game.access_log if "favicon" not in line]
    assert [(words.split()[0], status.split()[0]) for words, status in asked] == [
        ("GET", "403"),
        ("POST", "403"),
        ("GET", "200"),
    ]
    assert [Event.from_bytes(value).player for value in log.values] == ["me"]
