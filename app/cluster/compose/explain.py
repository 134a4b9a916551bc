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
        r"-\s*(?:0\.0\.0\.0:|\[?::\]?:)?[\d-]+:[\d-]+(?:/(?:tcp|udp))?\s*$",
        "always",
        "a port published without an address, or at 0.0.0.0, is open to the whole network",
        'Write "127.0.0.1:" before the ports.',
    ),
)

_LOST = (
    "always",
    "the services stand at the margin, where YAML takes them for top-level keys: the indentation was lost",
    "Indent what belongs to `services:` by two spaces a level.",
)


def explain_compose_file(text: str) -> list[Finding]:
    """The findings in a compose file's text, in line order; none for a current file; `LabError` for another file.

    Reads lines instead of YAML: the assignment's file lost its indentation, where a parser stops.
    """
    lines = text.splitlines()
    if not any(_COMPOSE.match(part) for line in lines for part in _parts(line)):
        raise LabError("this is no compose file: it has no services and no image", "Name a docker-compose.yml.")
    found = [*_lost_indentation(lines), *_by_rule(lines)]
    return sorted(found, key=lambda finding: finding.line)


_COMPOSE = re.compile(r"(?:services|image|build)\s*:")
_DEFAULT = re.compile(r"\$\{\w+:?-([^}]*)\}")
_COMMENT = re.compile(r"""^((?:[^"'#]|"[^"]*"|'[^']*'|(?<=\S)#)*?)(?:^|\s)#.*$""")


def _plain(line: str) -> str:
    """The line without its comment and its quotes, and with the default of each `${NAME:-default}`."""
    without = found[1] if (found := _COMMENT.match(line)) else line
    return _DEFAULT.sub(r"\1", without).replace('"', "").replace("'", "").strip()


def _parts(line: str) -> list[str]:
    """The plain line, and the parts of its flow style: `{image: x, ports: [1:1]}` is three lines in one."""
    plain = _plain(line)
    if not re.search(r"[\[{]", plain):
        return [plain]
    in_ports, parts = False, []
    for part in filter(None, map(str.strip, re.split(r"\$\{\w+\}|[\[\]{},]", plain))):
        in_ports = part == "ports:" or (in_ports and bool(re.match(r"[\d.]", part)))
        parts.append(f"- {part}" if in_ports and part != "ports:" else part)
    return [plain, *parts]


def _by_rule(lines: list[str]) -> Iterator[Finding]:
    pinned = any(re.search(r"cp-kafka:[3-7]\.", _plain(line)) for line in lines)  # there ZooKeeper's settings are right
    for number, line in enumerate(lines, start=1):
        parts = _parts(line)
        for pattern, since, problem, cure in _RULES:
            if any(re.match(pattern, part) for part in parts) and not (pinned and "Kafka 4.0 (March" in since):
                yield Finding(number, line.strip(), since, problem, cure)


def _lost_indentation(lines: list[str]) -> Iterator[Finding]:
    """One finding, at the first service, if the lines after `services:` are not indented."""
    kept = [(n, line) for n, line in enumerate(lines, start=1) if line.strip() and not line.lstrip().startswith("#")]
    for (_, above), (number, line) in itertools.pairwise(kept):
        if above.rstrip() == "services:" and not line.startswith((" ", "\t")):
            yield Finding(number, line.strip(), *_LOST)


def main() -> int:
    """Explain the file named on the command line; returns 1 with findings, 0 without."""
    found = explain_file(sys.argv[1] if len(sys.argv) > 1 else "")
    sys.stdout.write("\n".join(map(str, found)) + "\n" if found else "nothing in this file is out of date\n")
    return 1 if found else 0


def explain_file(name: str) -> list[Finding]:
    """The findings in the file `name`; `LabError` for a file that can't be read or is no compose file."""
    cure = "Name one: python3 -m streaming_lab.cluster.compose.explain FILE"
    try:
        return explain_compose_file(Path(name).read_text(encoding="utf8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"no compose file to read: {error}", cure) from error
    except LabError as error:
        raise LabError(f"{name}: {error.problem}", cure) from error


if __name__ == "__main__":
    raise SystemExit(run(main))
