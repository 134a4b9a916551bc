"""The daily commands of `topic.py` on a real broker: write, read, tail, lag, and places in a topic."""

import csv
import io
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka import KafkaConsumer
from topics_of import new_topic, write

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.errors import LabError
from streaming_lab.topic.command_line import main
from streaming_lab.topic.places import count_back, parse_place

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def cluster(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's broker is the one that commands find."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", addresses(kafka))


def topic_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_lines_that_were_written_are_read(
    kafka: Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys from the lines, a header for all, a tombstone for an empty value; JSON lines and CSV hold the same."""
    topic, file = new_topic(kafka, 2), tmp_path / "lines"
    file.write_text('ann|{"n": 1, "s": "a,b"}\nbob|{"n": 2}\nann|\n')
    options = ["--key-separator", "|", "--tombstones", "--header", "trace=t1"]
    assert topic_command(capsys, "write", topic, str(file), *options) == (0, "", f"3 records written to {topic!r}\n")
    code, out, err = topic_command(capsys, "read", topic, "--format", "json", "--headers")
    assert (code, err) == (0, "1 tombstone: a key without a value\n")
    rows = {row["key"]: row for row in map(json.loads, out.splitlines())}
    assert (rows["ann"]["n"], rows["ann"]["headers"], "s" in rows["bob"]) == (1, [["trace", "t1"]], False)
    _, out, _ = topic_command(capsys, "read", topic, "--format", "csv", "--columns", "key,n,s")
    assert {tuple(row) for row in csv.reader(io.StringIO(out))} == {
        ("key", "n", "s"),
        ("ann", "1", "a,b"),
        ("bob", "2", ""),
    }


def test_a_table_says_what_it_leaves_out(kafka: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """First and last rows; control characters never reach the terminal; rejects are named and the code is 1."""
    topic = new_topic(kafka)
    write(
        kafka, topic, {0: [(None, b'{"n": %d, "s": "\\u001b[2J"}' % i) for i in range(9)] + [(None, b"\xff\xfe\xfd")]}
    )
    code, out, err = topic_command(capsys, "read", topic, "--rows", "4")
    assert [line.split()[1] for line in out.splitlines()] == ["offset", "0", "1", "7", "8"]
    assert ("\x1b" in out, r"\x1b[2J" in out) == (False, True)
    assert code == 1
    assert err.splitlines()[:2] == [
        "4 of 9 records are shown; --rows N shows more, --format csv or json all",
        "1 is no row:",
    ]
    assert "partition 0, offset 9; binary data" in err


def test_ranges_by_offset_time_and_partition(kafka: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """Each form of a place gives the offsets that it names."""
    topic = new_topic(kafka, 2)
    write(kafka, topic, {p: [(None, b'{"n": %d}' % i) for i in range(5)] for p in (0, 1)})

    def offsets(*arguments: str) -> list[list[int]]:
        out = topic_command(capsys, "read", topic, "--format", "json", *arguments)[1]
        return [[row["partition"], row["offset"]] for row in map(json.loads, out.splitlines())]

    assert offsets("--from", "3", "--partition", "1") == [[1, 3], [1, 4]]
    assert offsets("--from", "-1") == [[0, 4], [1, 4]]
    assert offsets("--to", "-4") == [[0, 0], [1, 0]]
    assert len(offsets("--from", "5 minutes ago")) == 10
    assert offsets("--to", "5 minutes ago") == []
    with pytest.raises(LabError, match="has no partition 7"):
        offsets("--partition", "7")


def test_tail_gives_the_newest_and_follows(kafka: Connection, tmp_path: Path) -> None:
    """A following tail prints a record that comes later, and Ctrl-C ends it with 130."""
    topic = new_topic(kafka, 2)
    write(kafka, topic, {0: [(None, b'{"n": %d}' % i) for i in range(5)]})
    imports = "from streaming_lab.cli import run; from streaming_lab.topic.command_line import main"
    command = [
        sys.executable,
        "-c",
        f"{imports}; raise SystemExit(run(main))",
        "tail",
        topic,
        "-n",
        "2",
        "-f",
        "--format",
        "json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert [json.loads(tail.stdout.readline())["n"] for _ in range(2)] == [3, 4]
        write(kafka, topic, {1: [(None, b'{"n": 99}')]})
        assert json.loads(tail.stdout.readline())["n"] == 99
        tail.send_signal(signal.SIGINT)
        tail.communicate(timeout=20)
    assert tail.returncode == 130


def test_lag_of_a_group(kafka: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """Committed offset, end and their difference; a group that never committed here is an error that names those."""
    topic = new_topic(kafka)
    write(kafka, topic, {0: [(None, b"{}")] * 5})
    assert "no consumer group has committed" in topic_command(capsys, "lag", topic)[2]
    from kafka import TopicPartition
    from kafka.structs import OffsetAndMetadata

    with KafkaConsumer(**kafka, group_id=f"g-{topic}", enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(2, "", -1)})
    out = topic_command(capsys, "lag", topic, "--format", "json")[1]
    assert json.loads(out) == {"group": f"g-{topic}", "partition": 0, "committed": 2, "end": 5, "lag": 3}
    with pytest.raises(LabError, match="group 'nobody' has committed nothing"):
        main(["lag", topic, "--group", "nobody"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("17", 17),
        ("-3", -3),
        ("end", None),
        ("5 minutes ago", NOW - timedelta(minutes=5)),
        ("an hour ago", NOW - timedelta(hours=1)),
        ("1.5 d ago", NOW - timedelta(hours=36)),
        ("2026-11-27T10:00Z", datetime(2026, 11, 27, 10, tzinfo=UTC)),
        ("now", NOW),
    ],
)
def test_places(text: str, expected: object) -> None:
    """Offsets, counts from the end, and moments."""
    assert parse_place(text, NOW) == expected


def test_local_times() -> None:
    """A clock's time and a day are local, as the person at the terminal means them."""
    local = NOW.astimezone()
    assert parse_place("10:30", NOW) == local.replace(hour=10, minute=30)
    assert parse_place("yesterday", NOW) == local.replace(hour=0, minute=0) - timedelta(days=1)
    assert count_back(-3, {0: 10, 1: 2}) == {0: 7, 1: 0}


@pytest.mark.parametrize("text", ["", "5 moons ago", "25:99", "2026-13-01", "--", "1e3"])
def test_no_place(text: str) -> None:
    """Anything else is refused with the forms."""
    with pytest.raises(LabError, match="is no place in a topic"):
        parse_place(text, NOW)


@pytest.mark.parametrize(("option", "value"), [("--from", "5 moons ago"), ("--format", "xml"), ("--rows", "0")])
def test_a_wrong_option_is_refused(option: str, value: str) -> None:
    """Before any broker is asked, with exit code 2."""
    with pytest.raises(SystemExit) as raised:
        main(["read", "events", option, value])
    assert raised.value.code == 2
