"""A compose file in other people's spelling: quotes, comments, defaults, flow style, 0.0.0.0, and no compose file."""

import pytest

from streaming_lab.cluster.compose.explain import explain_compose_file
from streaming_lab.errors import LabError

OPEN, KAFKA, ZOOKEEPER = "open to the whole network", "`latest` is 8.x now", "there is no ZooKeeper any more"


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ('    image: "confluentinc/cp-kafka:latest"', [KAFKA]),
        ("    image: 'confluentinc/cp-zookeeper'  # the usual one", [ZOOKEEPER]),
        ("    image: confluentinc/cp-kafka:${TAG:-latest}", [KAFKA]),
        ("    image: confluentinc/cp-kafka:${TAG:-7.9.2}", []),
        ('  kafka: {image: "confluentinc/cp-kafka:latest", ports: ["9092:9092", "127.0.0.1:1:1"]}', [KAFKA, OPEN]),
        ('    ports: ["0.0.0.0:29092:29092"]', [OPEN]),
        ('      - "0.0.0.0:29092:29092" # for everybody', [OPEN]),
        ("      - 9092:9092/tcp", [OPEN]),
        ('      - "127.0.0.1:9092:9092"', []),
        ("    image: apache/kafka:4.3.1 # image: confluentinc/cp-kafka:latest", []),
        (
            "    environment: {KAFKA_BROKER_ID: 1, KAFKA_ZOOKEEPER_CONNECT: 'z:2181'}",
            ["ZooKeeper to connect", "node id"],
        ),
        ("      KAFKA_HASH: a#b", []),
    ],
)
def test_other_spellings(line: str, problems: list[str]) -> None:
    """Each spelling has the findings of the plain one, at its line."""
    found = explain_compose_file(f"services:\n  kafka:\n{line}\n")
    assert [(one.line, [p for p in problems if p in one.problem] != []) for one in found] == [(3, True)] * len(problems)


@pytest.mark.parametrize("text", ["", "hello\n", "import kafka\n", '{"cells": []}', "# services:\n"])
def test_a_file_that_is_no_compose_file_is_an_error(text: str) -> None:
    """It is not called up to date."""
    with pytest.raises(LabError, match="this is no compose file"):
        explain_compose_file(text)
