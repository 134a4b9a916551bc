"""The wall clock is set back while the broker is away: librdkafka sleeps through the step, delivery goes on."""

import json
import subprocess
import sys
import uuid
from pathlib import Path
from select import select
from typing import Any

import pytest

from streaming_lab.client import topics
from streaming_lab.client.connection import addresses
from streaming_lab.faults.machine import Machine
from streaming_lab.reader import read_text

STEP = -3600.0  # seconds
ANSWER_TIMEOUT = 60.0  # seconds for an answer of the process

# Each line on standard input is a command; each answer is one line of JSON.
PROGRAM = """
import json, sys, time
from streaming_lab.client.connection import connection_for
from streaming_lab.delivery.outcome import Refused, Undecided
from streaming_lab.delivery.ways import open_log

way, servers, topic, file = sys.argv[1:]
log = open_log(way, connection_for(servers), topic, timeout=20.0, **({"path": file} if way == "outbox" else {}))
log.connect()
for line in sys.stdin:
    word, event_id = line.split()
    if word == "close":
        print(json.dumps([log.close(float(event_id)), log.counts.acknowledged, log.counts.failed]), flush=True)
    elif word == "time":
        print(json.dumps(time.time()), flush=True)
    elif word == "timeout":
        log.timeout = float(event_id)
        print("true", flush=True)
    else:
        try:
            log.append("ann", json.dumps({"event_id": event_id}).encode(), event_id)
            print('"ok"', flush=True)
        except (Refused, Undecided) as error:
            print(json.dumps(type(error).__name__), flush=True)
"""


class Shifted:
    """A process with an event log and a wall clock of its own."""

    def __init__(self, machine_library: Path, folder: Path, *arguments: str) -> None:
        self.machine = Machine(machine_library, folder / "nothing", folder / "machine")
        command = [sys.executable, "-c", PROGRAM, *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.machine.environment, text=True
        )

    def tell(self, word: str, argument: object) -> Any:
        """One command, one answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(word, argument, file=self.process.stdin, flush=True)
        assert select([self.process.stdout], [], [], ANSWER_TIMEOUT)[0], f"no answer to {word} {argument}"
        return json.loads(self.process.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize("way", ["confirmed", "outbox", "buffered"])
def test_delivery_goes_on_after_a_step_back_of_the_clock(
    breakable: Any, machine_library: Path, tmp_path: Path, way: str
) -> None:
    """Events that wait for the broker, and the next one, are in the topic once and in order soon after it is back."""
    topic = f"clock-{uuid.uuid4().hex[:8]}"
    topics.create_topic(breakable.connection, topic)
    game = Shifted(
        machine_library, tmp_path, way, addresses(breakable.connection), topic, str(tmp_path / "outbox.sqlite")
    )
    try:
        assert game.tell("append", "e1") == "ok"
        assert game.tell("timeout", 0.5)
        breakable.kill()
        accepted = "Undecided" if way == "confirmed" else "ok"
        assert [game.tell("append", f"e{number}") for number in (2, 3)] == [accepted] * 2
        before = game.tell("time", "-")
        game.machine.set_clock(STEP)
        assert game.tell("time", "-") < before + STEP / 2
        breakable.restart()
        assert game.tell("timeout", 20.0)
        assert game.tell("append", "e4") == "ok"
        assert game.tell("close", 30) == [0, 4, 0]
    finally:
        game.process.kill()
        game.process.communicate()
    assert [json.loads(line)["event_id"] for line in read_text(breakable.connection, topic)] == ["e1", "e2", "e3", "e4"]


def test_a_log_closes_after_a_step_back_of_the_clock(kafka: Any, machine_library: Path, tmp_path: Path) -> None:
    """A producer that sleeps through the step does not hold up the end of an idle log."""
    topic = f"clock-{uuid.uuid4().hex[:8]}"
    topics.create_topic(kafka, topic)
    game = Shifted(machine_library, tmp_path, "confirmed", addresses(kafka), topic, "-")
    try:
        assert game.tell("append", "e1") == "ok"
        game.machine.set_clock(STEP)
        assert game.tell("close", 5) == [0, 1, 0]
        game.process.communicate(timeout=30)
    finally:
        game.process.kill()
        game.process.communicate()
