"""What an `append` that returned means, in each way, while all is well."""

import json
import multiprocessing
import subprocess
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest
from peers import needs
from waiting import within

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses, connection_for
from streaming_lab.client.errors import UnknownTopic
from streaming_lab.delivery.confirmed import find_event_ids
from streaming_lab.delivery.event_log import LARGEST_EVENT, ConnectOnce, EventLog
from streaming_lab.delivery.outcome import Counts, DeliveryFuture, Refused
from streaming_lab.delivery.ways import DELIVERING, WAYS, arguments, log_class, open_log, safe_ways
from streaming_lab.errors import LabError


@pytest.fixture
def topic(kafka: Connection) -> str:
    """A topic with three partitions for this test alone."""
    name = f"log-{uuid.uuid4().hex[:8]}"
    topics.create_topic(kafka, name, partitions=3)
    return name


def event(number: int) -> tuple[str, bytes, str]:
    """Key, value and id of one event."""
    return f"player-{number % 5}", json.dumps({"event_id": f"e{number}", "n": number}).encode(), f"e{number}"


def rows(kafka: Connection, topic: str) -> list[str]:
    """What kcat, an independent client, finds in the topic: partition, key and value of each record."""
    command = [needs("kcat"), "-C", "-q", "-e", "-b", addresses(kafka), "-t", topic, "-f", "%p %k %s\n"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.splitlines()


@pytest.mark.essential
@pytest.mark.parametrize("way", DELIVERING)
def test_every_accepted_event_is_in_the_topic_once(kafka: Connection, topic: str, way: str) -> None:
    """Accepted = acknowledged = rows, each player's events in order on one partition, and nothing is left at close."""
    with open_log(way, kafka, topic) as log:
        for number in range(100):
            log.append(*event(number))
        assert log.close() == 0
    assert log.counts == Counts(accepted=100, acknowledged=100, relayed=100 if way == "outbox" else 0)
    read = [line.split(" ", 2) for line in rows(kafka, topic)]
    for player in {key for _, key, _ in read}:
        mine = [(partition, json.loads(value)["n"]) for partition, key, value in read if key == player]
        assert [n for _, n in mine] == [n for n in range(100) if event(n)[0] == player]
        assert len({partition for partition, _ in mine}) == 1
    assert len(read) == 100


def test_a_player_has_the_same_partition_in_every_way(kafka: Connection, topic: str) -> None:
    """Two client libraries, one partitioner: changing the way keeps a player's order."""
    for way in DELIVERING:
        with open_log(way, kafka, topic) as log:
            for number in range(5):
                log.append(*event(number))
    read = {tuple(line.split(" ", 2)[:2]) for line in rows(kafka, topic)}
    assert len(read) == 5


def test_without_a_log_nothing_is_kept() -> None:
    """The way to compare with takes every event and connects to nothing."""
    with open_log("none", connection_for("127.0.0.1:1"), "events") as log:
        log.append(*event(1))
    assert log.counts == Counts(accepted=1)


@pytest.mark.essential
def test_a_confirmed_event_is_there_when_append_returns(kafka: Connection, topic: str) -> None:
    """No close, no flush: the broker has it already."""
    with open_log("confirmed", kafka, topic) as log:
        for number in range(20):
            log.append(*event(number))
            assert sum(topics.end_offsets(kafka, topic).values()) == number + 1


@pytest.mark.parametrize("way", WAYS)
def test_a_way_is_one_class(way: str, tmp_path: Path) -> None:
    """Its row leads to a class of its own, with a guarantee, and with options that its constructor takes."""
    found = log_class(way)
    assert found.guarantee.endswith(".")
    assert [other for other in WAYS if log_class(other) is found] == [way]
    defaults = {option.name: option.default for option in found.options}
    log = open_log(way, {}, "any", **defaults | found.settings_in(tmp_path))
    assert log.timeout == defaults["timeout"] == 2.0


def test_what_the_ways_say_of_themselves() -> None:
    """Whose 200 is for good, who waits for the broker, what outlives a process, and who names what it takes along."""
    assert safe_ways() == ("confirmed", "outbox")
    assert [way for way in WAYS if log_class(way).awaits_broker] == ["confirmed"]
    assert [way for way in WAYS if log_class(way).survives_restart] == ["outbox"]
    assert [way for way in WAYS if log_class(way).names_unsent] == ["buffered"]


def test_a_way_is_given_the_options_that_it_has() -> None:
    """Of many settings each way takes its own, as its command line has them."""
    settings = {"timeout": 1.0, "patience": 3.0, "path": "there", "memory": 7}
    assert arguments("confirmed", settings) == ("--timeout", "1.0")
    assert arguments("fire-and-forget", settings) == ("--timeout", "1.0", "--patience", "3.0")
    assert arguments("outbox", settings) == ("--timeout", "1.0", "--outbox", "there")


def test_an_unknown_way_is_named() -> None:
    """The error lists the ways that there are."""
    with pytest.raises(LabError, match="no way to deliver called 'hope'") as caught:
        open_log("hope", connection_for("127.0.0.1:1"), "events")
    assert caught.value.cure == f"Choose one of: {', '.join(WAYS)}."


@pytest.mark.parametrize("way", ["fire-and-forget", "buffered", "confirmed"])
def test_connecting_to_a_missing_topic_names_the_nearest(kafka: Connection, topic: str, way: str) -> None:
    """A typo is known before the first event."""
    with open_log(way, kafka, topic + "x") as log, pytest.raises(UnknownTopic, match=f"did you mean '{topic}'"):
        log.connect()


@pytest.mark.slow
def test_the_first_event_is_refused_when_there_is_no_broker() -> None:
    """One request waits for the connection; those right behind it are refused at once, with the same reason."""
    with open_log("confirmed", connection_for("127.0.0.1:1"), "events") as log:
        for number in range(50):
            with pytest.raises(Refused, match="no broker answers"):
                log.append(*event(number))
        assert log.counts == Counts(refused=50)
        assert not log.ready()


@pytest.mark.parametrize("way", WAYS)
def test_after_close_an_event_is_refused(kafka: Connection, topic: str, way: str) -> None:
    """A closed log says so instead of losing what comes."""
    log = open_log(way, kafka, topic)
    log.append(*event(1))
    log.close()
    assert log.close() == 0
    with pytest.raises(Refused, match="closed"):
        log.append(*event(2))
    assert not log.ready()


@pytest.mark.parametrize("way", WAYS)
def test_an_event_that_no_broker_would_take_is_refused_at_the_door(kafka: Connection, topic: str, way: str) -> None:
    """Its size is judged before it is queued, while the one who asked still listens."""
    with open_log(way, kafka, topic) as log, pytest.raises(Refused, match=f"{LARGEST_EVENT + 1} bytes"):
        log.append("p", b"x" * (LARGEST_EVENT + 1), "e")


@pytest.mark.parametrize("way", DELIVERING)
def test_a_full_queue_is_a_refusal(kafka: Connection, topic: str, way: str, tmp_path) -> None:
    """What does not fit is refused, counted, and never in the topic."""
    settings = {"quota": 0, "path": tmp_path / "o"} if way == "outbox" else {"memory": 8 << 10}
    with open_log(way, kafka, topic, **settings) as log, pytest.raises(Refused):
        log.append("p", b"x" * (100 << 10), "too-large")
    assert log.counts == Counts(refused=1)
    assert rows(kafka, topic) == []


def _append_in_child(log: EventLog, answer) -> None:
    try:
        log.append(*event(2))
    except LabError as error:
        answer.put((type(error) is LabError, error.problem))
    else:
        answer.put("no error")


@pytest.mark.parametrize("way", DELIVERING)
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_log_that_was_connected_before_a_fork_says_so(kafka: Connection, topic: str, way: str) -> None:
    """Under a preloading server every worker would answer and deliver nothing: here it is an error with its cure."""
    fork = multiprocessing.get_context("fork")
    answer = fork.Queue()
    with open_log(way, kafka, topic) as log:
        log.append(*event(1))
        child = fork.Process(target=_append_in_child, args=(log, answer))
        child.start()
        right_kind, problem = answer.get(timeout=10)
        child.join(10)
    assert right_kind
    assert problem.startswith("the event log was connected in process ")


def test_an_outcome_calls_back_once_now_or_later() -> None:
    """Who asks before the decision is told then, who asks after it is told at once; the first decision stands."""
    heard: list[tuple[str, bool]] = []
    tell: Callable[[str], Callable[[bool], None]] = lambda name: lambda delivered: heard.append((name, delivered))  # noqa: E731
    outcome = DeliveryFuture("e")
    outcome.add_done_callback(tell("early"))
    assert outcome.wait(0.01) is None
    outcome.decide(True)
    outcome.decide(False)
    outcome.add_done_callback(tell("late"))
    assert (outcome.delivered, outcome.wait(1), heard) == (True, True, [("early", True), ("late", True)])


@pytest.mark.parametrize("way", ["fire-and-forget", "confirmed", "buffered"])
def test_a_log_that_was_never_connected_is_not_ready_without_a_broker(way: str) -> None:
    """Its first event would be refused."""
    assert not open_log(way, connection_for("127.0.0.1:1"), "events").ready()


def test_those_who_come_while_a_connection_fails_do_not_try_it_again_one_by_one() -> None:
    """Eight requests, one attempt: all are refused when it has failed."""
    attempts: list[None] = []

    def act() -> None:
        attempts.append(time.sleep(0.3))
        raise LabError("no broker answers")

    opening = ConnectOnce(act)
    with ThreadPoolExecutor(8) as pool:
        errors = [refusal.exception() for refusal in [pool.submit(opening.check) for _ in range(8)]]
    assert (len(attempts), {type(error) for error in errors}) == (1, {Refused})


def test_a_delivery_that_fails_late_counts_as_failed_and_another_as_refused() -> None:
    """Whoever still waits hears of it; no count ever goes down again."""
    late, waited_for = DeliveryFuture("late"), DeliveryFuture("waited for")
    assert late.wait(0.01) is None
    assert (late.decide(False), waited_for.decide(False), waited_for.decide(False)) == (True, False, False)
    assert waited_for.wait(0.01) is False


def test_a_read_back_looks_where_a_log_begins_anew(kafka: Connection, topic: str) -> None:
    """The log was cut below what had been acknowledged, or made anew: the event may be anywhere in it."""
    with open_log("confirmed", kafka, topic) as log:
        log.append(*event(1))
    assert find_event_ids(kafka, topic, {event(1)[2]}, {0: 100, 1: 100}) == {event(1)[2]}
    outcome = DeliveryFuture("e1", (7, 100))
    outcome.lower(1, 3)
    outcome.lower(0, 9)
    outcome.lower(2, 5)
    assert outcome.min_offset == (7, 3)


def test_a_close_does_not_wait_for_a_read_back_that_hangs(kafka: Connection, topic: str) -> None:
    """Its time is over when it is over."""
    log = open_log("confirmed", kafka, topic)
    log.connect()
    log._repairing = Thread(target=time.sleep, args=(60.0,), daemon=True)  # type: ignore[attr-defined]
    log._repairing.start()  # type: ignore[attr-defined]
    with within(2):
        log.close(0.3)
