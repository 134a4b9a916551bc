"""Where no JVM can run, another cluster stands in for the embedded one."""

import pytest

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.cluster import attach


def test_the_environment_names_a_stand_in(kafka: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the chapters' default cluster is the one that LAB_CLUSTER names."""
    monkeypatch.setenv("LAB_CLUSTER", addresses(kafka))
    with attach("embedded") as cluster:
        assert (cluster.kind, addresses(cluster.connection)) == ("external", addresses(kafka))
