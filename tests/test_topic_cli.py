"""Kafka for anything: `cluster.py` with what outlives it and where it is, and `topic.py` for its topics."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import now
from java import stand_in
from kafka import KafkaProducer
from test_places import read, write

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster import ClusterError, cli, topic_cli
from streaming_lab.cluster.embedded import state
from streaming_lab.cluster.embedded.start_stop import stop_cluster


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lab home of this test's own; whatever a test leaves running ends with it."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "lab"))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    yield tmp_path / "lab"
    for name in list(state.instance_names(tmp_path / "lab")):
        stop_cluster(state.state_file(name, tmp_path / "lab"), lambda line: None)


@pytest.mark.slow
def test_with_keep_the_data_outlive_stop(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The next start with --keep is the same cluster with the same records; one without says what it does not read."""
    cli.main(["start", "--keep", "--auto-create"])
    first = now(home)
    with KafkaProducer(bootstrap_servers=first.servers) as producer:
        producer.send("made-at-first-use", b"here").get(20)
    cli.main(["stop"])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  topics      made at their first use",
        f"  data        kept in {home}/kept/cluster",
        "It runs until: python3 scripts/cluster.py stop",
        "stopped cleanly",
        f"Its data are kept in {home}/kept/cluster: the next start --keep finds them.",
    ]
    cli.main(["start", "--keep"])
    second = now(home)
    assert second.cluster_id == first.cluster_id
    assert read({"bootstrap_servers": second.servers}, "made-at-first-use") == [b"here"]


@pytest.mark.slow
def test_without_options_start_says_what_holds(
    home: Path, java: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Topics on purpose, data gone at stop, earlier data not read; another option than the running cluster's fails."""
    stand_in(java, monkeypatch)
    (home / "kept" / "cluster").mkdir(parents=True)
    cli.main(["start"])
    cli.main(["stop"])
    create = "python3 scripts/topic.py create NAME"
    lines = capsys.readouterr().out.splitlines()
    assert [*lines[1:5], lines[-1]] == [
        f"  topics      made on purpose, with: {create} (or start --auto-create)",
        "  data        gone at stop (start --keep keeps them)",
        f"              (earlier data, in {home}/kept/cluster, are not read: start --keep reads them)",
        "It runs until: python3 scripts/cluster.py stop",
        "Its data are gone with it.",
    ]
    cli.main(["start"])
    for option in ("--keep", "--auto-create"):
        with pytest.raises(ClusterError, match=f"runs already, without {option}") as refused:
            cli.main(["start", option])
        assert ("ends it with its data" in refused.value.cure) == (option == "--keep")


@pytest.mark.slow
def test_the_address_is_for_people_programs_and_shells(
    home: Path, java: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host:port, JSON as clients take it, and a line that a shell evaluates; without a cluster an error."""
    with pytest.raises(ClusterError, match="no cluster runs"):
        cli.main(["address"])
    stand_in(java, monkeypatch)
    cli.main(["start", "--brokers", "3"])
    found = now(home, "3-brokers")
    capsys.readouterr()
    for options in ([], ["--json"], ["--shell"]):
        cli.main(["address", *options])
    plain, text, line = capsys.readouterr().out.splitlines()
    assert plain == ",".join(found.servers)
    assert json.loads(text) == {"bootstrap_servers": found.servers, "cluster_id": found.cluster_id}
    done = subprocess.run(
        ["sh", "-c", f'{line}; printf %s "$KAFKA_BOOTSTRAP_SERVERS"'], capture_output=True, check=True
    )
    assert done.stdout.decode() == plain
    assert topic_cli.find_connection(None) == {"bootstrap_servers": found.servers}


def test_a_topic_is_made_described_and_listed(
    kafka: Connection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a person reads it, and as a program does."""
    name = f"cli-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", addresses(kafka))
    make = ["create", name, "--partitions", "2", "--config", "retention.ms=60000"]
    assert [topic_cli.main(make), topic_cli.main(make)] == [0, 0]
    write(kafka, name, [b"a", b"b"])
    for arguments in (["describe", name], ["describe", name, "--json"], ["list", "--json"]):
        assert topic_cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"topic {name!r} created: 2 partitions, 1 replica each",
        f"topic {name!r} was there already, in this shape: 2 partitions, 1 replica each",
    ]
    description = topics.describe_topic(kafka, name)
    assert lines[2] == f"topic {name!r}: 2 partitions, 1 replica each"
    ends = [one.end for one in description.partitions]
    assert lines[3:6] == [
        f"  partition 0  leader 1, replicas 1, in sync 1, {ends[0]} offsets: 0 to {ends[0]}",
        f"  partition 1  leader 1, replicas 1, in sync 1, {ends[1]} offsets: 0 to {ends[1]}",
        "  retention.ms=60000",
    ]
    assert json.loads("\n".join(lines[6:-1])) == description.to_json()
    assert name in json.loads(lines[-1])


@pytest.mark.parametrize("arguments", [["create", "x", "--config", "retention.ms"], ["create"], ["drop", "x"]])
def test_a_command_line_that_is_none_is_refused(arguments: list[str]) -> None:
    """Before any broker is asked."""
    with pytest.raises(SystemExit) as raised:
        topic_cli.main(arguments)
    assert raised.value.code == 2
