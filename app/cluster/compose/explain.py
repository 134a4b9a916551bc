"""Findings in a compose file of the ZooKeeper years, line by line: since when, and the replacement."""

import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streaming_lab.cli import run
from streaming_lab.errors import LabError


@dataclass(frozen=True)
class Finding:
    """One line that does not work any more, or never did as it seems to."""

    line: int
    text: str
    since: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}\n  since {self.since}: {self.problem}\n  {self.cure}"


# Sources: Confluent Platform 8.0 release notes (ZooKeeper removed; Apache Kafka 4.0), the Compose specification on
# `version`, KIP-833 (KRaft replaces ZooKeeper), the Docker documentation on published ports.
_RULES: tuple[tuple[str, str, str, str], ...] = (
    (
        r"version\s*:",
        "Compose v2 (2021)",
        "`version` means nothing any more, and each command warns about it",
        "Delete the line.",
    ),
    (
        r"image\s*:\s*\S*cp-zookeeper(?::latest|:8\S*)?\s*$",
        "Confluent Platform 8.0 (June 2025, Apache Kafka 4.0)",
        "there is no ZooKeeper any more: Kafka keeps its own metadata (KRaft), and nothing of 8.x talks to this image",
        "Delete the service; or pin confluentinc/cp-zookeeper:7.9.2, the last line that has it (compose/2019.yml).",
    ),
    (
        r"image\s*:\s*\S*cp-kafka(?::latest|:8\S*)?\s*$",
        "Confluent Platform 8.0 (June 2025, Apache Kafka 4.0)",
        "`latest` is 8.x now, which has no ZooKeeper mode: it asks for KRaft settings and exits",
        "Use apache/kafka:4.3.1 (docker-compose.yml), or pin confluentinc/cp-kafka:7.9.2 (compose/2019.yml).",
    ),
    (
        r"image\s*:\s*midsw205/\S+",
        "2019",
        "the course's tools box is not maintained; its kafkacat is called kcat now",
        "Use the service `lab` of docker-compose.yml, built from compose/Dockerfile.",
    ),
    (
        r"(?:-\s*)?KAFKA_ZOOKEEPER_CONNECT\s*[:=]",
        "Apache Kafka 4.0 (March 2025)",
        "the broker has no ZooKeeper to connect to",
        "Set KAFKA_PROCESS_ROLES, KAFKA_CONTROLLER_QUORUM_VOTERS and KAFKA_CONTROLLER_LISTENER_NAMES instead.",
    ),
    (
        r"(?:-\s*)?KAFKA_BROKER_ID\s*[:=]",
        "Apache Kafka 4.0 (March 2025)",
        "a KRaft node is named by its node id",
        "Set KAFKA_NODE_ID instead.",
    ),
    (
        r"-\s*[\"']?\d+:\d+[\"']?\s*$",
        "always",
        "a port published without an address is open to the whole network",
        'Write "127.0.0.1:" before it.',
    ),
)

_LOST = (
    "always",
    "the services stand at the margin, where YAML takes them for top-level keys: the indentation was lost",
    "Indent what belongs to `services:` by two spaces a level.",
)


def explain_compose_file(text: str) -> list[Finding]:
    """The findings in a compose file's text, in line order; none for a current file.

    Reads lines instead of YAML: the assignment's file lost its indentation, where a parser stops.
    """
    lines = text.splitlines()
    found = [*_lost_indentation(lines), *_by_rule(lines)]
    return sorted(found, key=lambda finding: finding.line)


def _by_rule(lines: list[str]) -> Iterator[Finding]:
    pinned = any(re.search(r"cp-kafka:[3-7]\.", line) for line in lines)  # there ZooKeeper's settings are right
    for number, line in enumerate(lines, start=1):
        for pattern, since, problem, cure in _RULES:
            if re.match(pattern, line.strip()) and not (pinned and "Kafka 4.0 (March" in since):
                yield Finding(number, line.strip(), since, problem, cure)


def _lost_indentation(lines: list[str]) -> Iterator[Finding]:
    """One finding, at the first service, if the lines after `services:` are not indented."""
    kept = [(n, line) for n, line in enumerate(lines, start=1) if line.strip() and not line.lstrip().startswith("#")]
    for (_, above), (number, line) in itertools.pairwise(kept):
        if above.rstrip() == "services:" and not line.startswith((" ", "\t")):
            yield Finding(number, line.strip(), *_LOST)


def main() -> int:
    """Explain the file named on the command line; returns 1 with findings, 0 without."""
    try:
        text = Path(sys.argv[1]).read_text(encoding="utf8")
    except (IndexError, OSError, UnicodeDecodeError) as error:
        raise LabError(
            f"no compose file to read: {error}", "Name one: python3 -m streaming_lab.cluster.compose.explain FILE"
        ) from error
    found = explain_compose_file(text)
    sys.stdout.write("\n".join(map(str, found)) + "\n" if found else "nothing in this file is out of date\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(run(main))
