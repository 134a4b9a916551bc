"""Runs that share a broker do not see each other, and delete only what they created."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from waiting import eventually

from streaming_lab import settings
from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster import attach, run_topics
from streaming_lab.paths import PROJECT
from streaming_lab.report.run_folder import settle_earlier_runs

SMALL = ("02", "03", "-p", "requests", "200", "-p", "players", "10")


@pytest.fixture(autouse=True)
def fresh_claims(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No run's environment, and no claim that an earlier test of this process made."""
    for name in (settings.RUN_ID, settings.RUN_ALONE, "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    run_topics.claim_for_process.cache_clear()
    yield
    run_topics.claim_for_process.cache_clear()


def run_reports(home: Path, *folders: Path, options: tuple[str, ...]) -> list[tuple[int, str]]:
    """Reports at the same time, each in a build folder of its own: exit codes, and what they said."""
    command = [sys.executable, "scripts/report.py", *options]
    started = [
        subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, "LAB_BUILD": str(folder), "LAB_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for folder in folders
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    return [(process.returncode, text[-6000:]) for process, text in zip(started, said, strict=True)]


@pytest.mark.slow
def test_two_reports_on_somebody_elses_broker_are_both_green(kafka: Connection, tmp_path: Path) -> None:
    """Also where topics of the lesson's names are there in another shape; all topics of the runs are deleted."""
    for name in ("events", "crowd-events"):
        with suppress(topics.TopicClash):  # another test's topic of that name does as well
            topics.create_topic(kafka, name, partitions=5)
    before = {name: topics.end_offsets(kafka, name) for name in topics.topic_names(kafka)}
    options = (*SMALL, "-p", "cluster", addresses(kafka))
    ended = run_reports(tmp_path / "home", tmp_path / "a", tmp_path / "b", options=options)
    after = {name: topics.end_offsets(kafka, name) for name in topics.topic_names(kafka)}
    topics.delete_topics(kafka, ["events", "crowd-events"])
    assert [code for code, _ in ended] == [0, 0], ended
    assert after == before


@pytest.mark.slow
def test_two_reports_on_the_labs_own_cluster_are_both_green(tmp_path: Path) -> None:
    """One has the lesson's plain names, the other names with its id."""
    ended = run_reports(tmp_path / "home", tmp_path / "a", tmp_path / "b", options=SMALL[1:])  # chapter 03
    assert [code for code, _ in ended] == [0, 0], ended
    records = [json.loads((tmp_path / folder / "run.json").read_text()) for folder in ("a", "b")]
    assert sorted("crowd-events" in one["ranges"] for one in records) == [False, True]
    assert [len(one["cluster"]["brokers"]) for one in records] == [1, 1]  # also without chapter 01


def test_a_topic_left_in_another_shape_is_left_alone(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """`report.py 03`, then `-p partitions 6` on the same running cluster: the second has a topic of its own."""
    monkeypatch.setenv(settings.RUN_ID, "0123abcd")
    monkeypatch.setenv(settings.RUN_ALONE, "embedded")
    with attach("embedded") as cluster:
        topics.create_topic(kafka, "other-shape", partitions=3)
        same = run_topics.create_run_topic(cluster, "other-shape", partitions=3)
        other = run_topics.create_run_topic(cluster, "other-shape", partitions=6)
    assert (same, other) == ("other-shape", "other-shape-0123abcd")
    assert [len(topics.describe_topic(kafka, name).partitions) for name in (same, other)] == [3, 6]
    topics.delete_topics(kafka, [same, other])


def test_only_one_run_at_a_time_has_the_plain_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report or papermill claims them alone; the notebooks of one JupyterLab share them."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    first = run_topics.claim_names("embedded")
    assert (first is not None, run_topics.claim_names("embedded", shared=True)) == (True, None)
    assert run_topics.run_name("events") == f"events-{run_topics.process_id()}"
    os.close(first or 0)
    run_topics.claim_for_process.cache_clear()
    lab = [run_topics.claim_names("embedded", shared=True) for _ in range(2)]
    assert (None in lab, run_topics.claim_names("embedded")) == (False, None)
    for descriptor in lab:
        os.close(descriptor or 0)
    assert [run_topics.run_name("events", kind) for kind in ("embedded", "external")] == [
        "events",
        f"events-{run_topics.process_id()}",
    ]
    os.close(run_topics.claim_names("embedded") or os.open(os.devnull, os.O_RDONLY))


def test_a_notebook_alone_deletes_its_topics_at_its_end(kafka: Connection, tmp_path: Path) -> None:
    """Plain papermill on somebody else's broker: the kernel's end takes the topic with it, and no other one."""
    program = "import sys; from streaming_lab.cluster import attach, run_topics; kafka = attach(sys.argv[1]); "
    program += "print(run_topics.create_run_topic(kafka, 'mine'))"
    topics.create_topic(kafka, "mine")
    ran = subprocess.run([sys.executable, "-c", program, addresses(kafka)], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout.startswith("mine-")) == (0, True), ran.stderr
    assert [name for name in topics.topic_names(kafka) if name.startswith("mine")] == ["mine"]
    topics.delete_topics(kafka, ["mine"])


def test_topics_that_a_killed_run_left_are_named_by_the_next_one(kafka: Connection, tmp_path: Path) -> None:
    """With the command that deletes them, which does: kill -9 takes even the run's own cleaning up."""
    left = [f"events-{run_topics.new_id()}", f"strangers-{run_topics.new_id()}"]
    killed = tmp_path / ".run-20261124T220000Z-1"
    killed.mkdir()
    for name in left:
        topics.create_topic(kafka, name)
        with (killed / run_topics.TOPICS_FILE).open("a") as file:
            file.write(f"{name}\t{addresses(kafka)}\n")
    (apart, said) = settle_earlier_runs(tmp_path)
    assert apart.startswith("An earlier run did not end")
    assert said.startswith(f"Topics of that run are left on {addresses(kafka)}: {', '.join(left)}. To delete them: ")
    subprocess.run(said.partition("delete them: ")[2].split(), check=True, capture_output=True, timeout=60)
    assert eventually(lambda: not set(left) & set(topics.topic_names(kafka)))
    assert settle_earlier_runs(tmp_path) == []
