"""2019 beside today: whatever cluster runs, each of the assignment's commands has a line that runs, and its answer."""

import re
import shutil

import pytest
from peers import needs

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster import attach
from streaming_lab.seed.then_and_now import Line, beside_today


@pytest.fixture(scope="module")
def lines(kafka: Connection) -> tuple[Line, ...]:
    """The table, on the session's Kafka as somebody else's cluster."""
    needs("curl")
    needs("kcat")
    if "events" in topics.topic_names(kafka):  # of other tests on this Kafka
        topics.delete_topics(kafka, ["events"])
    with attach(addresses(kafka)) as cluster:
        return beside_today(cluster)


def test_every_command_of_the_assignment_is_there(lines: tuple[Line, ...]) -> None:
    """In its order; each with the reason why it does not run as it stands."""
    assert [line.old.removeprefix("docker-compose ").split()[0] for line in lines] == ["up", *["exec"] * 8]
    assert all(line.why for line in lines)
    assert all(line.ran and line.output for line in lines)


def test_the_answers_are_the_assignments(lines: tuple[Line, ...]) -> None:
    """The two games answer and log as they did in 2019, and the topic holds the three events."""
    requests = re.findall(r'"GET (\S+) HTTP/1.1" (\d+)', lines[2].output)
    sword = "/purchase_a_sword"
    assert requests == [(path, "200") for path in ("/", "/", sword, "/", sword, sword)]
    assert [line.output for line in (*lines[3:5], *lines[6:9])] == [
        "This is the default response. No purchase or sale!",
        "Sword Purchased!",
        "This is the default response!",
        "Sword Purchased!",
        "default\npurchased_sword\npurchased_sword",
    ]


def test_a_used_topic_shows_only_what_was_written_now(lines: tuple[Line, ...], kafka: Connection) -> None:
    """A second walk reads its own three events; the topic has all."""
    before = sum(topics.end_offsets(kafka, "events").values())
    with attach(addresses(kafka)) as cluster:
        again = beside_today(cluster)
    assert (lines[1].output, again[1].output) == ('Created topic "events".', 'Topic "events" was there already.')
    assert f"-o {before} -e" in again[-1].today
    assert again[-1].output == lines[-1].output
    assert sum(topics.end_offsets(kafka, "events").values()) == before + 3


def test_without_kcat_the_labs_own_reader_shows_the_lines(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line stands in kcat's place, with the same three lines below the name of their column."""
    needs("curl")  # which makes the events
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "kcat" else found(name))
    with attach(addresses(kafka)) as cluster:
        last = beside_today(cluster)[-1]
    assert (last.ran, last.output) == (True, "value\ndefault\npurchased_sword\npurchased_sword")
    assert last.today.startswith("python3 scripts/topic.py read events ")
